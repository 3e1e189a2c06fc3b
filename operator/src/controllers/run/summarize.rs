//! Tells what became of a run: its Gates, its status, and whose it is.

use jiff::SignedDuration;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use ntro_crds::WorkflowRun;
use ntro_crds::workflow_run::{RunPhase, RunPin, WorkflowRunStatus};
use ntro_journal::machine::SegmentState;
use serde_json::json;

use super::apply::Applied;
use super::status::{self, Source};
use super::validate::Open;
use super::{Runs, gates, user_actions};
use crate::cache::RunRef;
use crate::error::{Problem, Requeue};
use crate::k8s::{FIELD_MANAGER, patch_status_if_changed, same_but_for_times};
use crate::launch::burst::{Deferred, LONGEST_DEFERRAL};
use crate::launch::run_object::{last_write, owned_by};

/// Changes that nobody waits for are written together, this far apart.
const COALESCE: SignedDuration = SignedDuration::from_secs(10);

impl Runs {
    pub(super) async fn summarize(&self, applied: Applied) -> Result<Requeue, Problem> {
        let open = &applied.open;
        let titles = self.titles(&open.run, &open.pin);
        // A Gate that the API server does not take must not hide how the run stands.
        let gates = gates::project(&self.context, open, &titles, &self.cache.gates.of(&open.run)).await;
        let mut requeue = applied.requeue.sooner(self.project_status(open, &titles).await?);
        gates?;
        let now = self.context.clock.now();
        if let Some(due) = user_actions::prune(&self.context, &open.user_actions, now).await? {
            requeue = requeue.sooner(Requeue::at(due, now));
        }
        applied.unanswered.map_or(Ok(requeue), Err)
    }

    /// Titles of the steps, from the manifest of the pinned version.
    fn titles(&self, run: &RunRef, pin: &RunPin) -> Vec<(String, String)> {
        let runbook = self.cache.runbook(&run.namespace, &pin.runbook.name);
        let versions = runbook.as_ref().and_then(|runbook| runbook.status.as_ref()?.versions.as_deref());
        let version = versions.unwrap_or_default().iter().find(|version| version.digest == pin.runbook.digest);
        let steps = version.and_then(|version| version.steps.as_deref()).unwrap_or_default();
        steps.iter().map(|step| (step.id.clone(), step.title.clone().unwrap_or_else(|| step.id.clone()))).collect()
    }

    /// Writes the status if it is time to.
    async fn project_status(&self, open: &Open, titles: &[(String, String)]) -> Result<Requeue, Problem> {
        let (object, state, now) = (&open.object, &open.state, self.context.clock.now());
        let before = object.status.as_ref();
        let after = status::project(&Source {
            limits: self.context.journal.limits(&state.tenant.namespace_uid),
            generation: object.metadata.generation,
            before,
            state,
            pin: &open.pin,
            titles,
            pods_live: self.has_live_pods(&open.run),
            now,
        });
        let on_its_way = matches!(after.phase, Some(RunPhase::Pending | RunPhase::Queued))
            && before.is_none_or(|b| b.blocked.is_none());
        if on_its_way && self.launcher.burst.defer(Deferred::Run(open.run.clone())) {
            return Ok(Requeue::After(LONGEST_DEFERRAL));
        }
        if let Some(due) = status::can_wait(state, before, &after, now) {
            return Ok(Requeue::at(due, now));
        }
        // Its pod is gone as well: nothing follows.
        let is_final = after.phase.is_some_and(RunPhase::is_terminal) && state.segment_state == SegmentState::Over;
        if !is_final && !status::urgent(before, &after) {
            let due = last_write(object).and_then(|last| last.checked_add(COALESCE).ok()).unwrap_or(now);
            if due > now {
                let differs = same_but_for_times(&before.cloned(), &Some(after)).is_ok_and(|same| !same);
                return Ok(if differs { Requeue::at(due, now) } else { Requeue::OnChange });
            }
        }
        self.write_status(object, &after).await?;
        if is_final {
            self.hand_over(open).await?;
        }
        Ok(Requeue::OnChange)
    }

    /// An ended run goes with its Workflow, if that is still the one it was launched for. Nobody writes to it any more, so the
    /// record of who wrote which field, half of the object, is dropped: a restart reads every ended run.
    async fn hand_over(&self, open: &Open) -> Result<(), Problem> {
        let Open { run, object, state, .. } = open;
        let workflow = self.cache.workflow(&run.namespace, &state.workflow.name);
        let Some(workflow) = workflow.filter(|w| w.uid().as_deref() == Some(state.workflow.uid.as_str())) else {
            return Ok(());
        };
        if workflow.metadata.deletion_timestamp.is_some() || !object.owner_references().is_empty() {
            return Ok(());
        }
        let api = self.context.kube.namespaced::<WorkflowRun>(&run.namespace);
        // The UID is a precondition: an object created again under the name is another one.
        let owner = owned_by(&workflow);
        let patch = json!({ "metadata": { "uid": object.uid(), "ownerReferences": [owner], "managedFields": [{}] } });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch_metadata(&run.name, &params, &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn write_status(&self, object: &WorkflowRun, next: &WorkflowRunStatus) -> Result<(), Problem> {
        let api = self.context.kube.namespaced::<WorkflowRun>(&object.namespace().unwrap_or_default());
        let written = patch_status_if_changed(&api, &object.name_any(), object.status.as_ref(), next).await?;
        // The next reconcile sees what this one wrote, even if the watch is late.
        if let Some(written) = written {
            self.cache.runs.put(written);
        }
        Ok(())
    }
}
