//! Runs: everything about one run is done by one worker at a time, user actions before timers before Jobs before status.
//!
//! The journal decides; this controller turns what it wants into Jobs, what the cluster shows into observations, and what it
//! says into Gates and status. A run is reconciled even if its `WorkflowRun` was deleted: deleting is not cancelling.

mod apply;
pub(crate) mod collect;
mod decide;
mod gates;
mod holds;
mod jobs;
mod mismatch;
mod observe;
mod reconcile;
pub(crate) mod retention;
mod status;
mod summarize;
pub(crate) mod timers;
mod user_actions;
mod validate;
pub(crate) mod watches;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::driver::Controller;
use crate::cache::{Cache, RunRef};
use crate::context::Context;
use crate::error::{Problem, Requeue};
use crate::launch::Launcher;
use crate::metrics::ControllerName;

/// The controller of runs.
pub(crate) struct Runs {
    context: Context,
    cache: Cache,
    launcher: Launcher,
}

impl Runs {
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self { context: launcher.context.clone(), cache: launcher.cache.clone(), launcher }
    }
}

impl Controller for Runs {
    type Key = RunRef;
    const NAME: ControllerName = ControllerName::Run;
    /// High, so that at month end the creation of first Jobs is not starved by the Job controller's own API traffic.
    const WORKERS: usize = 128;

    async fn reconcile(&self, run: &RunRef) -> Result<Requeue, Problem> {
        self.reconcile_one(run).await
    }

    fn background(self: &Arc<Self>, shutdown: &CancellationToken) -> Vec<BoxFuture<'static, ()>> {
        let queue = &self.launcher.run_queue;
        vec![
            watches::gates(&self.context.kube, &self.cache, queue, shutdown).boxed(),
            watches::user_actions(&self.context.kube, &self.cache, queue, shutdown).boxed(),
            watches::per_tenant(self.context.clone(), self.cache.clone(), queue.clone(), shutdown.clone()).boxed(),
            watches::journals(self.context.journal.clone(), queue.clone(), shutdown.clone()).boxed(),
            user_actions::proof::watch(self.context.clone(), shutdown.clone()).boxed(),
        ]
    }
}
