//! What the operator adds to a holder's entry.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::Transition;
use crate::protocol::entries::{ActivityStamp, GateStamp, Released, RevisionStamp, Stamped, TimerStamp};
use crate::protocol::{EntryBody, PodEntry};

impl Transition {
    fn after(&self, duration_ms: u64) -> Timestamp {
        let duration = SignedDuration::from_millis(i64::try_from(duration_ms).unwrap_or(i64::MAX));
        self.now.checked_add(duration).unwrap_or(Timestamp::MAX)
    }

    /// The entry to be written for what the holder said.
    pub(super) fn stamp(&self, entry: PodEntry) -> EntryBody {
        match entry {
            PodEntry::Released(it) => EntryBody::Released(Released { epoch: self.state.epoch, cause: it.cause }),
            PodEntry::ActivityScheduled(said) => {
                let policy = self.state.pin.policy(&said.activity);
                let stamp = ActivityStamp { effect: policy.effect, requires: policy.requires };
                EntryBody::ActivityScheduled(Stamped { said, stamp })
            }
            PodEntry::TimerStarted(said) => {
                let stamp = TimerStamp { fires_at: self.after(said.duration_ms) };
                EntryBody::TimerStarted(Stamped { said, stamp })
            }
            PodEntry::GateOpened(said) => {
                let stamp = GateStamp {
                    gate_id: Uuid::new_v5(&self.state.run_id, format!("gate/{}", said.command).as_bytes()),
                    revision: 1,
                    due: said.due_ms.map(|due| self.after(due)),
                };
                EntryBody::GateOpened(Stamped { said, stamp })
            }
            PodEntry::GateRevised(said) => {
                let revision = self.state.gates.get(&said.target).map_or(1, |gate| gate.revision + 1);
                EntryBody::GateRevised(Stamped { said, stamp: RevisionStamp { revision } })
            }
            PodEntry::ActivityCancelRequested(it) => EntryBody::ActivityCancelRequested(it),
            PodEntry::TimerCancelled(it) => EntryBody::TimerCancelled(it),
            PodEntry::GateClosed(it) => EntryBody::GateClosed(it),
            PodEntry::SignalIgnored(it) => EntryBody::SignalIgnored(it),
            PodEntry::StepsChanged(it) => EntryBody::StepsChanged(it),
            PodEntry::ActivityStarted(it) => EntryBody::ActivityStarted(it),
            PodEntry::ActivityAttemptFailed(it) => EntryBody::ActivityAttemptFailed(it),
            PodEntry::ActivityCompleted(it) => EntryBody::ActivityCompleted(it),
            PodEntry::ActivityFailed(it) => EntryBody::ActivityFailed(it),
            PodEntry::Parked(it) => EntryBody::Parked(it),
            PodEntry::Blocked(it) => EntryBody::Blocked(it),
            PodEntry::RunCompleted(it) => EntryBody::RunCompleted(it),
            PodEntry::RunFailed(it) => EntryBody::RunFailed(it),
        }
    }
}
