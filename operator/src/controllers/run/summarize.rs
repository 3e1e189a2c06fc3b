//! What the Kubernetes API shows of a run: its Gates, its status, and whose it is.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use ntro_crds::WorkflowRun;
use ntro_crds::workflow_run::{Phase, Pin, WorkflowRunStatus};
use ntro_journal::RunState;
use ntro_journal::machine::SegmentState;
use serde_json::json;

use super::object::{self, last_write};
use super::status::{self, Source};
use super::{RunKey, Runs, plan};
use crate::controllers::gate::{self, GateInput};
use crate::error::{Next, Problem};
use crate::kube_ext::{FIELD_MANAGER, patch_status_if_changed};
use crate::pace;

/// Changes that nobody waits for are written together, this far apart.
const COALESCE: SignedDuration = SignedDuration::from_secs(10);
/// How long a run may be on its way to a pod before its status says so: most are there sooner.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(2);

impl Runs {
    pub(super) async fn gates(
        &self,
        key: &RunKey,
        object: &WorkflowRun,
        state: &RunState,
        pin: &Pin,
    ) -> Result<(), Problem> {
        let run_uid = object.uid().unwrap_or_default();
        let titles = self.titles(key, pin);
        let acts: BTreeMap<_, _> =
            self.acts.of(key).iter().filter_map(|act| Some((act.uid()?, act.name_any()))).collect();
        let now = self.context.clock.now();
        let title =
            |step: &str| titles.iter().find(|(id, _)| id == step).map_or(step, |(_, title)| title.as_str()).to_owned();
        let named: Vec<_> = state.gates.values().map(|gate| (gate, title(&gate.step))).collect();
        let inputs: Vec<_> = named
            .iter()
            .map(|(gate, title)| GateInput { state, gate, pin, run_uid: &run_uid, title, acts: &acts, now })
            .collect();
        gate::ensure(&self.context, &inputs, &self.gates.of(key)).await
    }

    /// Titles of the steps, from the manifest of the pinned version.
    fn titles(&self, key: &RunKey, pin: &Pin) -> Vec<(String, String)> {
        let runbook = self.runbook(&key.namespace, &pin.runbook.name);
        let versions = runbook.as_ref().and_then(|runbook| runbook.status.as_ref()?.versions.as_deref());
        let version = versions.unwrap_or_default().iter().find(|version| version.digest == pin.runbook.digest);
        let steps = version.and_then(|version| version.steps.as_deref()).unwrap_or_default();
        steps.iter().map(|step| (step.id.clone(), step.title.clone().unwrap_or_else(|| step.id.clone()))).collect()
    }

    /// Writes the status if it is time to.
    pub(super) async fn publish(
        &self,
        key: &RunKey,
        object: &WorkflowRun,
        state: &RunState,
        pin: &Pin,
    ) -> Result<Next, Problem> {
        let before = object.status.as_ref();
        let now = self.context.clock.now();
        let titles = self.titles(key, pin);
        let pods_live = self.pods.of(key).iter().filter_map(|pod| plan::pod_view(pod, now)).any(|pod| pod.alive);
        let source =
            Source { generation: object.metadata.generation, before, state, pin, titles: &titles, pods_live, now };
        let after = status::project(&source);
        let on_its_way =
            matches!(after.phase, Some(Phase::Pending | Phase::Queued)) && before.is_none_or(|b| b.blocked.is_none());
        if on_its_way {
            let (queue, again) = (self.queue.clone(), key.clone());
            let later = move |turn| queue.push_after(again, Duration::from_millis(200) + turn);
            if self.context.pace.defer(&key.namespace, ("run", key.name.clone()), later) {
                return Ok(Next::After(pace::LONGEST));
            }
            let due = state.head_time.checked_add(ON_ITS_WAY).unwrap_or(now);
            if due > now {
                return Ok(Next::After(plan::until(now, due)));
            }
        }
        // Its pod is gone as well: nothing follows.
        let is_final = after.phase.is_some_and(Phase::is_terminal) && state.segment_state == SegmentState::Over;
        if !is_final && !status::urgent(before, &after) {
            let last = last_write(object);
            let due = last.and_then(|last| last.checked_add(COALESCE).ok()).unwrap_or(now);
            if due > now {
                let differs =
                    crate::kube_ext::same_but_for_times(&before.cloned(), &Some(after)).is_ok_and(|same| !same);
                return Ok(if differs { Next::After(plan::until(now, due)) } else { Next::OnChange });
            }
        }
        self.write_status(object, &after).await?;
        if is_final {
            self.hand_over(key, object, state).await?;
        }
        Ok(Next::OnChange)
    }

    /// An ended run goes with its Workflow, if that is still the one it was made for. Nobody writes to it any more, so the
    /// record of who wrote which field, half of the object, is dropped: a restart reads every ended run.
    async fn hand_over(&self, key: &RunKey, object: &WorkflowRun, state: &RunState) -> Result<(), Problem> {
        let workflow = self.workflow(&key.namespace, &state.workflow.name);
        let Some(workflow) = workflow.filter(|w| w.uid().as_deref() == Some(state.workflow.uid.as_str())) else {
            return Ok(());
        };
        if workflow.metadata.deletion_timestamp.is_some() || !object.owner_references().is_empty() {
            return Ok(());
        }
        let api = self.context.namespaced::<WorkflowRun>(&key.namespace);
        // The UID is a precondition: an object made again under the name is another one.
        let owner = object::owned_by(&workflow);
        let patch = json!({ "metadata": { "uid": object.uid(), "ownerReferences": [owner], "managedFields": [{}] } });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch_metadata(&key.name, &params, &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn write_status(&self, object: &WorkflowRun, next: &WorkflowRunStatus) -> Result<(), Problem> {
        let api = self.context.namespaced::<WorkflowRun>(&object.namespace().unwrap_or_default());
        let made = patch_status_if_changed(&api, &object.name_any(), object.status.as_ref(), next).await?;
        // The next pass sees what this one wrote, even if the watch is late.
        if let Some(made) = made {
            self.objects.put(made);
        }
        Ok(())
    }
}
