//! The entries of a journal.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::canonical::canonical;
use super::digest::{ChainHash, Sha256Digest};
use super::kinds::{BlockCode, Effect, GateCloseCause, GateKind, ReleaseCause, RetryCause, SegmentCause, Verb};
use super::parts::{ErrorClass, FinalError, Output, Pin, Site, Step, Trigger, Versions, WaitingFor, WorkflowRef};
use super::payload::Payload;
use super::request::PodEntry;
use super::time;

/// One entry, sealed: numbered, stamped and chained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place, from 0 without gaps.
    pub seq: u64,
    /// When the operator wrote it; never earlier than the entry before.
    #[serde(with = "time")]
    pub time: Timestamp,
    /// `SHA-256(hash before || canonical text without this field)`.
    pub hash: ChainHash,
    /// What it says.
    #[serde(flatten)]
    pub body: EntryBody,
}

/// The JSON value of a type of this crate. Their keys are strings and nothing in them can fail to serialise.
pub(crate) fn value_of(it: &impl Serialize) -> Value {
    serde_json::to_value(it).unwrap_or_default()
}

impl Entry {
    /// Seals `body` as the entry `seq` after the one with hash `previous`.
    pub fn seal(previous: ChainHash, seq: u64, time: Timestamp, body: EntryBody) -> Self {
        let mut entry = Self { seq, time: time::micros(time), hash: ChainHash::ZERO, body };
        entry.hash = previous.next(&entry.unsealed_text());
        entry
    }

    /// True if its hash is the right one after `previous`.
    pub fn follows(&self, previous: ChainHash) -> bool {
        self.hash == previous.next(&self.unsealed_text())
    }

    /// The canonical text, hash included.
    pub fn text(&self) -> String {
        canonical(&value_of(self))
    }

    fn unsealed_text(&self) -> String {
        unsealed_text(value_of(self))
    }
}

/// The canonical text of an entry without its hash.
pub(crate) fn unsealed_text(mut entry: Value) -> String {
    if let Some(fields) = entry.as_object_mut() {
        fields.remove("hash");
    }
    canonical(&entry)
}

