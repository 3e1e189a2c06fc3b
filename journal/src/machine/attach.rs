//! A pod wants to become the holder.

use jiff::Timestamp;

use super::parts::SegmentState;
use super::state::RunState;
use super::{Consequence, Refusal, Transition};
use crate::protocol::{BlockCode, EntryBody, ErrorCode, PROTOCOL_MAX, PROTOCOL_MIN, RunnerVersions, Versions, entries};

/// A pod whose identity was checked: it lives and is controlled by the Job `job_uid`.
#[derive(Debug, Clone)]
pub struct Attach {
    /// Its name.
    pub pod_name: String,
    /// Its UID.
    pub pod_uid: String,
    /// The UID of the Job that controls it.
    pub job_uid: String,
    /// What the runner is.
    pub versions: RunnerVersions,
    /// True if the journal is not a continuation of what was published about it.
    pub behind: bool,
}

/// The pod is the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment {
    /// Its epoch.
    pub epoch: u64,
    /// Its segment.
    pub segment: u32,
}

/// Makes the pod the holder, or says why not. A runner without a common version of the protocol, and a journal that is
/// behind, block the run.
pub fn attach(state: &RunState, attach: &Attach, now: Timestamp) -> Consequence<Attachment> {
    let mut transition = Transition::of(state, now);
    let reply = try_attach(&mut transition, attach);
    transition.done(reply)
}

fn try_attach(transition: &mut Transition, attach: &Attach) -> Result<Attachment, Refusal> {
    let fenced = |message: &str| Err(Refusal::new(ErrorCode::Fenced, message));
    if attach.behind {
        if transition.state.terminal.is_none() && transition.state.blocked.is_none() {
            transition.block(BlockCode::JournalBehind, None);
        }
        return fenced("the journal is older than what was published about it");
    }
    if transition.state.terminal.is_some() {
        return Err(Refusal::new(ErrorCode::Sealed, "the run has ended"));
    }
    let recorded = transition.state.job.as_ref().map(|job| job.uid.clone());
    let ours = recorded.as_deref() == Some(attach.job_uid.as_str());
    match &transition.state.segment_state {
        SegmentState::Wanted(_) if ours => return fenced("the segment is over"),
        SegmentState::Wanted(_) => return Err(Refusal::not_yet("the segment's Job is not recorded yet")),
        SegmentState::Over => return fenced("the segment is over"),
        SegmentState::Held(holder) if holder.pod_uid == attach.pod_uid && ours => {
            return Ok(Attachment { epoch: holder.epoch, segment: holder.segment });
        }
        SegmentState::Held(_) if ours => {
            return Err(Refusal::not_yet("the previous holder is not released"));
        }
        SegmentState::Queued if ours => {}
        SegmentState::Held(_) | SegmentState::Queued => return fenced("the pod is of another Job"),
    }
    let protocol = agree(transition, &attach.versions)?;
    let (epoch, segment) = (transition.state.epoch + 1, transition.state.segment);
    transition.write(EntryBody::Attached(entries::Attached {
        segment,
        epoch,
        pod_name: attach.pod_name.clone(),
        pod_uid: attach.pod_uid.clone(),
        job_uid: attach.job_uid.clone(),
        versions: Versions {
            runtime: attach.versions.runtime.clone(),
            protocol,
            python: attach.versions.python.clone(),
            sdk: attach.versions.sdk.clone(),
        },
    }));
    Ok(Attachment { epoch, segment })
}

/// The newest version both speak; a runner with none blocks the run.
fn agree(transition: &mut Transition, runner: &RunnerVersions) -> Result<u32, Refusal> {
    let (code, message) = if runner.protocol_max < PROTOCOL_MIN {
        (BlockCode::RuntimeTooOld, "the runner speaks only older versions of the protocol")
    } else if runner.protocol_min > PROTOCOL_MAX {
        (BlockCode::RuntimeTooNew, "the runner speaks only newer versions of the protocol")
    } else {
        return Ok(runner.protocol_max.min(PROTOCOL_MAX));
    };
    transition.block(code, None);
    Err(Refusal::new(ErrorCode::Version, message))
}
