//! Which run is meant.

use kube::ResourceExt;
use ntro_crds::{WorkflowRun, labels};
use ntro_journal::RunState;

use crate::queue;

/// Namespace and name of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunRef {
    pub namespace: String,
    pub name: String,
}

impl RunRef {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub(crate) fn of(object: &WorkflowRun) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }

    pub(crate) fn of_journal(state: &RunState) -> Self {
        Self::new(&state.namespace, &state.name)
    }

    /// The run that a Job or pod of ours belongs to, by its label.
    pub(crate) fn of_labelled<K: ResourceExt>(object: &K) -> Option<Self> {
        Some(Self::new(object.namespace()?, object.labels().get(labels::RUN)?))
    }
}

impl queue::Key for RunRef {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }
}
