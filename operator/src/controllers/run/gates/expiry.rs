//! Gates that nobody answered in time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ntro_crds::workflow_run::RunPin;
use ntro_crds::{Reason, duration};
use ntro_journal::machine::{Gate, GateProgress};
use ntro_journal::{GateDecision, RunState, protocol as journal};
use ntro_manifests::admission::operator_user;
use uuid::Uuid;

use crate::context::Context;
use crate::controllers::run::user_actions;
use crate::error::{Class, Problem, Requeue};

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

/// Longest time until a gate is looked at again that may not expire yet: the clock may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Rejects gates that have waited for longer than their policy lets them; gives when those are looked at again that have not,
/// by the API server's clock. Every user action that came in time comes first: if it is not known that they are answered, the
/// gates wait.
pub(crate) async fn reject(
    context: &Context,
    state: &RunState,
    expired: &[(Uuid, Timestamp)],
) -> Result<Requeue, Problem> {
    if expired.is_empty() {
        return Ok(Requeue::OnChange);
    }
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
    let early = expired.iter().filter(|(_, due)| *due > known);
    Ok(early.map(|(_, due)| Requeue::at(*due, known).at_most(LOOK_AGAIN)).fold(Requeue::OnChange, Requeue::sooner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::runs::{gate, parked};
    use crate::testing::{api_server, context, nobody_acted_in};

    #[tokio::test]
    async fn a_gate_expires_by_the_api_servers_clock() {
        let (client, _asked) = api_server(|asked| nobody_acted_in("acme", asked));
        let dir = tempfile::tempdir().unwrap();
        let (context, clock) = context(dir.path(), client).await;
        let run = parked(&context.journal, "acme", vec![gate(0, "review", None)]).await;
        let due = context.clock.now() + SignedDuration::from_secs(10);
        let expire = async || {
            let state = context.journal.state(run).await.unwrap();
            let gate = state.gates.values().next().unwrap();
            let requeue = reject(&context, &state, &[(gate.id, due)]).await.unwrap();
            let state = context.journal.state(run).await.unwrap();
            (requeue, state.gates.values().next().unwrap().state == GateProgress::Open)
        };
        context.kube.server_time.hear(context.clock.now());
        clock.set(SignedDuration::from_mins(10));
        assert_eq!(expire().await, (Requeue::After(LOOK_AGAIN), true));
        context.kube.server_time.hear(due + SignedDuration::from_secs(7));
        assert_eq!(expire().await, (Requeue::OnChange, false));
    }
}
