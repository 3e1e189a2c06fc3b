//! Gates that nobody answered in time.

use jiff::{SignedDuration, Timestamp};
use ntro_crds::workflow_run::RunPin;
use ntro_crds::{Reason, duration};
use ntro_journal::machine::{Gate, GateProgress};
use ntro_journal::{GateDecision, RunState, protocol as journal};
use ntro_manifests::admission::operator_user;
use uuid::Uuid;

use crate::context::Context;
use crate::controllers::run::user_actions;
use crate::error::{Class, Problem};

/// Until when an answer to a gate counts: what its policy allows, and the runbook's own limit.
pub(crate) fn due(gate: &Gate, pin: &RunPin) -> Option<Timestamp> {
    gate.due.into_iter().chain(policy_due(gate, pin)).min()
}

/// When the policy ends the wait of a gate.
pub(crate) fn policy_due(gate: &Gate, pin: &RunPin) -> Option<Timestamp> {
    let rule = pin.gate_policy.as_ref()?.rule_for(&gate.step)?;
    // The schema lets nothing else through than what can be read.
    let wait = duration::parse(rule.due.as_deref()?).ok()?;
    gate.opened_at.checked_add(SignedDuration::try_from(wait).ok()?).ok()
}

fn is_open(gate: &Gate) -> bool {
    gate.state == GateProgress::Open
}

/// The open gates of an unfinished run that their policy ends, and when.
pub(crate) fn open_until(state: &RunState, pin: &RunPin) -> Vec<(Uuid, Timestamp)> {
    let gates = state.gates.values().filter(|gate| state.terminal.is_none() && is_open(gate));
    gates.filter_map(|gate| Some((gate.id, policy_due(gate, pin)?))).collect()
}

/// Rejects gates that have waited for longer than their policy lets them. Every user action that came in time comes first: if
/// it is not known that they are answered, the gates wait.
pub(crate) async fn reject(context: &Context, state: &RunState, expired: &[(Uuid, Timestamp)]) -> Result<(), Problem> {
    let run_id = state.run_id;
    let answered = user_actions::answer_in(context, [state.namespace.clone()]).await;
    let known = answered.upto(state).ok_or_else(|| {
        let message = "a gate is past its due time, but the user actions on the run are not all answered yet";
        Problem::new(Class::Transient, Reason::UserActionsUnknown, message)
    })?;
    for (gate_id, due) in expired.iter().filter(|(_, due)| *due <= known) {
        // What the user actions left open.
        let state = context.journal.state(run_id).await?;
        let Some(gate) = state
            .gates
            .values()
            .filter(|gate| state.terminal.is_none() && is_open(gate))
            .find(|gate| gate.id == *gate_id)
        else {
            continue;
        };
        let rejection = GateDecision {
            gate_id: *gate_id,
            revision: gate.revision,
            digest: None,
            verb: journal::Verb::Reject,
            actor: operator_user(&context.settings.namespace),
            groups: Vec::new(),
            // The same gate expires once, whoever asks.
            user_action: format!("expired-{gate_id}"),
            acted_at: *due,
            comment: None,
            correction: None,
        };
        let outcome = context.journal.decide(run_id, rejection).await?;
        tracing::info!(%run_id, step = gate.step, ?outcome, "gate expired");
    }
    Ok(())
}
