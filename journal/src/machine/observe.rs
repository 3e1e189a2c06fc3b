//! What the operator sees and says: runs, Jobs, silence, time.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::parts::{SegmentState, TimerState};
use super::state::{Corrupt, RunState};
use super::{Draft, Outcome, Refusal};
use crate::protocol::{
    BlockCode, ChainHash, Entry, EntryBody, ErrorCode, Payload, Pin, ReleaseCause, RunKey, SegmentCause, Trigger,
    WorkflowRef,
};

/// A run to be created.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its identity.
    pub run_id: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its Workflow.
    pub workflow: WorkflowRef,
    /// Its slot, if a schedule made it.
    pub slot: Option<String>,
    /// What made it.
    pub trigger: Trigger,
    /// What it is fixed to.
    pub pin: Pin,
    /// The input envelope.
    pub input: Payload,
}

/// The journal of a new run: entry 0 and the wish for its first segment.
pub fn create(run: NewRun, key: RunKey, now: Timestamp) -> Result<Outcome<()>, Corrupt> {
    let created = Entry::seal(
        ChainHash::ZERO,
        0,
        now,
        EntryBody::RunCreated {
            run_id: run.run_id,
            namespace: run.namespace,
            name: run.name,
            workflow: run.workflow,
            slot: run.slot,
            trigger: run.trigger,
            pin: run.pin,
            input: run.input,
        },
    );
    let state = RunState::begin(key, &created)?;
    let mut draft = Draft { now: state.head_time, state, entries: vec![created] };
    let now = draft.now;
    draft.want(SegmentCause::Start, now);
    Ok(draft.done(Ok(())))
}

/// Records the Job of the wanted segment. Recording the same Job again changes nothing.
pub fn job_recorded(
    state: &RunState,
    segment: u32,
    (job_name, job_uid, template_hash): (&str, &str, &str),
    now: Timestamp,
) -> Outcome<()> {
    let mut draft = Draft::of(state, now);
    if state.current_job().is_some_and(|job| job.segment == segment && job.uid == job_uid) {
        return draft.done(Ok(()));
    }
    if state.wanted().map(|wanted| wanted.segment) != Some(segment) {
        return draft.done(Err(Refusal::new(ErrorCode::Invalid, "the segment is not wanted")));
    }
    draft.write(EntryBody::JobRecorded {
        segment,
        job_name: job_name.to_owned(),
        job_uid: job_uid.to_owned(),
        template_hash: template_hash.to_owned(),
    });
    draft.done(Ok(()))
}

/// The Job of `segment` is finished, deleted or replaced and none of its pods lives: its holder is released, and a Job without one was
/// lost. Says nothing about a segment that is over.
pub fn job_gone(state: &RunState, segment: u32, now: Timestamp) -> Outcome<()> {
    let mut draft = Draft::of(state, now);
    if state.segment == segment {
        match state.segment_state {
            SegmentState::Held(_) => draft.release(ReleaseCause::PodGone),
            SegmentState::Queued => draft.settle(true),
            SegmentState::Wanted(_) | SegmentState::Over => {}
        }
    }
    draft.done(Ok(()))
}

/// The Job of `segment` was suspended while its pod held the run, and none of its pods lives. The queue that did so waits for the
/// next Job: nothing was lost, and no back-off is needed.
pub fn evicted(state: &RunState, segment: u32, now: Timestamp) -> Outcome<()> {
    let mut draft = Draft::of(state, now);
    if state.holder().is_some_and(|holder| holder.segment == segment) {
        draft.release(ReleaseCause::Evicted);
    }
    draft.done(Ok(()))
}

/// The holder of `epoch` was silent for longer than its lease.
pub fn lease_silent(state: &RunState, epoch: u64, now: Timestamp) -> Outcome<()> {
    let mut draft = Draft::of(state, now);
    if state.holder().is_some_and(|holder| holder.epoch == epoch) {
        draft.release(ReleaseCause::LeaseExpired);
    }
    draft.done(Ok(()))
}

/// Releases the holder of a run whose end was asked for longer than `grace` ago.
pub fn cancel_overdue(state: &RunState, grace: SignedDuration, now: Timestamp) -> Outcome<()> {
    let mut draft = Draft::of(state, now);
    let overdue = state.cancel_requested.as_ref().is_some_and(|(_, at)| now.duration_since(*at) >= grace);
    if overdue && state.holder().is_some() {
        draft.release(ReleaseCause::Cancelled);
    }
    draft.done(Ok(()))
}

/// Blocks the run for a reason only the operator sees. A run that is blocked or has ended stays as it is.
pub fn block(state: &RunState, code: BlockCode, now: Timestamp) -> Outcome<()> {
    let mut draft = Draft::of(state, now);
    if state.terminal.is_none() && state.blocked.is_none() {
        draft.block(code, None);
    }
    draft.done(Ok(()))
}

/// Fires every timer that is due, in the order in which they are; gives how many.
pub fn fire_timers(state: &RunState, now: Timestamp) -> Outcome<usize> {
    let mut draft = Draft::of(state, now);
    let mut due: Vec<_> = state
        .timers
        .iter()
        .filter(|(_, timer)| state.terminal.is_none() && timer.state == TimerState::Open && timer.fires_at <= now)
        .map(|(command, timer)| (timer.fires_at, *command))
        .collect();
    due.sort_unstable();
    for (_, target) in &due {
        draft.write(EntryBody::TimerFired { target: *target });
    }
    if !due.is_empty() {
        draft.wake();
    }
    draft.done(Ok(due.len()))
}
