//! What there is of a Workflow before it is decided about: itself, its runs, its Runbook.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use ntro_crds::{Runbook, Workflow, WorkflowStatus};

use super::Workflows;
use crate::cache::RunSummary;
use crate::error::{Problem, Requeue, left};
use crate::k8s::NamespacedName;
use crate::launch::burst::{Deferred, LONGEST_DEFERRAL};

/// Longest sleep until the next slot, in case the clock jumps.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);
/// A little later than due: the clock that wakes and the clock that decides need not agree to the millisecond.
const LATER: Duration = Duration::from_millis(20);

/// What a look at a Workflow finds.
pub(super) enum Seen {
    Present(Box<Observed>),
    /// There is no such Workflow (any more): the precreated objects of its slots are left.
    Gone(Vec<RunSummary>),
    /// It is being deleted, or is deferred.
    NothingToDo(Requeue),
}

/// All that a reconcile decides from.
pub(super) struct Observed {
    pub key: NamespacedName,
    pub workflow: Arc<Workflow>,
    /// As it was last written, which the watch may not show yet.
    pub status: Option<WorkflowStatus>,
    /// The runs that have begun, or have a `WorkflowRun` that nobody has claimed yet.
    pub runs: Vec<RunSummary>,
    /// The runs of slots to come whose objects exist already.
    pub precreated: Vec<RunSummary>,
    pub runbook: Option<Arc<Runbook>>,
    pub now: Timestamp,
}

impl Workflows {
    pub(super) async fn observe(&self, key: &NamespacedName) -> Result<Seen, Problem> {
        let (context, cache) = (&self.launcher.context, &self.launcher.cache);
        let Some(workflow) = cache.workflow(&key.namespace, &key.name) else {
            let (_, precreated) = self.runs_of(key, "").await?;
            return Ok(Seen::Gone(precreated));
        };
        let served = context.tenants.get(&key.namespace).is_some_and(|tenant| !tenant.terminating);
        if workflow.metadata.deletion_timestamp.is_some() || !served {
            return Ok(Seen::NothingToDo(Requeue::OnChange));
        }
        let now = context.clock.now();
        if let Some(requeue) = self.defer_if_done(key, &workflow, now) {
            return Ok(Seen::NothingToDo(requeue));
        }
        let (runs, precreated) = self.runs_of(key, &workflow.uid().unwrap_or_default()).await?;
        Ok(Seen::Present(Box::new(Observed {
            key: key.clone(),
            status: self.memory.last_status(key, &workflow),
            runs,
            precreated,
            runbook: cache.runbook(&key.namespace, &workflow.spec.runbook_ref.name),
            workflow,
            now,
        })))
    }

    /// The runs of a Workflow: those that have begun or that nobody has claimed yet, and those that were precreated.
    async fn runs_of(&self, key: &NamespacedName, uid: &str) -> Result<(Vec<RunSummary>, Vec<RunSummary>), Problem> {
        let (mut runs, mut precreated) = (Vec::new(), Vec::new());
        for mut run in self.launcher.cache.runs.summaries(key, uid) {
            // A status may be long in coming: the claims tell at once what has begun.
            if run.precreated || !run.begun {
                run.begun = self.launcher.context.run_by_name(&key.namespace, &run.name).await?.is_some();
                run.precreated &= !run.begun;
            }
            if run.precreated { precreated.push(run) } else { runs.push(run) }
        }
        Ok((runs, precreated))
    }

    /// Defers a Workflow about which there is nothing to do but to tell how its runs are, while others are being launched.
    fn defer_if_done(&self, key: &NamespacedName, workflow: &Workflow, now: Timestamp) -> Option<Requeue> {
        let done = self.memory.take_done(key)?;
        if !done.holds(workflow, now) || !self.launcher.burst.defer(Deferred::Workflow(key.clone())) {
            return None;
        }
        let requeue = requeue_at(done.until, now).sooner(Requeue::After(LONGEST_DEFERRAL));
        self.memory.put_done(key, done);
        Some(requeue)
    }
}

/// When to reconcile again for something that is due.
pub(super) fn requeue_at(due: Option<Timestamp>, now: Timestamp) -> Requeue {
    due.map_or(Requeue::OnChange, |due| Requeue::After((left(due, now) + LATER).min(LONGEST_SLEEP)))
}
