//! The `WorkflowRun`s the API server holds: unfinished ones whole, ended ones as far as their Workflow needs them, so that a
//! long history costs little memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use kube::ResourceExt;
use kube::api::ObjectMeta;
use ntro_crds::workflow_run::RunPhase;
use ntro_crds::{WorkflowRun, labels};
use tokio::sync::watch;

use super::watch::Sink;
use super::{RunRef, RunSummary};
use crate::k8s::NamespacedName;
use crate::queue::Queue;

/// All runs of the API server. Its watch writes; so does whoever creates or changes one, because the watch is late.
pub(crate) struct RunStore {
    inner: Mutex<Inner>,
    listed: watch::Sender<bool>,
    workflows: Queue<NamespacedName>,
}

#[derive(Default)]
struct Inner {
    unfinished: HashMap<RunRef, Arc<WorkflowRun>>,
    /// By name. Few of one Workflow, but tens of thousands in all: no tree with room for more.
    summaries: HashMap<NamespacedName, Vec<RunSummary>>,
    /// Names of run and Workflow, by namespace.
    workflow_of: HashMap<String, HashMap<Box<str>, Box<str>>>,
}

impl Inner {
    fn knows(&self, run: &RunRef) -> bool {
        self.workflow_of.get(&run.namespace).is_some_and(|runs| runs.contains_key(run.name.as_str()))
    }

    fn name_workflow(&mut self, run: &RunRef, workflow: &str) {
        let runs = self.workflow_of.entry(run.namespace.clone()).or_default();
        runs.insert(run.name.as_str().into(), workflow.into());
    }

    fn forget_workflow(&mut self, run: &RunRef) -> Option<String> {
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
pub(crate) enum Lookup {
    Unfinished(Arc<WorkflowRun>),
    /// It is not kept: what it looks like is for the API server to say.
    Ended,
    Missing,
}

impl RunStore {
    /// An empty store; each change enqueues the run's Workflow.
    pub(crate) fn new(workflows: Queue<NamespacedName>) -> Self {
        Self { inner: Mutex::default(), listed: watch::Sender::new(false), workflows }
    }

    /// Waits until all runs were listed once.
    pub(crate) async fn wait_until_listed(&self) {
        // The sender lives as long as this.
        let _ = self.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// What is known of a run.
    pub(crate) fn get(&self, run: &RunRef) -> Lookup {
        let inner = self.lock();
        match inner.unfinished.get(run) {
            Some(object) => Lookup::Unfinished(Arc::clone(object)),
            None if inner.knows(run) => Lookup::Ended,
            None => Lookup::Missing,
        }
    }

    /// The unfinished runs of a namespace.
    pub(crate) fn unfinished_in(&self, namespace: &str) -> Vec<Arc<WorkflowRun>> {
        let inner = self.lock();
        inner
            .unfinished
            .iter()
            .filter(|(run, _)| run.namespace == namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// The runs of a Workflow; those made for another Workflow of its name are marked as not `ours`.
    pub(crate) fn summaries(&self, workflow: &NamespacedName, uid: &str) -> Vec<RunSummary> {
        let inner = self.lock();
        let runs = inner.summaries.get(workflow);
        runs.into_iter().flatten().map(|run| run.seen_by(uid)).collect()
    }

    /// Stores an object just created, written or seen.
    pub(crate) fn put(&self, object: WorkflowRun) {
        let Some(namespace) = object.namespace() else { return };
        let run = RunRef::new(namespace, object.name_any());
        self.take(run, object);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, run: RunRef, object: WorkflowRun) {
        let workflow = object.spec.request.workflow_ref.name.clone();
        let mut summary = RunSummary::of(&object);
        let changed = {
            let mut inner = self.lock();
            inner.name_workflow(&run, &workflow);
            if is_over(&object) {
                inner.unfinished.remove(&run);
            } else {
                let newer = inner.unfinished.get(&run).is_none_or(|known| is_newer(&object.metadata, &known.metadata));
                if !newer {
                    return;
                }
                inner.unfinished.insert(run.clone(), Arc::new(object));
            }
            let runs = inner.summaries.entry(NamespacedName::new(&run.namespace, &workflow)).or_default();
            // Of tens of thousands of runs each would keep its own copy of it.
            if let Some(known) = runs.iter().find(|known| known.workflow_uid == summary.workflow_uid) {
                summary.workflow_uid.clone_from(&known.workflow_uid);
            }
            match runs.binary_search_by(|known| known.name.cmp(&run.name)) {
                Ok(at) if runs[at] == summary => false,
                Ok(at) => {
                    runs[at] = summary;
                    true
                }
                Err(at) => {
                    runs.reserve_exact(1);
                    runs.insert(at, summary);
                    true
                }
            }
        };
        if changed {
            self.workflows.push(NamespacedName::new(run.namespace, workflow));
        }
    }

    /// Forgets an object that is gone; says whether it was known.
    pub(crate) fn forget(&self, run: &RunRef) -> bool {
        let workflow = {
            let mut inner = self.lock();
            inner.unfinished.remove(run);
            let Some(workflow) = inner.forget_workflow(run) else { return false };
            let key = NamespacedName::new(&run.namespace, workflow);
            if let Some(runs) = inner.summaries.get_mut(&key) {
                runs.retain(|known| known.name != run.name);
                if runs.is_empty() {
                    inner.summaries.remove(&key);
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
    let ended = status.and_then(|status| status.phase).is_some_and(RunPhase::is_terminal);
    ended && object.metadata.deletion_timestamp.is_none()
}

/// What we put in ourselves may come back later from the watch, and the other way round.
fn is_newer(object: &ObjectMeta, known: &ObjectMeta) -> bool {
    let version = |meta: &ObjectMeta| meta.resource_version.as_ref().and_then(|version| version.parse::<u64>().ok());
    object.uid != known.uid || version(object).is_none_or(|new| version(known).is_none_or(|old| new >= old))
}

impl Sink<WorkflowRun> for RunStore {
    fn put(&self, run: RunRef, object: WorkflowRun, listed: bool) -> bool {
        // A restart does not reconcile every run that ever was: what ended had its last reconcile, or its Jobs bring it back.
        // A hold may have been set while nobody watched.
        let held = object.annotations().contains_key(labels::HOLD);
        let over = listed && is_over(&object) && !object.owner_references().is_empty() && !held;
        self.take(run, object);
        !over
    }

    fn remove(&self, namespace: &str, name: &str) -> Option<RunRef> {
        let run = RunRef::new(namespace, name);
        self.forget(&run).then_some(run)
    }

    fn retain(&self, namespace: Option<&str>, seen: &HashSet<(String, String)>) -> Vec<RunRef> {
        let gone: Vec<_> = {
            let inner = self.lock();
            let here = inner.workflow_of.iter().filter(|(known, _)| namespace.is_none_or(|ns| *known == ns));
            let all = here.flat_map(|(namespace, runs)| runs.keys().map(|run| (namespace.clone(), run.to_string())));
            all.filter(|run| !seen.contains(run)).map(|(namespace, name)| RunRef::new(namespace, name)).collect()
        };
        for run in &gone {
            self.forget(run);
        }
        self.listed.send_replace(true);
        gone
    }
}
