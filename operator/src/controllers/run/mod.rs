//! Runs: everything about one run is done by one worker at a time, acts before timers before Jobs before status.
//!
//! The journal decides; this room turns what it wants into Jobs, what the cluster shows into observations, and what it
//! says into Gates and status. A run is worked on although its `WorkflowRun` was deleted: deleting is not cancelling.

pub mod admit;
mod expiry;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod index;
pub mod job;
pub mod object;
pub mod objects;
pub mod pin;
pub mod plan;
mod publish;
mod segments;
mod starts;
pub mod status;
pub mod wake;
mod work;

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use ntro_crds::{Gate, Runbook, UserAction, Workflow, labels};
use ntro_journal::{Journal, RunState};

use crate::context::Context;
use crate::queue::{self, Queue};
use index::Index;
use objects::Objects;
use starts::Starts;

pub use wake::run;

/// Namespace and name of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl RunKey {
    /// A key.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The run of this state.
    pub fn of_journal(state: &RunState) -> Self {
        Self::new(&state.namespace, &state.name)
    }

    /// The run that an object of ours belongs to, by its label.
    pub fn of_labelled<K: ResourceExt>(object: &K) -> Option<Self> {
        Some(Self::new(object.namespace()?, object.labels().get(labels::RUN)?))
    }
}

impl queue::Key for RunKey {
    fn tenant(&self) -> &str {
        &self.namespace
    }
}

/// What the workers share. Cloning is cheap.
#[derive(Clone)]
pub struct Runs {
    /// Shared parts of the operator.
    pub context: Context,
    /// The journals.
    pub journal: Journal,
    /// The Workflows.
    pub workflows: Store<Workflow>,
    /// The Runbooks.
    pub runbooks: Store<Runbook>,
    /// The `WorkflowRun`s.
    pub objects: Arc<Objects>,
    /// Jobs by run.
    pub jobs: Arc<Index<Job>>,
    /// Pods by run.
    pub pods: Arc<Index<Pod>>,
    /// Gates by run.
    pub gates: Arc<Index<Gate>>,
    /// Acts by run.
    pub acts: Arc<Index<UserAction>>,
    /// The runs to look at.
    pub queue: Queue<RunKey>,
    /// Runs whose object or first Job is about to be made.
    starts: Arc<Starts>,
}

impl Runs {
    /// Tells that a run is about to be made: until one of the next three is called, nobody else makes its object, and
    /// nothing of its namespace that can wait goes before its first Job.
    pub fn about_to_make(&self, key: &RunKey) {
        self.starts.begin(key.clone(), self.context.pace.start(&key.namespace));
    }

    /// The object of a run was made: its Job follows when no more objects of its namespace are due.
    pub fn just_made(&self, key: RunKey) {
        self.starts.made(key, Instant::now());
    }

    /// The object of a run was there already: its Job follows at once.
    pub fn made_ahead(&self, key: RunKey) {
        self.starts.ready(&key);
        self.queue.push(key);
    }

    /// The run was not made: the next pass over it may.
    pub fn not_made(&self, key: RunKey) {
        self.starts.not_made(&key);
        self.queue.push(key);
    }

    /// Has the first Jobs of a namespace's runs made, unless `more` runs of it are about to be made.
    pub fn go_on_with_jobs(&self, namespace: &str, more: bool) {
        for key in self.starts.release(namespace, more, Instant::now()) {
            self.queue.push(key);
        }
    }
}
