//! The entries of a journal: one struct each, grouped by what they are about, and what every place has to know of all
//! of them. On replay everything that a command says must be as the journal has it, but for fields marked
//! `x-may-differ`. The table in `docs/protocol.md` and the runtime's `workflow/entries.py` are rendered from here
//! (`protocol/reference.rs`).

#![allow(missing_docs, reason = "the fields are those of the table in docs/protocol.md")]

mod activity;
mod gate;
mod late;
mod pod;
mod run;
mod segment;
mod timer;
mod user_action;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use activity::{
    ActivityAttemptFailed, ActivityCancelRequested, ActivityCompleted, ActivityFailed, ActivityScheduled,
    ActivityStamp, ActivityStarted,
};
pub use gate::{GateClosed, GateDecided, GateOpened, GateRevised, GateStamp, RevisionStamp};
pub use late::LateCompletion;
pub use pod::{PodEntry, Said};
pub use run::{Blocked, Parked, RunCancelled, RunCompleted, RunCreated, RunFailed, StepsChanged};
pub use segment::{Attached, JobRecorded, PodReleased, Released, SegmentWanted};
pub use timer::{TimerCancelled, TimerFired, TimerStamp, TimerStarted};
pub use user_action::{
    CancelRequested, PayloadRead, RetryRequested, SignalIgnored, SignalReceived, UserActionRefused, ViewOpened,
};

/// What a pod said, and what the operator added to it when it sealed the entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stamped<T, S> {
    #[serde(flatten)]
    pub said: T,
    #[serde(flatten)]
    pub stamp: S,
}

/// A command as every command has them: its number within the run, from 0 without gaps, and the `seq` of the last
/// delivery that was handed to workflow code before it (0: none).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandNumber {
    pub command: u64,
    pub seen_upto: u64,
}

/// What an entry is to workflow code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryClass {
    /// A fact for people and the machine.
    Record,
    /// Something workflow code did: checked on replay.
    Command(CommandNumber),
    /// Something workflow code is told, in `seq` order.
    Delivery,
}

/// What an entry says. The variants are in the order of the table in `docs/protocol.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum EntryBody {
    RunCreated(RunCreated),
    SegmentWanted(SegmentWanted),
    JobRecorded(JobRecorded),
    Attached(Attached),
    Released(Released),
    ActivityScheduled(Stamped<ActivityScheduled, ActivityStamp>),
    ActivityStarted(ActivityStarted),
    ActivityAttemptFailed(ActivityAttemptFailed),
    ActivityCompleted(ActivityCompleted),
    ActivityFailed(ActivityFailed),
    ActivityCancelRequested(ActivityCancelRequested),
    TimerStarted(Stamped<TimerStarted, TimerStamp>),
    TimerCancelled(TimerCancelled),
    TimerFired(TimerFired),
    GateOpened(Stamped<GateOpened, GateStamp>),
    GateRevised(Stamped<GateRevised, RevisionStamp>),
    GateClosed(GateClosed),
    GateDecided(GateDecided),
    SignalReceived(SignalReceived),
    SignalIgnored(SignalIgnored),
    CancelRequested(CancelRequested),
    RetryRequested(RetryRequested),
    StepsChanged(StepsChanged),
    Parked(Parked),
    Blocked(Blocked),
    RunCompleted(RunCompleted),
    RunFailed(RunFailed),
    RunCancelled(RunCancelled),
    UserActionRefused(UserActionRefused),
    LateCompletion(LateCompletion),
    ViewOpened(ViewOpened),
    PayloadRead(PayloadRead),
}

impl EntryBody {
    /// What it is to workflow code. Written out for every entry: whoever adds one has to say.
    pub fn class(&self) -> EntryClass {
        let command = |command: u64, seen_upto: u64| EntryClass::Command(CommandNumber { command, seen_upto });
        match self {
            Self::ActivityScheduled(it) => command(it.said.command, it.said.seen_upto),
            Self::ActivityCancelRequested(it) => command(it.command, it.seen_upto),
            Self::TimerStarted(it) => command(it.said.command, it.said.seen_upto),
            Self::TimerCancelled(it) => command(it.command, it.seen_upto),
            Self::GateOpened(it) => command(it.said.command, it.said.seen_upto),
            Self::GateRevised(it) => command(it.said.command, it.said.seen_upto),
            Self::GateClosed(it) => command(it.command, it.seen_upto),
            Self::StepsChanged(it) => command(it.command, it.seen_upto),
            Self::RunCompleted(it) => command(it.command, it.seen_upto),
            Self::RunFailed(it) => command(it.command, it.seen_upto),
            Self::ActivityCompleted(_)
            | Self::ActivityFailed(_)
            | Self::TimerFired(_)
            | Self::GateDecided(_)
            | Self::SignalReceived(_)
            | Self::CancelRequested(_) => EntryClass::Delivery,
            Self::RunCreated(_)
            | Self::SegmentWanted(_)
            | Self::JobRecorded(_)
            | Self::Attached(_)
            | Self::Released(_)
            | Self::ActivityStarted(_)
            | Self::ActivityAttemptFailed(_)
            | Self::SignalIgnored(_)
            | Self::RetryRequested(_)
            | Self::Parked(_)
            | Self::Blocked(_)
            | Self::RunCancelled(_)
            | Self::UserActionRefused(_)
            | Self::LateCompletion(_)
            | Self::ViewOpened(_)
            | Self::PayloadRead(_) => EntryClass::Record,
        }
    }

    /// Number and `seen_upto` of a command.
    pub fn command(&self) -> Option<CommandNumber> {
        match self.class() {
            EntryClass::Command(number) => Some(number),
            EntryClass::Record | EntryClass::Delivery => None,
        }
    }

    /// True if workflow code is told it.
    pub fn is_delivery(&self) -> bool {
        self.class() == EntryClass::Delivery
    }

    /// True if it ends the run.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::RunCompleted(_) | Self::RunFailed(_) | Self::RunCancelled(_))
    }
}
