//! Whether a user action counts. Pure: the action, the journal, the frozen gate policy and the proof of who acted come in.

use jiff::Timestamp;
use kube::ResourceExt;
use ntro_crds::policy::Deciders;
use ntro_crds::user_action::{GateSeen, Verb};
use ntro_crds::workflow_run::Pin;
use ntro_crds::{UserAction, names};
use ntro_journal::RunState;
use ntro_journal::machine::Gate;
use ntro_journal::protocol::Verb as DecidingVerb;
use uuid::Uuid;

/// Reasons for which the operator refuses a user action; the journal has more of its own.
pub mod reason {
    /// It is about another run than the one of that name.
    pub const RUN_MISMATCH: &str = "RunMismatch";
    /// Its workflow is not the run's.
    pub const WORKFLOW_MISMATCH: &str = "WorkflowMismatch";
    /// Its gate is not the one of that identity.
    pub const GATE_MISMATCH: &str = "GateMismatch";
    /// Its class is not the gate's: another right was checked than the gate needs.
    pub const CLASS_MISMATCH: &str = "ClassMismatch";
    /// The gate policy does not name the actor.
    pub const NOT_IN_POLICY: &str = "NotInPolicy";
    /// The gate policy wants somebody else.
    pub const NOT_DISTINCT: &str = "NotDistinct";
    /// Nothing proves who acted.
    pub const APPROVAL_POLICY_MISSING: &str = "ApprovalPolicyMissing";
    /// The user action lacks what its verb needs.
    pub const INCOMPLETE: &str = "Incomplete";
}

/// Since when the API server has proved, without a gap, who acts in a namespace. `None`: it does not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof(pub Option<Timestamp>);

/// What a user action comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
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
    Refuse(&'static str),
}

/// Evaluates a user action.
pub fn evaluate(action: &UserAction, state: &RunState, pin: &Pin, proof: Proof) -> Verdict {
    match verdict(action, state, pin, proof) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Refuse(reason),
    }
}

fn verdict(action: &UserAction, state: &RunState, pin: &Pin, proof: Proof) -> Result<Verdict, &'static str> {
    let spec = &action.spec;
    if spec.run != state.name || spec.run_id != state.run_id.to_string() {
        return Err(reason::RUN_MISMATCH);
    }
    if spec.workflow != state.workflow.name {
        return Err(reason::WORKFLOW_MISMATCH);
    }
    let created = action.creation_timestamp().ok_or(reason::INCOMPLETE)?.0;
    if proof.0.is_none_or(|since| since >= created) {
        return Err(reason::APPROVAL_POLICY_MISSING);
    }
    match spec.verb {
        Verb::Approve => decision(action, state, pin, DecidingVerb::Approve),
        Verb::Reject => decision(action, state, pin, DecidingVerb::Reject),
        Verb::Correct => decision(action, state, pin, DecidingVerb::Correct),
        Verb::Submit => decision(action, state, pin, DecidingVerb::Submit),
        Verb::Cancel => Ok(Verdict::Cancel),
        Verb::Retry => Ok(Verdict::Retry),
        Verb::View => Ok(Verdict::View { key_hash: spec.key_hash.clone().ok_or(reason::INCOMPLETE)? }),
        Verb::Signal => Ok(Verdict::Signal { name: spec.signal.clone().ok_or(reason::INCOMPLETE)? }),
    }
}

fn decision(action: &UserAction, state: &RunState, pin: &Pin, verb: DecidingVerb) -> Result<Verdict, &'static str> {
    let spec = &action.spec;
    let seen = spec.gate.clone().ok_or(reason::INCOMPLETE)?;
    let id = seen.gate_id.parse::<Uuid>().map_err(|_| reason::GATE_MISMATCH)?;
    let gate = state.gate(id).ok_or(reason::GATE_MISMATCH)?;
    if seen.name != names::gate(&state.name, &gate.step, &seen.gate_id) {
        return Err(reason::GATE_MISMATCH);
    }
    if seen.class != names::gate_class(&pin.runbook.name, &gate.step) {
        return Err(reason::CLASS_MISMATCH);
    }
    if matches!(spec.verb, Verb::Correct | Verb::Submit) && spec.draft_digest.is_none() {
        return Err(reason::INCOMPLETE);
    }
    if let Some(rule) = pin.gate_policy.as_ref().and_then(|policy| policy.rule_for(&gate.step)) {
        allowed(action, gate, state, pin, rule)?;
    }
    Ok(Verdict::Decide { gate: id, verb, seen })
}

/// Applies the frozen policy of the gate.
fn allowed(action: &UserAction, gate: &Gate, state: &RunState, pin: &Pin, rule: &Deciders) -> Result<(), &'static str> {
    let actor = &action.spec.actor;
    let users = rule.users.as_deref().unwrap_or_default();
    let groups = rule.groups.as_deref().unwrap_or_default();
    let claimed = action.spec.groups.as_deref().unwrap_or_default();
    let named = users.contains(actor) || claimed.iter().any(|group| groups.contains(group));
    if !(named || users.is_empty() && groups.is_empty()) {
        return Err(reason::NOT_IN_POLICY);
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
            return Err(reason::NOT_DISTINCT);
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
