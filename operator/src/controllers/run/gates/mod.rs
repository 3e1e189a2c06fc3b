//! Gates as people see them: projections of the journal. Only the operator writes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::ResourceExt;
use kube::api::ObjectMeta;
use ntro_crds::conditions::{self, Readiness};
use ntro_crds::gate::{Decision, GateAction, GateState, Revision};
use ntro_crds::policy::OnExpiry;
use ntro_crds::user_action::Verb;
use ntro_crds::workflow_run::Pin;
use ntro_crds::{API_VERSION, Gate, GateSpec, GateStatus, duration, labels, names};
use ntro_journal::RunState;
use ntro_journal::machine;
use ntro_journal::protocol::{self as journal, GateCloseCause};

use crate::context::Context;
use crate::error::Problem;
use crate::kube_ext::{Created, create_once, patch_status_if_changed};

/// What a Gate is made from.
#[derive(Debug, Clone, Copy)]
pub struct GateInput<'a> {
    /// The journal.
    pub state: &'a RunState,
    /// The gate in it.
    pub gate: &'a machine::Gate,
    /// What the run is fixed to.
    pub pin: &'a Pin,
    /// UID of the `WorkflowRun`, which owns the Gate.
    pub run_uid: &'a str,
    /// Title of the step, from the manifest.
    pub title: &'a str,
    /// Names of acts by their UID, as far as they still exist.
    pub acts: &'a BTreeMap<String, String>,
    /// The time.
    pub now: Timestamp,
}

/// Until when an answer to a gate counts: what its policy allows, and the runbook's own limit.
pub fn due(gate: &machine::Gate, pin: &Pin) -> Option<Timestamp> {
    gate.due.into_iter().chain(policy_due(gate, pin)).min()
}

/// When the policy ends the wait of a gate.
pub fn policy_due(gate: &machine::Gate, pin: &Pin) -> Option<Timestamp> {
    let rule = pin.gate_policy.as_ref()?.rule_for(&gate.step)?;
    // The schema lets nothing else through than what can be read.
    let wait = duration::parse(rule.due.as_deref()?).ok()?;
    gate.opened_at.checked_add(SignedDuration::try_from(wait).ok()?).ok()
}

/// The Gate object.
pub fn build(input: &GateInput<'_>) -> Gate {
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
        due: due(gate, pin).map(time),
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

/// The status of the Gate, keeping the times of conditions of `before`.
pub fn status(input: &GateInput<'_>, before: Option<&GateStatus>, generation: Option<i64>) -> GateStatus {
    let GateInput { gate, pin, state, .. } = input;
    let ended = state.terminal.is_some();
    let gate_state = match (&gate.state, gate.decision.as_ref()) {
        (machine::GateState::Decided, Some(decision)) => match decision.verb {
            journal::Verb::Reject => GateState::Rejected,
            journal::Verb::Correct => GateState::Corrected,
            journal::Verb::Submit => GateState::Submitted,
            journal::Verb::Approve => GateState::Approved,
        },
        (machine::GateState::Closed(GateCloseCause::Satisfied), _) => GateState::Satisfied,
        (machine::GateState::Closed(GateCloseCause::Expired), _) => GateState::Expired,
        (machine::GateState::Closed(_), _) => GateState::Abandoned,
        _ if ended => GateState::Abandoned,
        _ => GateState::Open,
    };
    let mut list = before.and_then(|status| status.conditions.clone()).unwrap_or_default();
    let reason = if gate_state == GateState::Open { "Open" } else { "Closed" };
    conditions::set_readiness(&mut list, &Readiness::Ready, reason, "", generation, input.now);
    GateStatus {
        observed_generation: generation,
        state: Some(gate_state),
        revision: Some(Revision { n: i64::from(gate.revision), digest: gate.content_digest.clone() }),
        policy: pin.gate_policy.as_ref().and_then(|policy| policy.rule_for(&gate.step)).cloned(),
        decisions: gate.decision.as_ref().map(|decision| vec![decided(decision, input.acts, before)]),
        resolved_at: gate.resolved_at.or_else(|| ended.then(|| state.completed_at()).flatten()).map(time),
        conditions: Some(list),
    }
}

fn decided(decision: &machine::Decision, acts: &BTreeMap<String, String>, before: Option<&GateStatus>) -> Decision {
    // The act may have been pruned since: what was written once stays.
    let known = before.and_then(|status| status.decisions.as_ref()?.first().map(|d| d.act.clone()));
    Decision {
        actor: decision.actor.clone(),
        verb: match decision.verb {
            journal::Verb::Reject => Verb::Reject,
            journal::Verb::Correct => Verb::Correct,
            journal::Verb::Submit => Verb::Submit,
            journal::Verb::Approve => Verb::Approve,
        },
        revision: i64::from(decision.revision),
        act: acts.get(&decision.act).cloned().or(known).unwrap_or_default(),
        act_uid: decision.act.clone(),
        at: time(decision.acted_at),
    }
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

/// Makes the Gates of a run what the journal says: creates those that are missing, writes those that differ.
pub async fn ensure(context: &Context, inputs: &[GateInput<'_>], seen: &[Arc<Gate>]) -> Result<(), Problem> {
    for input in inputs {
        let wanted = build(input);
        let name = wanted.name_any();
        let api = context.namespaced::<Gate>(&input.state.namespace);
        let current = match seen.iter().find(|gate| gate.name_any() == name) {
            Some(gate) if gate.metadata.deletion_timestamp.is_none() => Gate::clone(gate),
            _ => match create_once(&context.client, &wanted).await? {
                Created::New(gate) | Created::Existing(gate) => gate,
            },
        };
        let next = status(input, current.status.as_ref(), current.metadata.generation);
        patch_status_if_changed(&api, &name, current.status.as_ref(), &next).await?;
    }
    Ok(())
}

fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}
