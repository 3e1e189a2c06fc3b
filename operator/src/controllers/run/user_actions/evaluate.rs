//! Whether a person's act counts. Pure: the act, the journal, the frozen gate policy and the proof of who acted come in.

use jiff::Timestamp;
use kube::ResourceExt;
use ntro_crds::policy::Deciders;
use ntro_crds::user_action::{GateSeen, Verb};
use ntro_crds::workflow_run::Pin;
use ntro_crds::{UserAction, names};
use ntro_journal::RunState;
use ntro_journal::machine::Gate;
use uuid::Uuid;

/// Reasons for which the operator refuses an act; the journal has more of its own.
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
    /// The act lacks what its verb needs.
    pub const INCOMPLETE: &str = "Incomplete";
}

/// Since when the API server has proved, without a gap, who acts in a namespace. `None`: it does not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof(pub Option<Timestamp>);

/// What an act comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Decide this gate.
    Decide {
        /// Its identity.
        gate: Uuid,
        /// What was seen.
        seen: GateSeen,
    },
    /// Cancel the run.
    Cancel,
    /// Let the run go on.
    Retry,
    /// Open the read API to a key.
    View {
        /// Its hash.
        key_hash: String,
    },
    /// Send a signal.
    Signal {
        /// Its name.
        name: String,
    },
    /// It does not count.
    Refuse(&'static str),
}

/// Judges an act.
pub fn judge(act: &UserAction, state: &RunState, pin: &Pin, proof: Proof) -> Verdict {
    match judged(act, state, pin, proof) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Refuse(reason),
    }
}

fn judged(act: &UserAction, state: &RunState, pin: &Pin, proof: Proof) -> Result<Verdict, &'static str> {
    let spec = &act.spec;
    if spec.run != state.name || spec.run_id != state.run_id.to_string() {
        return Err(reason::RUN_MISMATCH);
    }
    if spec.workflow != state.workflow.name {
        return Err(reason::WORKFLOW_MISMATCH);
    }
    let made = act.creation_timestamp().ok_or(reason::INCOMPLETE)?.0;
    if proof.0.is_none_or(|since| since >= made) {
        return Err(reason::APPROVAL_POLICY_MISSING);
    }
    match spec.verb {
        Verb::Approve | Verb::Reject | Verb::Correct | Verb::Submit => decision(act, state, pin),
        Verb::Cancel => Ok(Verdict::Cancel),
        Verb::Retry => Ok(Verdict::Retry),
        Verb::View => Ok(Verdict::View { key_hash: spec.key_hash.clone().ok_or(reason::INCOMPLETE)? }),
        Verb::Signal => Ok(Verdict::Signal { name: spec.signal.clone().ok_or(reason::INCOMPLETE)? }),
    }
}

fn decision(act: &UserAction, state: &RunState, pin: &Pin) -> Result<Verdict, &'static str> {
    let spec = &act.spec;
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
        allowed(act, gate, state, pin, rule)?;
    }
    Ok(Verdict::Decide { gate: id, seen })
}

/// Applies the frozen policy of the gate.
fn allowed(act: &UserAction, gate: &Gate, state: &RunState, pin: &Pin, rule: &Deciders) -> Result<(), &'static str> {
    let actor = &act.spec.actor;
    let users = rule.users.as_deref().unwrap_or_default();
    let groups = rule.groups.as_deref().unwrap_or_default();
    let claimed = act.spec.groups.as_deref().unwrap_or_default();
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
#[path = "judge_tests.rs"]
mod tests;
