//! The Gate object. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use ntro_crds::gate::GateAction;
use ntro_crds::policy::OnExpiry;
use ntro_crds::{API_VERSION, Gate, GateSpec, labels, names};
use ntro_journal::machine;
use ntro_journal::protocol as journal;

use super::GateInput;
use super::expiry::due;
use crate::clock::whole_seconds;

/// The Gate object.
pub(super) fn build(input: &GateInput<'_>) -> Gate {
    let GateInput { state, gate, pin, .. } = input;
    let id = gate.id.to_string();
    let rule = pin.gate_policy.as_ref().and_then(|policy| policy.rule_for(&gate.step));
    let spec = GateSpec {
        gate_id: id.clone(),
        run: state.name.clone(),
        run_id: state.run_id.to_string(),
        workflow: state.workflow.name.clone(),
        step: gate.step.clone(),
        class: names::gate_class(&pin.runbook.name, &gate.step),
        title: input.title.to_owned(),
        component: component(&gate.component),
        actions: actions(gate),
        due: due(gate, pin).map(whole_seconds),
        on_expiry: rule.and_then(|rule| rule.on_expiry).unwrap_or(OnExpiry::Reject),
    };
    let mut object = Gate::new(&names::gate(&state.name, &gate.step, &id), spec);
    object.metadata = ObjectMeta {
        name: object.metadata.name,
        namespace: Some(state.namespace.clone()),
        labels: Some(
            [
                (labels::MANAGED_BY, labels::MANAGED_BY_OPERATOR.to_owned()),
                (labels::WORKFLOW, state.workflow.name.clone()),
                (labels::RUN, state.name.clone()),
                (labels::RUN_ID, state.run_id.to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        ),
        owner_references: Some(vec![OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: "WorkflowRun".to_owned(),
            name: state.name.clone(),
            uid: input.run_uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(false),
        }]),
        ..ObjectMeta::default()
    };
    object
}

/// Known components only: what code calls its component may hold anything.
fn component(name: &str) -> String {
    let plain = !name.is_empty() && name.len() <= 63 && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    if plain { name.to_owned() } else { "APPROVAL_FORM".to_owned() }
}

fn actions(gate: &machine::Gate) -> Vec<GateAction> {
    let offered: Vec<_> = gate
        .actions
        .iter()
        .filter_map(|action| match action.as_str() {
            "approve" => Some(GateAction::Approve),
            "reject" => Some(GateAction::Reject),
            "correct" => Some(GateAction::Correct),
            "submit" => Some(GateAction::Submit),
            _ => None,
        })
        .collect();
    match (offered.is_empty(), gate.kind) {
        (false, _) => offered,
        (true, journal::GateKind::Submission) => vec![GateAction::Submit],
        (true, journal::GateKind::Review) => vec![GateAction::Approve, GateAction::Reject, GateAction::Correct],
    }
}
