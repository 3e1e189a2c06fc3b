//! The `WorkflowRun`s the API server holds: unfinished ones whole, ended ones as far as their Workflow needs them, so that a
//! long history costs little memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use kube::ResourceExt;
use kube::api::ObjectMeta;
use ntro_crds::WorkflowRun;
use ntro_crds::workflow_run::Phase;
use tokio::sync::watch;

use super::RunKey;
use super::index::Shelf;
use crate::controllers::workflow::facts::RunFact;
use crate::queue::Queue;

/// Namespace and name of a Workflow.
type WorkflowKey = (String, String);

/// All runs of the API server. Kept by a watch; what we make ourselves is put in at once.
pub struct Objects {
    inner: Mutex<Inner>,
    listed: watch::Sender<bool>,
    workflows: Queue<WorkflowKey>,
}

#[derive(Default)]
struct Inner {
    open: HashMap<RunKey, Arc<WorkflowRun>>,
    /// By name. Few of one Workflow, but tens of thousands in all: no tree with room for more.
    by_workflow: HashMap<WorkflowKey, Vec<RunFact>>,
    /// Names of run and Workflow, by namespace.
    workflow_of: HashMap<String, HashMap<Box<str>, Box<str>>>,
}

impl Inner {
    fn knows(&self, run: &RunKey) -> bool {
        self.workflow_of.get(&run.namespace).is_some_and(|runs| runs.contains_key(run.name.as_str()))
    }

    fn name_workflow(&mut self, run: &RunKey, workflow: &str) {
        let runs = self.workflow_of.entry(run.namespace.clone()).or_default();
        runs.insert(run.name.as_str().into(), workflow.into());
    }

    fn forget_workflow(&mut self, run: &RunKey) -> Option<String> {
        let runs = self.workflow_of.get_mut(&run.namespace)?;
        let workflow = runs.remove(run.name.as_str())?;
        if runs.is_empty() {
            self.workflow_of.remove(&run.namespace);
        }
        Some(workflow.into())
    }
}

/// What is known of a run's object.
#[derive(Debug, Clone)]
pub enum Known {
    /// It is unfinished.
    Open(Arc<WorkflowRun>),
    /// It has ended; what it looks like is for the API server to say.
    Ended,
    /// There is none.
    Missing,
}

impl Objects {
    /// Nothing yet; each change wakes the run's Workflow.
    pub fn new(workflows: Queue<WorkflowKey>) -> Self {
        Self { inner: Mutex::default(), listed: watch::Sender::new(false), workflows }
    }

    /// Waits until all runs were listed once.
    pub async fn wait_until_listed(&self) {
        // The sender lives as long as this.
        let _ = self.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// What is known of a run.
    pub fn get(&self, run: &RunKey) -> Known {
        let inner = self.lock();
        match inner.open.get(run) {
            Some(object) => Known::Open(Arc::clone(object)),
            None if inner.knows(run) => Known::Ended,
            None => Known::Missing,
        }
    }

    /// The unfinished runs of a namespace.
    pub fn open_in(&self, namespace: &str) -> Vec<Arc<WorkflowRun>> {
        let inner = self.lock();
        inner.open.iter().filter(|(run, _)| run.namespace == namespace).map(|(_, object)| Arc::clone(object)).collect()
    }

    /// The runs of a Workflow; those made for another Workflow of its name are marked as not `ours`.
    pub fn facts(&self, namespace: &str, workflow: &str, uid: &str) -> Vec<RunFact> {
        let inner = self.lock();
        let runs = inner.by_workflow.get(&(namespace.to_owned(), workflow.to_owned()));
        runs.into_iter().flatten().map(|fact| fact.seen_by(uid)).collect()
    }

    /// Takes up an object just made or seen.
    pub fn put(&self, object: WorkflowRun) {
        let Some(namespace) = object.namespace() else { return };
        let run = RunKey::new(namespace, object.name_any());
        self.take(run, object);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, run: RunKey, object: WorkflowRun) {
        let workflow = object.spec.request.workflow_ref.name.clone();
        let mut fact = RunFact::of(&object);
        let changed = {
            let mut inner = self.lock();
            inner.name_workflow(&run, &workflow);
            if is_over(&object) {
                inner.open.remove(&run);
            } else {
                let newer = inner.open.get(&run).is_none_or(|known| is_newer(&object.metadata, &known.metadata));
                if !newer {
                    return;
                }
                inner.open.insert(run.clone(), Arc::new(object));
            }
            let runs = inner.by_workflow.entry((run.namespace.clone(), workflow.clone())).or_default();
            // Of tens of thousands of runs each would keep its own copy of it.
            if let Some(known) = runs.iter().find(|known| known.workflow_uid == fact.workflow_uid) {
                fact.workflow_uid.clone_from(&known.workflow_uid);
            }
            match runs.binary_search_by(|known| known.name.cmp(&run.name)) {
                Ok(at) if runs[at] == fact => false,
                Ok(at) => {
                    runs[at] = fact;
                    true
                }
                Err(at) => {
                    runs.reserve_exact(1);
                    runs.insert(at, fact);
                    true
                }
            }
        };
        if changed {
            self.workflows.push((run.namespace, workflow));
        }
    }

    /// Forgets an object that is gone; says whether it was known.
    pub fn forget(&self, run: &RunKey) -> bool {
        let workflow = {
            let mut inner = self.lock();
            inner.open.remove(run);
            let Some(workflow) = inner.forget_workflow(run) else { return false };
            let key = (run.namespace.clone(), workflow);
            if let Some(runs) = inner.by_workflow.get_mut(&key) {
                runs.retain(|known| known.name != run.name);
                if runs.is_empty() {
                    inner.by_workflow.remove(&key);
                }
            }
            key
        };
        self.workflows.push(workflow);
        true
    }
}

/// It has ended, and what there was to do about it when it ended was done.
fn is_over(object: &WorkflowRun) -> bool {
    let status = object.status.as_ref();
    let ended = status.and_then(|status| status.phase).is_some_and(Phase::is_terminal);
    ended && object.metadata.deletion_timestamp.is_none()
}

/// What we put in ourselves may come back later from the watch, and the other way round.
fn is_newer(object: &ObjectMeta, known: &ObjectMeta) -> bool {
    let version = |meta: &ObjectMeta| meta.resource_version.as_ref().and_then(|version| version.parse::<u64>().ok());
    object.uid != known.uid || version(object).is_none_or(|new| version(known).is_none_or(|old| new >= old))
}

impl Shelf<WorkflowRun> for Objects {
    fn put(&self, run: RunKey, object: WorkflowRun, listed: bool) -> bool {
        // A restart does not look at every run that ever was: what ended had its last pass, or its Jobs wake it.
        let settled = listed && is_over(&object) && !object.owner_references().is_empty();
        self.take(run, object);
        !settled
    }

    fn remove(&self, namespace: &str, name: &str) -> Option<RunKey> {
        let run = RunKey::new(namespace, name);
        self.forget(&run).then_some(run)
    }

    fn retain(&self, namespace: Option<&str>, seen: &HashSet<(String, String)>) -> Vec<RunKey> {
        let gone: Vec<_> = {
            let inner = self.lock();
            let here = inner.workflow_of.iter().filter(|(known, _)| namespace.is_none_or(|ns| *known == ns));
            let all = here.flat_map(|(namespace, runs)| runs.keys().map(|run| (namespace.clone(), run.to_string())));
            all.filter(|run| !seen.contains(run)).map(|(namespace, name)| RunKey::new(namespace, name)).collect()
        };
        for run in &gone {
            self.forget(run);
        }
        self.listed.send_replace(true);
        gone
    }
}
