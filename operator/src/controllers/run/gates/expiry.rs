//! Gates that nobody answered in time.

use std::time::Duration;

use ntro_crds::admission::operator_user;
use ntro_crds::workflow_run::Pin;
use ntro_journal::machine::{Gate, GateState};
use ntro_journal::{GateAct, RunState, protocol as journal};

use super::wake::settle_acts;
use super::{Runs, plan};
use crate::controllers::act::problem;
use crate::controllers::gate;
use crate::error::{Next, Problem};

/// Longest sleep until a gate expires, in case the clock is set.
const LONGEST: Duration = Duration::from_hours(1);

impl Runs {
    /// Rejects the gates that have waited for longer than their policy lets them. Every act that came in time comes first.
    pub(super) async fn expire_gates(&self, state: &RunState, pin: &Pin) -> Result<Next, Problem> {
        if state.terminal.is_some() {
            return Ok(Next::OnChange);
        }
        let open = |gate: &&Gate| gate.state == GateState::Open;
        let waits: Vec<_> = state
            .gates
            .values()
            .filter(open)
            .filter_map(|gate| Some((gate.id, gate::policy_due(gate, pin)?)))
            .collect();
        let now = self.context.clock.now();
        let mut next = Next::OnChange;
        if waits.iter().any(|(_, due)| *due <= now) {
            settle_acts(&self.context).await?;
        }
        for (gate_id, due) in waits {
            if due > now {
                next = next.sooner(Next::After(plan::until(now, due).min(LONGEST)));
                continue;
            }
            // What the acts left open.
            let state = self.journal.state(state.run_id).await.map_err(problem)?;
            let Some(gate) = state.gates.values().filter(open).find(|gate| gate.id == gate_id) else { continue };
            let expired = GateAct {
                gate_id,
                revision: gate.revision,
                digest: None,
                verb: journal::Verb::Reject,
                actor: operator_user(&self.context.settings.namespace),
                groups: Vec::new(),
                // The same gate expires once, whoever asks.
                act: format!("expired-{gate_id}"),
                acted_at: due,
                comment: None,
                correction: None,
            };
            let outcome = self.journal.decide(state.run_id, expired).await.map_err(problem)?;
            tracing::info!(run_id = %state.run_id, step = gate.step, ?outcome, "a gate waited for longer than its policy lets it");
        }
        Ok(next)
    }
}
