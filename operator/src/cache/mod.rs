//! What is known of the cluster, kept by watches and read by every controller. Nothing here writes to the API server.

mod index;
mod keeping;
mod limits;
mod run_ref;
mod run_store;
mod run_summary;
pub(crate) mod tenants;
pub(crate) mod watch;

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::{ObjectRef, Store};
use ntro_crds::{Gate, Runbook, UserAction, Workflow};

pub(crate) use index::Index;
pub(crate) use keeping::Keeping;
pub(crate) use limits::OwnLimits;
pub(crate) use run_ref::RunRef;
pub(crate) use run_store::{Lookup, RunStore};
pub(crate) use run_summary::{Ending, RunSummary, Standing, is_precreated};

use crate::k8s::NamespacedName;
use crate::queue::Queue;

/// Everything that is watched. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Cache {
    pub workflows: Store<Workflow>,
    pub runbooks: Store<Runbook>,
    pub runs: Arc<RunStore>,
    pub jobs: Arc<Index<Job>>,
    pub pods: Arc<Index<Pod>>,
    pub gates: Arc<Index<Gate>>,
    pub user_actions: Arc<Index<UserAction>>,
}

impl Cache {
    /// Over the stores of Workflows and Runbooks; the rest is empty until it is watched. A changed run enqueues its Workflow.
    pub(crate) fn new(workflows: Store<Workflow>, runbooks: Store<Runbook>, changed: Queue<NamespacedName>) -> Self {
        Self {
            workflows,
            runbooks,
            runs: Arc::new(RunStore::new(changed)),
            jobs: Arc::default(),
            pods: Arc::default(),
            gates: Arc::default(),
            user_actions: Arc::default(),
        }
    }

    /// Waits until Workflows, Runbooks and runs were listed once: what was not listed yet must not be taken for something that
    /// does not exist. `false` if a watch ended before.
    pub(crate) async fn wait_until_listed(&self) -> bool {
        let (workflows, runbooks) = tokio::join!(self.workflows.wait_until_ready(), self.runbooks.wait_until_ready());
        self.runs.wait_until_listed().await;
        workflows.is_ok() && runbooks.is_ok()
    }

    pub(crate) fn workflow(&self, namespace: &str, name: &str) -> Option<Arc<Workflow>> {
        self.workflows.get(&ObjectRef::new(name).within(namespace))
    }

    pub(crate) fn runbook(&self, namespace: &str, name: &str) -> Option<Arc<Runbook>> {
        self.runbooks.get(&ObjectRef::new(name).within(namespace))
    }
}
