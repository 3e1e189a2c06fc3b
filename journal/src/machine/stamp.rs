//! What the operator adds to a holder's entry.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::Draft;
use crate::protocol::{EntryBody, PodEntry};

impl Draft {
    fn after(&self, duration_ms: u64) -> Timestamp {
        let duration = SignedDuration::from_millis(i64::try_from(duration_ms).unwrap_or(i64::MAX));
        self.now.checked_add(duration).unwrap_or(Timestamp::MAX)
    }

    /// The entry to be written for what the holder said.
    pub(super) fn stamp(&self, entry: PodEntry) -> EntryBody {
        match entry {
            PodEntry::Released { cause, .. } => EntryBody::Released { epoch: self.state.epoch, cause },
            PodEntry::ActivityScheduled { command, seen_upto, activity, step, args, timeout_ms } => {
                let policy = self.state.pin.policy(&activity);
                let (effect, requires) = (policy.effect, policy.requires);
                EntryBody::ActivityScheduled { command, seen_upto, activity, step, args, timeout_ms, effect, requires }
            }
            PodEntry::TimerStarted { command, seen_upto, duration_ms } => {
                let fires_at = self.after(duration_ms);
                EntryBody::TimerStarted { command, seen_upto, duration_ms, fires_at }
            }
            PodEntry::GateOpened { command, seen_upto, step, kind, component, actions, due_ms, content } => {
                EntryBody::GateOpened {
                    command,
                    seen_upto,
                    step,
                    kind,
                    component,
                    actions,
                    due_ms,
                    content,
                    gate_id: Uuid::new_v5(&self.state.run_id, format!("gate/{command}").as_bytes()),
                    revision: 1,
                    due: due_ms.map(|due| self.after(due)),
                }
            }
            PodEntry::GateRevised { command, seen_upto, target, content } => {
                let revision = self.state.gates.get(&target).map_or(1, |gate| gate.revision + 1);
                EntryBody::GateRevised { command, seen_upto, target, content, revision }
            }
            PodEntry::ActivityCancelRequested { command, seen_upto, target } => {
                EntryBody::ActivityCancelRequested { command, seen_upto, target }
            }
            PodEntry::TimerCancelled { command, seen_upto, target } => {
                EntryBody::TimerCancelled { command, seen_upto, target }
            }
            PodEntry::GateClosed { command, seen_upto, target, cause } => {
                EntryBody::GateClosed { command, seen_upto, target, cause }
            }
            PodEntry::StepsChanged { command, seen_upto, steps } => {
                EntryBody::StepsChanged { command, seen_upto, steps }
            }
            PodEntry::ActivityRetried { target, attempt, cause } => {
                EntryBody::ActivityRetried { target, attempt, cause }
            }
            PodEntry::ActivityAttemptFailed { target, attempt, error, detail, retry_after_ms } => {
                EntryBody::ActivityAttemptFailed { target, attempt, error, detail, retry_after_ms }
            }
            PodEntry::ActivityCompleted { target, attempt, result, outputs } => {
                EntryBody::ActivityCompleted { target, attempt, result, outputs }
            }
            PodEntry::ActivityFailed { target, attempt, error, detail } => {
                EntryBody::ActivityFailed { target, attempt, error, detail }
            }
            PodEntry::Parked { seen_upto, waiting_for } => EntryBody::Parked { seen_upto, waiting_for },
            PodEntry::Blocked { code, site, activity, detail } => EntryBody::Blocked { code, site, activity, detail },
            PodEntry::RunCompleted { command, seen_upto, result } => {
                EntryBody::RunCompleted { command, seen_upto, result }
            }
            PodEntry::RunFailed { command, seen_upto, error, detail } => {
                EntryBody::RunFailed { command, seen_upto, error, detail }
            }
        }
    }
}
