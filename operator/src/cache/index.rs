//! What the API server holds about each run: its Jobs, pods, gates and acts, kept by watches and found by the run's name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::RunKey;
use crate::kube_ext::Kind;
use crate::queue::Queue;

/// Objects of one kind by the run they belong to.
#[derive(Debug)]
pub struct Index<K> {
    inner: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    by_run: HashMap<RunKey, BTreeMap<String, Arc<K>>>,
    run_of: HashMap<(String, String), RunKey>,
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { by_run: HashMap::new(), run_of: HashMap::new() }) }
    }
}

impl<K: Resource<DynamicType = ()>> Index<K> {
    /// The objects of a run, by name.
    pub fn of(&self, run: &RunKey) -> Vec<Arc<K>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.by_run.get(run).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    /// Takes up an object.
    pub fn put(&self, run: RunKey, mut object: K) {
        // Who wrote which field is half of an object and of no interest here.
        object.meta_mut().managed_fields = None;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let name = object.name_any();
        inner.run_of.insert((run.namespace.clone(), name.clone()), run.clone());
        inner.by_run.entry(run).or_default().insert(name, Arc::new(object));
    }
}

/// Where a watch puts what it sees.
pub trait Shelf<K>: Send + Sync + 'static {
    /// Takes up an object; says whether its run is to be looked at. `listed`: it was there already when the watch began.
    fn put(&self, run: RunKey, object: K, listed: bool) -> bool;
    /// Forgets an object; gives the run it belonged to.
    fn remove(&self, namespace: &str, name: &str) -> Option<RunKey>;
    /// Forgets what was not seen in a whole list of a namespace (of all namespaces if `None`); gives the runs concerned.
    fn retain(&self, namespace: Option<&str>, seen: &HashSet<(String, String)>) -> Vec<RunKey>;
}

impl<K: Resource<DynamicType = ()> + Send + Sync + 'static> Shelf<K> for Index<K> {
    fn put(&self, run: RunKey, object: K, _listed: bool) -> bool {
        Self::put(self, run, object);
        true
    }

    fn remove(&self, namespace: &str, name: &str) -> Option<RunKey> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let run = inner.run_of.remove(&(namespace.to_owned(), name.to_owned()))?;
        if let Some(objects) = inner.by_run.get_mut(&run) {
            objects.remove(name);
            if objects.is_empty() {
                inner.by_run.remove(&run);
            }
        }
        Some(run)
    }

    fn retain(&self, namespace: Option<&str>, seen: &HashSet<(String, String)>) -> Vec<RunKey> {
        let gone: Vec<_> = {
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let here = |key: &&(String, String)| namespace.is_none_or(|ns| key.0 == ns) && !seen.contains(*key);
            inner.run_of.keys().filter(here).cloned().collect()
        };
        gone.iter().filter_map(|(namespace, name)| self.remove(namespace, name)).collect()
    }
}

/// Keeps a shelf by a watch and wakes each run of which something changed, until told to stop.
pub async fn keep<K, S>(
    api: Api<K>,
    config: watcher::Config,
    namespace: Option<String>,
    shelf: Arc<S>,
    run_of: fn(&K) -> Option<RunKey>,
    queue: Queue<RunKey>,
    shutdown: CancellationToken,
) where
    K: Kind + Send + Sync + 'static,
    S: Shelf<K>,
{
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut seen = HashSet::new();
    let take = |object: K, listed: bool| {
        if let Some(run) = run_of(&object)
            && shelf.put(run.clone(), object, listed)
        {
            queue.push(run);
        }
    };
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.try_next() => event,
        };
        match event {
            Ok(Some(watcher::Event::Init)) => seen.clear(),
            Ok(Some(watcher::Event::InitApply(object))) => {
                seen.insert((object.namespace().unwrap_or_default(), object.name_any()));
                take(object, true);
            }
            Ok(Some(watcher::Event::InitDone)) => {
                for run in shelf.retain(namespace.as_deref(), &seen) {
                    queue.push(run);
                }
                seen = HashSet::new();
            }
            Ok(Some(watcher::Event::Apply(object))) => take(object, false),
            Ok(Some(watcher::Event::Delete(object))) => {
                let namespace = object.namespace().unwrap_or_default();
                if let Some(run) = shelf.remove(&namespace, &object.name_any()) {
                    queue.push(run);
                }
            }
            Ok(None) => return,
            // The watcher goes on by itself, with back-off.
            Err(error) => tracing::debug!(kind = %K::kind(&()), error = %crate::error::chain(&error), "watch failed"),
        }
    }
}
