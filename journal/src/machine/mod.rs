//! The rules of the protocol as pure functions: a state, a request and the time in, entries and a reply out. No I/O.

mod append;
mod attach;
mod fold;
mod next_segment;
mod observe;
mod parts;
mod rules;
mod stamp;
mod state;
#[cfg(test)]
mod tests;
mod user_actions;

use jiff::Timestamp;

pub use append::{Append, AppendLimits, append};
pub(crate) use append::{NotHolder, standing};
pub use attach::{Attach, Attachment, attach};
pub use next_segment::{ATTEMPTS_MAX, backoff};
pub use observe::{block, cancel_overdue, create, evicted, fire_timers, job_gone, job_recorded, lease_silent, outage};
pub use parts::{
    Activity, ActivityState, BlockedState, CancelRequest, Gate, GateProgress, GateVerdict, Holder, ParkedState,
    SegmentJob, SegmentState, Terminal, Timer, TimerState, UserActionOutcome, WantedSegment,
};
pub use state::{Corrupt, ENTRY_COST, RunState};
pub use user_actions::{GateDecision, Retry, SignalIn, cancel, decide, read, refuse, retry, signal, view};

use crate::protocol::{Entry, EntryBody, ErrorCode};

/// Why a request was refused. The message is for people and holds no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Refusal {
    /// The class.
    pub code: ErrorCode,
    /// What is wrong.
    pub message: String,
    /// When to ask again, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal of this class.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None }
    }

    fn not_yet(message: impl Into<String>) -> Self {
        Self { retry_after_ms: Some(500), ..Self::new(ErrorCode::NotYet, message) }
    }
}

/// What follows from a request: the entries to be written, all or none, the state with them, and the reply once they
/// are durable. A refusal may have entries too, e.g. a fenced pod's late completion.
#[derive(Debug, Clone)]
pub struct Consequence<R> {
    /// The new entries, sealed.
    pub entries: Vec<Entry>,
    /// The state with them.
    pub state: RunState,
    /// The reply.
    pub reply: Result<R, Refusal>,
}

/// A state being continued.
struct Transition {
    state: RunState,
    entries: Vec<Entry>,
    now: Timestamp,
}

impl Transition {
    fn of(state: &RunState, now: Timestamp) -> Self {
        Self { state: state.clone(), entries: Vec::new(), now: now.max(state.head_time) }
    }

    /// Seals and applies one more entry; gives its `seq`.
    fn write(&mut self, body: EntryBody) -> u64 {
        let (entry, size) = Entry::seal(self.state.head, self.state.length, self.now, body);
        self.state.apply(&entry, size);
        let seq = entry.seq;
        self.entries.push(entry);
        seq
    }

    fn done<R>(self, reply: Result<R, Refusal>) -> Consequence<R> {
        Consequence { entries: self.entries, state: self.state, reply }
    }
}
