//! The `WorkflowRun` object of a run, and what its journal says of the request. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::ResourceExt;
use kube::api::ObjectMeta;
use ntro_crds::workflow_run::{Request, RunContext, Trigger, TriggerKind, WorkflowRef};
use ntro_crds::{API_VERSION, Workflow, WorkflowRun, WorkflowRunSpec, labels, names};
use ntro_journal::RunState;
use serde_json::Value;
use uuid::Uuid;

use crate::cache::RunRef;

/// When our status was last written, from the object's own record of its writers.
pub(crate) fn last_write(object: &WorkflowRun) -> Option<Timestamp> {
    let fields = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let ours = fields.iter().filter(|f| f.subresource.as_deref() == Some("status"));
    ours.filter_map(|f| f.time.as_ref().map(|time| time.0)).max()
}

/// Whether an object without a status is the one its journal was begun for.
pub(crate) fn is_same(object: &WorkflowRun, state: &RunState) -> bool {
    let request = &object.spec.request;
    request.workflow_ref.name == state.workflow.name
        && request.trigger.initiator == state.trigger.initiator
        && request_of(state).is_some_and(|known| {
            known.context.unwrap_or_default() == request.context.clone().unwrap_or_default()
                && known.trigger.scheduled_time == request.trigger.scheduled_time
        })
}

/// Whether a person asks by an object for the slot that a journal is about.
pub(crate) fn asks_for_same_slot(object: &WorkflowRun, state: &RunState) -> bool {
    let request = &object.spec.request;
    request.workflow_ref.name == state.workflow.name
        && request.trigger.kind == TriggerKind::Backfill
        && request_of(state).is_some_and(|known| {
            known.trigger.kind == TriggerKind::Schedule
                && known.trigger.scheduled_time == request.trigger.scheduled_time
        })
}

/// The request of a run, from its journal.
pub(crate) fn request_of(state: &RunState) -> Option<Request> {
    let kind = TriggerKind::try_from(state.trigger.kind.as_str()).ok()?;
    let period = state.pin.0.get("period").and_then(Value::as_str).map(str::to_owned);
    let scheduled = state.slot.as_deref().and_then(|slot| slot.parse::<Timestamp>().ok());
    Some(Request {
        workflow_ref: WorkflowRef { name: state.workflow.name.clone() },
        context: period.map(|period| RunContext { period: Some(period) }),
        trigger: Trigger {
            kind,
            initiator: state.trigger.initiator.clone(),
            scheduled_time: scheduled.map(Time),
            parent: None,
        },
    })
}

/// The object of a run.
pub(crate) fn build(run: &RunRef, request: &Request, workflow_uid: &str, run_id: Uuid) -> WorkflowRun {
    let mut object = WorkflowRun::new(&run.name, WorkflowRunSpec { request: request.clone() });
    let mut annotations = BTreeMap::new();
    if let Some(time) = &request.trigger.scheduled_time {
        annotations.insert(labels::SCHEDULED_AT.to_owned(), time.0.to_string());
    }
    object.metadata = ObjectMeta {
        name: Some(run.name.clone()),
        namespace: Some(run.namespace.clone()),
        labels: Some(
            [
                (labels::MANAGED_BY, labels::MANAGED_BY_OPERATOR.to_owned()),
                (labels::WORKFLOW, request.workflow_ref.name.clone()),
                (labels::WORKFLOW_UID, workflow_uid.to_owned()),
                (labels::RUN_ID, run_id.to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        ),
        annotations: (!annotations.is_empty()).then_some(annotations),
        ..ObjectMeta::default()
    };
    object
}

/// The reference by which an ended run goes with its Workflow.
pub(crate) fn owned_by(workflow: &Workflow) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: "Workflow".to_owned(),
        name: workflow.name_any(),
        uid: workflow.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

/// The name of a slot's run.
pub(crate) fn slot_run_ref(namespace: &str, workflow: &str, slot: Timestamp) -> RunRef {
    RunRef::new(namespace, names::slot_run(workflow, slot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::runs::created;

    #[test]
    fn the_object_made_again_is_the_one_that_was_deleted() {
        let state = created();
        let request = request_of(&state).unwrap();
        assert_eq!((request.trigger.kind, request.trigger.initiator.as_str()), (TriggerKind::Manual, "ina"));
        let run = RunRef::new("acme", "nav-abcde");
        let object = build(&run, &request, "wf-uid", state.run_id);
        assert!(is_same(&object, &state));
        assert_eq!(RunRef::of(&object), run);
        let mut other = object.clone();
        other.spec.request.trigger.initiator = "eve".to_owned();
        assert!(!is_same(&other, &state));
        other = object;
        other.spec.request.context = Some(RunContext { period: Some("2026-09".to_owned()) });
        assert!(!is_same(&other, &state));
    }

    #[test]
    fn a_person_may_ask_for_the_slot_of_an_open_run() {
        let slot: Timestamp = "2026-11-05T08:00:00Z".parse().unwrap();
        let mut state = created();
        state.slot = Some(slot.to_string());
        state.trigger.kind = "Schedule".to_owned();
        let mut object = build(&slot_run_ref("acme", "nav", slot), &request_of(&state).unwrap(), "wf-uid", Uuid::nil());
        assert!(!asks_for_same_slot(&object, &state), "the schedule's own");
        object.spec.request.trigger.kind = TriggerKind::Backfill;
        assert!(asks_for_same_slot(&object, &state));
        object.spec.request.trigger.scheduled_time = Some(Time("2026-10-05T08:00:00Z".parse().unwrap()));
        assert!(!asks_for_same_slot(&object, &state), "another slot");
    }

    #[test]
    fn a_slot_names_its_run() {
        let key = slot_run_ref("acme", "nav", "2026-11-05T08:00:00Z".parse().unwrap());
        assert_eq!(key.name, "nav-20261105t0800z");
    }
}
