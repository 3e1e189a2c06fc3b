//! Tells what became of a Workflow: its status, Events and metrics, and after them the deletion of what the status has told.

use kube::ResourceExt;
use kube::api::{Preconditions, PropagationPolicy};
use ntro_crds::{Workflow, WorkflowRun};

use super::apply::Applied;
use super::memory::Done;
use super::observe::Observed;
use super::status::{self, StatusInput};
use super::validate::Validated;
use super::{Workflows, events};
use crate::cache::{RunRef, RunSummary};
use crate::error::{Class, Problem, Requeue};
use crate::k8s::{NamespacedName, delete_exactly, object_reference, patch_status_if_changed};
use crate::launch::burst::{AFTER_BURST, Deferred, LONGEST_DEFERRAL};

impl Workflows {
    pub(super) async fn summarize(
        &self,
        observed: &Observed,
        validated: &Validated,
        applied: Applied,
    ) -> Result<Requeue, Problem> {
        let key = &observed.key;
        self.arm(key, applied.decision.next_slot);
        self.note_done(observed, validated, &applied);
        let input = StatusInput::of(observed, validated, &applied);
        if !self.write_status(observed, &input, applied.launched).await? {
            let requeue = applied.requeue.sooner(Requeue::After(LONGEST_DEFERRAL));
            return applied.stuck.map_or(Ok(requeue), Err);
        }
        // What is deleted was told in the status before.
        self.prune(key, &applied.decision.prune).await?;
        // What a person asked for and could not be begun may be, now that something has changed.
        let refused = applied.runs.iter().filter(|run| !run.begun);
        refused.for_each(|run| self.launcher.run_queue.push(RunRef::new(&key.namespace, &run.name)));
        // What waits for a Runbook, or for an edit, is no failure: both are watched.
        let failed = applied.stuck.iter().chain(validated.runnable.as_ref().err());
        let mut failed = failed.filter(|problem| matches!(problem.class, Class::Transient | Class::Bug));
        failed.next().map_or(Ok(applied.requeue), |problem| Err(problem.clone()))
    }

    /// Notes that there is nothing more to do about a Workflow until its next time, while others are being launched.
    fn note_done(&self, observed: &Observed, validated: &Validated, applied: &Applied) {
        let done = applied.stuck.is_none() && validated.runnable.is_ok() && applied.decision.queued.is_empty();
        if done && self.launcher.burst.is_busy(&observed.key.namespace) {
            let workflow = &observed.workflow;
            let done = Done { uid: workflow.uid(), generation: workflow.metadata.generation, until: applied.due };
            self.memory.put_done(&observed.key, Box::new(done));
        }
    }

    /// Writes the status, or defers it while runs are being launched. Says whether what was applied is in it now.
    async fn write_status(
        &self,
        observed: &Observed,
        input: &StatusInput<'_>,
        launched: bool,
    ) -> Result<bool, Problem> {
        let (context, key) = (&self.launcher.context, &observed.key);
        let before = observed.status.as_ref();
        let next = status::next(before, input);
        if before.is_some_and(|before| status::can_wait(before, &next)) {
            if self.launcher.burst.defer(Deferred::Workflow(key.clone())) {
                return Ok(false);
            }
            if launched {
                // Its first Job is about to be created; the status follows.
                self.queue.push_after(key.clone(), AFTER_BURST);
                return Ok(false);
            }
        }
        let api = context.kube.namespaced::<Workflow>(&key.namespace);
        if let Some(written) = patch_status_if_changed(&api, &key.name, before, &next).await? {
            let reference = object_reference(observed.workflow.as_ref());
            for event in events::events(before, &next, input.skipped) {
                let recorder = if event.unaggregated { context.events.unaggregated() } else { context.events.clone() };
                recorder.publish(&reference, event.kind, &event.reason, "Schedule", &event.note).await;
            }
            for skipped in input.skipped {
                context.metrics.slots_skipped(skipped.reason, skipped.count);
            }
            self.memory.wrote(key, written.metadata.resource_version, next);
        }
        Ok(true)
    }

    async fn prune(&self, key: &NamespacedName, names: &[String]) -> Result<(), Problem> {
        let api = self.launcher.context.kube.namespaced::<WorkflowRun>(&key.namespace);
        for name in names {
            // The cache may be old: only the object that was decided about is deleted.
            let Some(run) = api.get_opt(name).await? else { continue };
            if !RunSummary::of(&run).ended() {
                continue;
            }
            let preconditions = Preconditions { uid: run.uid(), resource_version: run.resource_version() };
            if delete_exactly(&api, name, preconditions, PropagationPolicy::Background).await? {
                tracing::debug!(namespace = key.namespace, run = name, "pruned");
            }
        }
        Ok(())
    }
}
