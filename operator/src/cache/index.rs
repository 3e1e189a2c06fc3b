//! What the API server holds about each run: its Jobs, pods, Gates and user actions, found by the run they belong to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Resource;
use kube::ResourceExt;

use super::RunRef;
use super::watch::Sink;

/// Objects of one kind by the run they belong to. Its watch writes; so does whoever creates one, because the watch is late.
#[derive(Debug)]
pub(crate) struct Index<K> {
    inner: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    by_run: HashMap<RunRef, BTreeMap<String, Arc<K>>>,
    run_of: HashMap<(String, String), RunRef>,
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { by_run: HashMap::new(), run_of: HashMap::new() }) }
    }
}

impl<K: Resource<DynamicType = ()>> Index<K> {
    /// The objects of a run, by name.
    pub(crate) fn of(&self, run: &RunRef) -> Vec<Arc<K>> {
        let inner = self.lock();
        inner.by_run.get(run).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, run: RunRef, mut object: K) {
        // Who wrote which field is half of an object and of no interest here.
        object.meta_mut().managed_fields = None;
        let mut inner = self.lock();
        let name = object.name_any();
        inner.run_of.insert((run.namespace.clone(), name.clone()), run.clone());
        inner.by_run.entry(run).or_default().insert(name, Arc::new(object));
    }
}

impl<K: Resource<DynamicType = ()> + Send + Sync + 'static> Sink<K> for Index<K> {
    fn put(&self, run: RunRef, object: K, _listed: bool) -> bool {
        Self::put(self, run, object);
        true
    }

    fn remove(&self, namespace: &str, name: &str) -> Option<RunRef> {
        let mut inner = self.lock();
        let run = inner.run_of.remove(&(namespace.to_owned(), name.to_owned()))?;
        if let Some(objects) = inner.by_run.get_mut(&run) {
            objects.remove(name);
            if objects.is_empty() {
                inner.by_run.remove(&run);
            }
        }
        Some(run)
    }

    fn retain(&self, namespace: Option<&str>, seen: &HashSet<(String, String)>) -> Vec<RunRef> {
        let gone: Vec<_> = {
            let inner = self.lock();
            let here = |key: &&(String, String)| namespace.is_none_or(|ns| key.0 == ns) && !seen.contains(*key);
            inner.run_of.keys().filter(here).cloned().collect()
        };
        gone.iter().filter_map(|(namespace, name)| self.remove(namespace, name)).collect()
    }
}
