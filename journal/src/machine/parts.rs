//! What the state of a run is made of.

use jiff::Timestamp;
use uuid::Uuid;

use crate::protocol::{
    BlockCode, Effect, GateCloseCause, GateKind, Phase, SegmentCause, Sha256Digest, Site, Verb, WaitTarget,
};

/// A Job that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedSegment {
    /// Its number, from 1.
    pub segment: u32,
    /// Not before this time.
    pub not_before: Timestamp,
    /// Why.
    pub cause: SegmentCause,
}

/// The Job of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentJob {
    /// Which segment it executes.
    pub segment: u32,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Hash of the template it was made from.
    pub template_hash: String,
}

/// The pod that may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its epoch.
    pub epoch: u64,
    /// Its segment.
    pub segment: u32,
    /// Its name.
    pub pod_name: String,
    /// Its UID.
    pub pod_uid: String,
    /// The UID of its Job.
    pub job_uid: String,
    /// When it attached.
    pub since: Timestamp,
}

/// A person's wish that the run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelRequest {
    /// Who asked.
    pub actor: String,
    /// `seq` of the entry.
    pub seq: u64,
}

/// Where the current segment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentState {
    /// Its Job is to be made.
    Wanted(WantedSegment),
    /// Its Job exists and has no pod yet.
    Queued,
    /// A pod holds the run.
    Held(Holder),
    /// It is over and no next one is wanted: the run is parked, blocked or has ended.
    Over,
}

/// How far a gate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateProgress {
    /// It waits for a person.
    Open,
    /// A person decided it. Changes only to closed, if workflow code had gone on before it was told.
    Decided,
    /// Workflow code closed it before it was told of a decision; never changes again.
    Closed(GateCloseCause),
}

/// A person's decision of a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateVerdict {
    /// What was said.
    pub verb: Verb,
    /// By whom.
    pub actor: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// UID of the `UserAction`.
    pub user_action: String,
    /// Which revision they saw.
    pub revision: u32,
    /// When they said it.
    pub acted_at: Timestamp,
    /// `seq` of the entry.
    pub seq: u64,
}

/// A gate of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The command that opened it.
    pub command: u64,
    /// Its identity.
    pub id: Uuid,
    /// Its step.
    pub step: String,
    /// What it asks for.
    pub kind: GateKind,
    /// How it wants to be shown.
    pub component: String,
    /// What it offers.
    pub actions: Vec<String>,
    /// The current revision, from 1.
    pub revision: u32,
    /// Keyed digest of what the current revision shows.
    pub content_digest: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Until when an answer counts.
    pub due: Option<Timestamp>,
    /// `seq` of the entry that holds the current content.
    pub content_seq: u64,
    /// How far it is.
    pub state: GateProgress,
    /// The decision, if there is one.
    pub decision: Option<GateVerdict>,
    /// When it stopped being open.
    pub resolved_at: Option<Timestamp>,
}

/// How far a timer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerState {
    /// It runs.
    Open,
    /// It fired.
    Fired,
    /// It was cancelled.
    Cancelled,
}

/// A timer of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// When it is due.
    pub fires_at: Timestamp,
    /// How far it is.
    pub state: TimerState,
}

/// How far an activity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityState {
    /// No attempt was begun.
    Scheduled,
    /// An attempt was begun and its end is not known.
    Running,
    /// The last attempt failed and another may follow.
    AttemptFailed,
    /// It has a result.
    Completed,
    /// It failed for good.
    Failed,
}

/// An activity of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Its name.
    pub name: String,
    /// Its step.
    pub step: Option<String>,
    /// What it does to the world.
    pub effect: Effect,
    /// The step whose gate it needs.
    pub requires: Option<String>,
    /// Keyed digest of its arguments.
    pub args_digest: String,
    /// The last attempt begun, from 1; 0: none.
    pub attempt: u32,
    /// The epoch that began it; 0: none.
    pub attempt_epoch: u64,
    /// How far it is.
    pub state: ActivityState,
    /// True if workflow code no longer wants it.
    pub cancel_requested: bool,
    /// True if a person allowed one more attempt.
    pub repeat_allowed: bool,
    /// Digest of what ended the last attempt, to know it again.
    pub(super) ended: Option<Sha256Digest>,
}

impl Activity {
    /// True if nobody knows whether its effect happened, and it must not be repeated without a person.
    pub fn unknown_effect(&self) -> bool {
        self.may_have_happened() && !self.cancel_requested && !self.repeat_allowed
    }

    /// True if it was begun, its end was never reported, and that matters to somebody.
    pub fn may_have_happened(&self) -> bool {
        self.state == ActivityState::Running && !self.effect.repeatable()
    }
}

/// A rest: everything waits for something outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedState {
    /// The last delivery handed over.
    pub seen_upto: u64,
    /// What it waits for.
    pub waiting_for: Vec<WaitTarget>,
    /// Since when.
    pub since: Timestamp,
}

/// Why the run cannot continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockedState {
    /// The class.
    pub code: BlockCode,
    /// Where in the bundle.
    pub site: Option<Site>,
    /// Which activity.
    pub activity: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// `seq` of the entry.
    pub seq: u64,
}

/// How the run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// `Succeeded`, `Failed` or `Cancelled`.
    pub phase: Phase,
    /// The class of the error, if it failed.
    pub error: Option<String>,
    /// When.
    pub at: Timestamp,
    /// `seq` of the entry.
    pub seq: u64,
}

/// What became of a user action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserActionOutcome {
    /// It stands in the journal as this entry.
    Applied {
        /// `seq` of the entry.
        seq: u64,
    },
    /// It had no effect.
    Refused {
        /// A bounded reason.
        reason: String,
        /// `seq` of the entry.
        seq: u64,
    },
}
