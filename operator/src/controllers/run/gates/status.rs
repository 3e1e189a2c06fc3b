//! The status of a Gate. Pure.

use std::collections::BTreeMap;

use ntro_crds::GateStatus;
use ntro_crds::Reason;
use ntro_crds::conditions::{self, Readiness};
use ntro_crds::gate::{CountedDecision, GateState, Revision};
use ntro_crds::user_action::Verb;
use ntro_journal::machine;
use ntro_journal::protocol::{self as journal, GateCloseCause};

use super::GateInput;
use crate::clock::whole_seconds;

/// The status of the Gate, keeping the times of conditions of `before`.
pub(super) fn status(input: &GateInput<'_>, before: Option<&GateStatus>, generation: Option<i64>) -> GateStatus {
    let GateInput { gate, pin, state, .. } = input;
    let ended = state.terminal.is_some();
    let gate_state = match (&gate.state, gate.decision.as_ref()) {
        (machine::GateProgress::Decided, Some(decision)) => match decision.verb {
            journal::Verb::Reject => GateState::Rejected,
            journal::Verb::Correct => GateState::Corrected,
            journal::Verb::Submit => GateState::Submitted,
            journal::Verb::Approve => GateState::Approved,
        },
        (machine::GateProgress::Closed(GateCloseCause::Satisfied), _) => GateState::Satisfied,
        (machine::GateProgress::Closed(GateCloseCause::Expired), _) => GateState::Expired,
        (machine::GateProgress::Closed(_), _) => GateState::Abandoned,
        _ if ended => GateState::Abandoned,
        _ => GateState::Open,
    };
    let mut list = before.and_then(|status| status.conditions.clone()).unwrap_or_default();
    let reason = if gate_state == GateState::Open { Reason::Open } else { Reason::Closed };
    conditions::set_readiness(&mut list, &Readiness::Ready, reason, "", generation, input.now);
    GateStatus {
        observed_generation: generation,
        state: Some(gate_state),
        revision: Some(Revision { n: i64::from(gate.revision), digest: gate.content_digest.clone() }),
        policy: pin.gate_policy.as_ref().and_then(|policy| policy.rule_for(&gate.step)).cloned(),
        decisions: gate.decision.as_ref().map(|decision| vec![decided(decision, input.user_actions, before)]),
        resolved_at: gate.resolved_at.or_else(|| ended.then(|| state.completed_at()).flatten()).map(whole_seconds),
        conditions: Some(list),
    }
}

fn decided(
    decision: &machine::GateVerdict,
    user_actions: &BTreeMap<String, String>,
    before: Option<&GateStatus>,
) -> CountedDecision {
    // The user action may have been pruned since: what was written once stays.
    let known = before.and_then(|status| status.decisions.as_ref()?.first().map(|d| d.user_action.clone()));
    CountedDecision {
        actor: decision.actor.clone(),
        verb: match decision.verb {
            journal::Verb::Reject => Verb::Reject,
            journal::Verb::Correct => Verb::Correct,
            journal::Verb::Submit => Verb::Submit,
            journal::Verb::Approve => Verb::Approve,
        },
        revision: i64::from(decision.revision),
        user_action: user_actions.get(&decision.user_action).cloned().or(known).unwrap_or_default(),
        user_action_uid: decision.user_action.clone(),
        at: whole_seconds(decision.acted_at),
    }
}