/// What an entry says. R are records, C commands of workflow code, D deliveries to it; see the protocol's table for who writes which.
///
/// `command` numbers the commands of a run from 0; `target` is the command of the thing meant; `seen_upto` is the `seq` of the last
/// delivery handed over before the command (0: none).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of the table in docs/protocol.md")]
pub enum EntryBody {
    /// R: always entry 0.
    RunCreated {
        run_id: Uuid,
        namespace: String,
        name: String,
        workflow: WorkflowRef,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<String>,
        trigger: Trigger,
        pin: Pin,
        input: Payload,
    },
    /// R: a Job is to be made once `not_before` has come.
    SegmentWanted {
        segment: u32,
        cause: SegmentCause,
        #[serde(with = "time")]
        not_before: Timestamp,
    },
    /// R: the segment's Job exists.
    JobRecorded { segment: u32, job_name: String, job_uid: String, template_hash: String },
    /// R: a pod became the holder.
    Attached { segment: u32, epoch: u64, pod_name: String, pod_uid: String, job_uid: String, versions: Versions },
    /// R: the holder is none any more and the segment is over.
    Released { epoch: u64, cause: ReleaseCause },
    /// C: the intent of an activity's first attempt.
    ActivityScheduled {
        command: u64,
        seen_upto: u64,
        activity: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        args: Payload,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
        effect: Effect,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requires: Option<String>,
    },
    /// R: the intent of a further attempt.
    ActivityRetried { target: u64, attempt: u32, cause: RetryCause },
    /// R: an attempt failed and another may follow.
    ActivityAttemptFailed { target: u64, attempt: u32, error: ErrorClass, detail: Payload, retry_after_ms: u64 },
    /// D: the activity's result.
    ActivityCompleted {
        target: u64,
        attempt: u32,
        result: Payload,
        #[serde(default)]
        outputs: Vec<Output>,
    },
    /// D: the activity failed for good.
    ActivityFailed { target: u64, attempt: u32, error: FinalError, detail: Payload },
    /// C: workflow code no longer wants the activity.
    ActivityCancelRequested { command: u64, seen_upto: u64, target: u64 },
    /// C: a timer runs.
    TimerStarted {
        command: u64,
        seen_upto: u64,
        duration_ms: u64,
        #[serde(with = "time")]
        fires_at: Timestamp,
    },
    /// C: it is not wanted any more.
    TimerCancelled { command: u64, seen_upto: u64, target: u64 },
    /// D: its time has come.
    TimerFired { target: u64 },
    /// C: a question to a person.
    GateOpened {
        command: u64,
        seen_upto: u64,
        step: String,
        kind: GateKind,
        component: String,
        actions: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_ms: Option<u64>,
        content: Payload,
        gate_id: Uuid,
        revision: u32,
        #[serde(default, with = "time::option", skip_serializing_if = "Option::is_none")]
        due: Option<Timestamp>,
    },
    /// C: what it shows has changed.
    GateRevised { command: u64, seen_upto: u64, target: u64, content: Payload, revision: u32 },
    /// C: workflow code needs no answer any more.
    GateClosed { command: u64, seen_upto: u64, target: u64, cause: GateCloseCause },
    /// D: a person answered.
    GateDecided {
        target: u64,
        gate_id: Uuid,
        revision: u32,
        verb: Verb,
        actor: String,
        groups: Vec<String>,
        act: String,
        #[serde(with = "time")]
        acted_at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Payload>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correction: Option<Payload>,
    },
    /// D: a signal; `args` is the text of a JSON array.
    SignalReceived {
        name: String,
        args: Payload,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        act: Option<String>,
    },
    /// D: a person wants the run to end.
    CancelRequested { actor: String, act: String },
    /// R: a person wants a blocked run to go on.
    RetryRequested { actor: String, act: String, repeats: Vec<u64> },
    /// C: the steps, all of them.
    StepsChanged { command: u64, seen_upto: u64, steps: Vec<Step> },
    /// R: everything waits for something outside.
    Parked { seen_upto: u64, waiting_for: Vec<WaitingFor> },
    /// R: the run cannot go on before a person repairs something.
    Blocked {
        code: BlockCode,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        site: Option<Site>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        activity: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<Payload>,
    },
    /// C, terminal: workflow code returned.
    RunCompleted { command: u64, seen_upto: u64, result: Payload },
    /// C, terminal: workflow code failed the run.
    RunFailed { command: u64, seen_upto: u64, error: ErrorClass, detail: Payload },
    /// R, terminal: a person's wish.
    RunCancelled { actor: String },
    /// R: an act that had no effect, and why.
    ActRefused { act: String, actor: String, verb: String, reason: String },
    /// R: what a fenced pod still reported, kept as evidence.
    LateCompletion { epoch: u64, entry: Box<PodEntry> },
    /// R: a person may read payload until then.
    ViewOpened {
        actor: String,
        act: String,
        #[serde(with = "time")]
        until: Timestamp,
    },
    /// R: a person has read this.
    PayloadRead { actor: String, what: String },
}

impl EntryBody {
    /// The number and `seen_upto` of the command, if it is one.
    pub fn command(&self) -> Option<(u64, u64)> {
        match self {
            Self::ActivityScheduled { command, seen_upto, .. }
            | Self::ActivityCancelRequested { command, seen_upto, .. }
            | Self::TimerStarted { command, seen_upto, .. }
            | Self::TimerCancelled { command, seen_upto, .. }
            | Self::GateOpened { command, seen_upto, .. }
            | Self::GateRevised { command, seen_upto, .. }
            | Self::GateClosed { command, seen_upto, .. }
            | Self::StepsChanged { command, seen_upto, .. }
            | Self::RunCompleted { command, seen_upto, .. }
            | Self::RunFailed { command, seen_upto, .. } => Some((*command, *seen_upto)),
            _ => None,
        }
    }

    /// True if workflow code is told it.
    pub fn is_delivery(&self) -> bool {
        matches!(
            self,
            Self::ActivityCompleted { .. }
                | Self::ActivityFailed { .. }
                | Self::TimerFired { .. }
                | Self::GateDecided { .. }
                | Self::SignalReceived { .. }
                | Self::CancelRequested { .. }
        )
    }

    /// True if it ends the run.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::RunCompleted { .. } | Self::RunFailed { .. } | Self::RunCancelled { .. })
    }
}

/// The plain digest of what a pod said in a command or record, whether it comes from the request or from the sealed entry: what the
/// operator stamped is left out. Two entries with the same digest are the same thing said twice.
pub(crate) fn said_digest(mut said: Value) -> Sha256Digest {
    const STAMPED: [&str; 9] = ["seq", "time", "hash", "effect", "requires", "firesAt", "gateId", "revision", "due"];
    if let Some(fields) = said.as_object_mut() {
        for field in STAMPED {
            fields.remove(field);
        }
    }
    Sha256Digest::of(canonical(&said).as_bytes())
}
