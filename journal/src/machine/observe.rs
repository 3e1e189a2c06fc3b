//! What the operator sees and says: runs, Jobs, silence, time.

use jiff::Timestamp;

use super::parts::{SegmentState, TimerState};
use super::state::{Corrupt, RunState};
use super::{Consequence, Refusal, Transition};
use crate::protocol::{
    BlockCode, ChainHash, Entry, EntryBody, ErrorCode, ReleaseCause, RunSecret, SegmentCause, entries,
};

/// The journal of a new run: entry 0 and the wish for its first segment.
pub fn create(run: entries::RunCreated, secret: RunSecret, now: Timestamp) -> Result<Consequence<()>, Corrupt> {
    let (created, size) = Entry::seal(ChainHash::ZERO, 0, now, EntryBody::RunCreated(run));
    let state = RunState::begin(secret, &created, size)?;
    let mut transition = Transition { now: state.head_time, state, entries: vec![created] };
    let now = transition.now;
    transition.want(SegmentCause::Start, now);
    Ok(transition.done(Ok(())))
}

/// Records the Job of the wanted segment. Recording the same Job again changes nothing.
pub fn job_recorded(
    state: &RunState,
    segment: u32,
    (job_name, job_uid, template_hash): (&str, &str, &str),
    now: Timestamp,
) -> Consequence<()> {
    let mut transition = Transition::of(state, now);
    if state.current_job().is_some_and(|job| job.segment == segment && job.uid == job_uid) {
        return transition.done(Ok(()));
    }
    if state.wanted().map(|wanted| wanted.segment) != Some(segment) {
        return transition.done(Err(Refusal::new(ErrorCode::Invalid, "the segment is not wanted")));
    }
    transition.write(EntryBody::JobRecorded(entries::JobRecorded {
        segment,
        job_name: job_name.to_owned(),
        job_uid: job_uid.to_owned(),
        template_hash: template_hash.to_owned(),
    }));
    transition.done(Ok(()))
}

/// The Job of `segment` is finished, deleted or replaced and none of its pods lives: its holder is released, and a Job
/// without one was lost. Says nothing about a segment that is over.
pub fn job_gone(state: &RunState, segment: u32, now: Timestamp) -> Consequence<()> {
    let mut transition = Transition::of(state, now);
    if state.segment == segment {
        match state.segment_state {
            SegmentState::Held(_) => transition.release(ReleaseCause::PodGone),
            SegmentState::Queued => transition.decide_next_segment(true),
            SegmentState::Wanted(_) | SegmentState::Over => {}
        }
    }
    transition.done(Ok(()))
}

/// The Job of `segment` was suspended while its pod held the run, and none of its pods lives. The queue that did so
/// waits for the next Job: nothing was lost, and no back-off is needed.
pub fn evicted(state: &RunState, segment: u32, now: Timestamp) -> Consequence<()> {
    holder_gone(state, segment, ReleaseCause::Evicted, now)
}

/// The pod of `segment` left because it could not reach the operator, after it had waited: nothing of that is the run's
/// fault, so it is no attempt.
pub fn outage(state: &RunState, segment: u32, now: Timestamp) -> Consequence<()> {
    if state.segment == segment && state.segment_state == SegmentState::Queued {
        // It could not even attach.
        let mut transition = Transition::of(state, now);
        transition.decide_next_segment(false);
        return transition.done(Ok(()));
    }
    holder_gone(state, segment, ReleaseCause::Outage, now)
}

fn holder_gone(state: &RunState, segment: u32, cause: ReleaseCause, now: Timestamp) -> Consequence<()> {
    let mut transition = Transition::of(state, now);
    if state.holder().is_some_and(|holder| holder.segment == segment) {
        transition.release(cause);
    }
    transition.done(Ok(()))
}

/// The holder of `epoch` was silent for longer than its lease.
pub fn lease_silent(state: &RunState, epoch: u64, now: Timestamp) -> Consequence<()> {
    let mut transition = Transition::of(state, now);
    if state.holder().is_some_and(|holder| holder.epoch == epoch) {
        transition.release(ReleaseCause::LeaseExpired);
    }
    transition.done(Ok(()))
}

/// The grace of a cancelled run is over for the holder of `epoch`.
pub fn cancel_overdue(state: &RunState, epoch: u64, now: Timestamp) -> Consequence<()> {
    let mut transition = Transition::of(state, now);
    if state.cancel_grace_of() == Some(epoch) {
        transition.release(ReleaseCause::Cancelled);
    }
    transition.done(Ok(()))
}

/// Blocks the run for a reason only the operator sees. A run that is blocked or has ended stays as it is.
pub fn block(state: &RunState, code: BlockCode, now: Timestamp) -> Consequence<()> {
    let mut transition = Transition::of(state, now);
    if state.terminal.is_none() && state.blocked.is_none() {
        transition.block(code, None);
    }
    transition.done(Ok(()))
}

/// Fires every timer that is due, in the order in which they are; gives how many.
pub fn fire_timers(state: &RunState, now: Timestamp) -> Consequence<usize> {
    let mut transition = Transition::of(state, now);
    let mut due: Vec<_> = state
        .timers
        .iter()
        .filter(|(_, timer)| state.terminal.is_none() && timer.state == TimerState::Open && timer.fires_at <= now)
        .map(|(command, timer)| (timer.fires_at, *command))
        .collect();
    due.sort_unstable();
    for (_, target) in &due {
        transition.write(EntryBody::TimerFired(entries::TimerFired { target: *target }));
    }
    if !due.is_empty() {
        transition.wake();
    }
    transition.done(Ok(due.len()))
}
