//! What follows when nobody holds the run: the next segment, a rest, a block or the end.

use jiff::{SignedDuration, Timestamp};

use super::Transition;
use super::parts::SegmentState;
use crate::protocol::{BlockCode, EntryBody, ReleaseCause, SegmentCause, entries};

/// Segments that may be lost without progress before a person is asked.
pub const ATTEMPTS_MAX: u32 = 8;

/// How long the next segment waits after `attempts` lost ones: 5 s, doubling, at most 5 minutes.
pub fn backoff(attempts: u32) -> SignedDuration {
    SignedDuration::from_secs(5_i64.saturating_mul(1 << attempts.min(6)).min(300))
}

impl Transition {
    /// Writes `released` and what follows from it.
    pub(super) fn release(&mut self, cause: ReleaseCause) {
        let epoch = self.state.epoch;
        self.write(EntryBody::Released(entries::Released { epoch, cause }));
        self.decide_next_segment(!matches!(cause, ReleaseCause::Parked | ReleaseCause::Evicted | ReleaseCause::Outage));
    }

    /// Decides what the run needs now that nobody holds it. `lost` tells a segment that ended without reaching a rest.
    pub(super) fn decide_next_segment(&mut self, lost: bool) {
        if self.state.terminal.is_some() {
            return;
        }
        if self.state.cancel_requested.is_some() && !self.tells_of_cancel() {
            self.end_cancelled();
            return;
        }
        if self.state.blocked.is_some() {
            return;
        }
        let unknown = self.state.activities.values().find(|activity| activity.unknown_effect());
        if let Some(name) = unknown.map(|activity| activity.name.clone()) {
            self.block(BlockCode::EffectUnknown, Some(name));
            return;
        }
        if self.state.retry_wanted {
            self.want(SegmentCause::Retry, self.now);
        } else if self.state.resting() {
            // Parked and told everything: nothing to do until something comes.
        } else if !lost {
            // What keeps a pod from its operator may last: a Job after the other would do nothing but start pods.
            let wait = self.state.unattached.checked_sub(1).map(backoff).unwrap_or_default();
            self.want(SegmentCause::Wake, self.now.checked_add(wait).unwrap_or(self.now));
        } else if self.state.attempts >= ATTEMPTS_MAX {
            self.block(BlockCode::AttemptsExhausted, None);
        } else {
            let not_before = self.now.checked_add(backoff(self.state.attempts)).unwrap_or(self.now);
            self.want(SegmentCause::Lost, not_before);
        }
    }

    /// Whether a further segment tells workflow code that its run is cancelled: it asked for that, has begun, and none has told
    /// it to the end.
    fn tells_of_cancel(&self) -> bool {
        let state = &self.state;
        let asked = state.pin.handles_cancel() && state.started_at.is_some() && state.blocked.is_none();
        let told = state.resting() || state.last_release == Some(ReleaseCause::Cancelled);
        asked && !told && state.attempts < ATTEMPTS_MAX
    }

    fn end_cancelled(&mut self) {
        if let Some(cancel) = &self.state.cancel_requested {
            let actor = cancel.actor.clone();
            self.write(EntryBody::RunCancelled(entries::RunCancelled { actor }));
        }
    }

    /// After a cancellation: who holds the run is told; else the next segment is, or the run ends.
    pub(super) fn cancel(&mut self) {
        match self.state.segment_state {
            SegmentState::Held(_) => {}
            SegmentState::Wanted(_) | SegmentState::Queued if self.tells_of_cancel() => {}
            SegmentState::Wanted(_) | SegmentState::Queued | SegmentState::Over => self.decide_next_segment(false),
        }
    }

    /// After a delivery: a run nobody executes must hear of it.
    pub(super) fn wake(&mut self) {
        let idle = self.state.segment_state == SegmentState::Over;
        if idle && self.state.blocked.is_none() && self.state.terminal.is_none() {
            self.want(SegmentCause::Wake, self.now);
        }
    }

    pub(super) fn want(&mut self, cause: SegmentCause, not_before: Timestamp) {
        let segment = self.state.segment + 1;
        self.write(EntryBody::SegmentWanted(entries::SegmentWanted { segment, cause, not_before }));
    }

    pub(super) fn block(&mut self, code: BlockCode, activity: Option<String>) {
        self.write(EntryBody::Blocked(entries::Blocked { code, site: None, activity, detail: None }));
        // Nobody can have a cancelled run repaired.
        if self.state.holder().is_none() {
            self.end_cancelled();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::backoff;

    #[test]
    fn the_backoff_doubles_up_to_five_minutes() {
        let seconds: Vec<_> = (0..9).map(|attempts| backoff(attempts).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(backoff(u32::MAX).as_secs(), 300);
    }
}
