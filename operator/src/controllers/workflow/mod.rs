//! Workflows: slots become runs, and the status tells whether a run could be started and how the last ones went.
//!
//! Order for a slot: claim and journal, then the `WorkflowRun` (unless it was precreated), then the Workflow's status. Dying
//! in between repeats steps, never runs.

mod apply;
mod decide;
mod edit;
mod events;
#[cfg(test)]
mod fixtures;
mod history;
mod memory;
mod observe;
mod plan;
mod precreate;
mod reconcile;
mod status;
mod summarize;
mod validate;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::driver::Controller;
use crate::error::{Problem, Requeue};
use crate::k8s::NamespacedName;
use crate::launch::Launcher;
use crate::metrics::ControllerName;
use crate::queue::Queue;
use memory::Memory;

/// The controller of Workflows.
pub(crate) struct Workflows {
    launcher: Launcher,
    queue: Queue<NamespacedName>,
    memory: Memory,
}

impl Workflows {
    pub(crate) fn new(launcher: Launcher, queue: Queue<NamespacedName>) -> Self {
        Self { launcher, queue, memory: Memory::default() }
    }
}

impl Controller for Workflows {
    type Key = NamespacedName;
    const NAME: ControllerName = ControllerName::Workflow;
    /// Concurrent reconciles share group commits of the journal: more workers means fewer commits.
    const WORKERS: usize = 64;

    async fn reconcile(&self, key: &NamespacedName) -> Result<Requeue, Problem> {
        self.reconcile_one(key).await
    }

    /// Whatever came of a reconcile, the Jobs that waited for it follow, unless more Workflows of the namespace are due.
    fn after_reconcile(&self, key: &NamespacedName, _requeue: Requeue) {
        self.launcher.burst.release_jobs(&key.namespace, self.queue.is_waiting(&key.namespace));
    }

    fn background(self: &Arc<Self>, shutdown: &CancellationToken) -> Vec<BoxFuture<'static, ()>> {
        vec![watch_tenants(Arc::clone(self), shutdown.clone()).boxed()]
    }
}

/// Enqueues the Workflows of namespaces that are served from now on: until then they were left alone.
async fn watch_tenants(workflows: Arc<Workflows>, shutdown: CancellationToken) {
    let mut tenants = workflows.launcher.context.tenants.subscribe();
    let mut known: BTreeSet<String> = BTreeSet::new();
    while let Some(Ok(())) = shutdown.run_until_cancelled(tenants.changed()).await {
        let now: BTreeSet<String> = tenants.borrow_and_update().keys().cloned().collect();
        for workflow in workflows.launcher.cache.workflows.state() {
            let key = NamespacedName::of(workflow.as_ref());
            if now.contains(&key.namespace) && !known.contains(&key.namespace) {
                workflows.queue.push(key);
            }
        }
        known = now;
    }
}
