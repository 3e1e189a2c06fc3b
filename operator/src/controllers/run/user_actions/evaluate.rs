//! Whether a user action counts. Pure: the action, the journal, the frozen gate policy and the proof of who acted come in.

use jiff::Timestamp;
use kube::ResourceExt;
use ntro_crds::UserActionReason;
use ntro_crds::policy::Deciders;
use ntro_crds::user_action::{GateSeen, Verb};
use ntro_crds::workflow_run::RunPin;
use ntro_crds::{UserAction, names};
use ntro_journal::RunState;
use ntro_journal::machine::Gate;
use ntro_journal::protocol::Verb as DecidingVerb;
use uuid::Uuid;

/// Since when the API server has proved, without a gap, who acts in a namespace. `None`: it does not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof(pub Option<Timestamp>);

/// What a user action comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Decide this gate, on what was seen of it.
    Decide {
        gate: Uuid,
        verb: DecidingVerb,
        seen: GateSeen,
    },
    Cancel,
    /// Resume a blocked run.
    Retry,
    /// Open the read API to the key of this hash.
    View {
        key_hash: String,
    },
    Signal {
        name: String,
    },
    /// It does not count.
    Refuse(UserActionReason),
}

pub(super) fn evaluate(action: &UserAction, state: &RunState, pin: &RunPin, proof: Proof) -> Verdict {
    match verdict(action, state, pin, proof) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Refuse(reason),
    }
}

fn verdict(action: &UserAction, state: &RunState, pin: &RunPin, proof: Proof) -> Result<Verdict, UserActionReason> {
    let spec = &action.spec;
    if spec.run != state.name || spec.run_id != state.run_id.to_string() {
        return Err(UserActionReason::RunMismatch);
    }
    if spec.workflow != state.workflow.name {
        return Err(UserActionReason::WorkflowMismatch);
    }
    let created = action.creation_timestamp().ok_or(UserActionReason::Incomplete)?.0;
    if proof.0.is_none_or(|since| since >= created) {
        return Err(UserActionReason::ApprovalPolicyMissing);
    }
    match spec.verb {
        Verb::Approve => decision(action, state, pin, DecidingVerb::Approve),
        Verb::Reject => decision(action, state, pin, DecidingVerb::Reject),
        Verb::Correct => decision(action, state, pin, DecidingVerb::Correct),
        Verb::Submit => decision(action, state, pin, DecidingVerb::Submit),
        Verb::Cancel => Ok(Verdict::Cancel),
        Verb::Retry => Ok(Verdict::Retry),
        Verb::View => Ok(Verdict::View { key_hash: spec.key_hash.clone().ok_or(UserActionReason::Incomplete)? }),
        Verb::Signal => Ok(Verdict::Signal { name: spec.signal.clone().ok_or(UserActionReason::Incomplete)? }),
    }
}

fn decision(
    action: &UserAction,
    state: &RunState,
    pin: &RunPin,
    verb: DecidingVerb,
) -> Result<Verdict, UserActionReason> {
    let spec = &action.spec;
    let seen = spec.gate.clone().ok_or(UserActionReason::Incomplete)?;
    let id = seen.gate_id.parse::<Uuid>().map_err(|_| UserActionReason::GateMismatch)?;
    let gate = state.gate(id).ok_or(UserActionReason::GateMismatch)?;
    if seen.name != names::gate(&state.name, &gate.step, &seen.gate_id) {
        return Err(UserActionReason::GateMismatch);
    }
    if seen.class != names::gate_class(&pin.runbook.name, &gate.step) {
        return Err(UserActionReason::ClassMismatch);
    }
    if matches!(spec.verb, Verb::Correct | Verb::Submit) && spec.draft_digest.is_none() {
        return Err(UserActionReason::Incomplete);
    }
    if let Some(rule) = pin.gate_policy.as_ref().and_then(|policy| policy.rule_for(&gate.step)) {
        allowed(action, gate, state, pin, rule)?;
    }
    Ok(Verdict::Decide { gate: id, verb, seen })
}

/// Applies the frozen policy of the gate.
fn allowed(
    action: &UserAction,
    gate: &Gate,
    state: &RunState,
    pin: &RunPin,
    rule: &Deciders,
) -> Result<(), UserActionReason> {
    let actor = &action.spec.actor;
    let users = rule.users.as_deref().unwrap_or_default();
    let groups = rule.groups.as_deref().unwrap_or_default();
    let claimed = action.spec.groups.as_deref().unwrap_or_default();
    let named = users.contains(actor) || claimed.iter().any(|group| groups.contains(group));
    if !(named || users.is_empty() && groups.is_empty()) {
        return Err(UserActionReason::NotInPolicy);
    }
    for other in rule.distinct_from.iter().flatten() {
        let taken = match other.as_str() {
            "initiator" => state.trigger.initiator == *actor,
            "policyAuthor" => pin.gate_policy.as_ref().is_some_and(|policy| policy.author == *actor),
            "otherDeciders" => decided(state, actor, |g| g.id != gate.id),
            step => {
                let step = step.strip_prefix("gate:").unwrap_or_default();
                decided(state, actor, |g| g.step == step)
            }
        };
        if taken {
            return Err(UserActionReason::NotDistinct);
        }
    }
    Ok(())
}

/// Whether the actor decided a gate of that kind in this run.
fn decided(state: &RunState, actor: &str, which: impl Fn(&Gate) -> bool) -> bool {
    state.gates.values().filter(|g| which(g)).any(|g| g.decision.as_ref().is_some_and(|d| d.actor == actor))
}

#[cfg(test)]
mod tests;
