//! What pods ask and what they are answered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::digest::ChainHash;
use super::entries::PodEntry;
use super::entry::Entry;
use super::kinds::vocabulary;
use super::parts::Pin;

/// What a line of a log takes beside its text, in bytes.
pub const LOG_LINE_COST: u64 = 64;

/// The versions a runner has and understands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerVersions {
    /// Version of the runner.
    pub runtime: String,
    /// Oldest protocol it speaks.
    pub protocol_min: u32,
    /// Newest protocol it speaks.
    pub protocol_max: u32,
    /// Version of Python.
    pub python: String,
    /// Version of the SDK.
    pub sdk: String,
}

/// Body of `attach`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttachRequest {
    /// What the runner is.
    pub versions: RunnerVersions,
}

/// The times a pod must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSettings {
    /// How long a silent holder keeps its lease.
    pub lease_ms: u64,
    /// How long a parked pod stays.
    pub linger_ms: u64,
    /// How long a pod waits for an operator that does not answer.
    pub outage_wait_ms: u64,
    /// How long a cancelled run may continue.
    pub cancel_grace_ms: u64,
    /// Largest payload that stands in an entry, in bytes.
    pub inline_max: u64,
}

/// Reply to `attach`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachReply {
    /// Bearer token of all further requests.
    pub session: String,
    /// The run.
    pub run_id: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which Job of the run this is.
    pub segment: u32,
    /// The pod's epoch.
    pub epoch: u64,
    /// The first page of the journal.
    pub entries: Vec<Entry>,
    /// True if there are more than these: they are polled for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// What the run is fixed to.
    pub pin: Pin,
    /// The times.
    pub settings: PodSettings,
}

/// Body of `append`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppendRequest {
    /// The pod's epoch.
    pub epoch: u64,
    /// The last `seq` the pod knows.
    pub head: u64,
    /// The hash of that entry, as the pod knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_hash: Option<ChainHash>,
    /// What is to be written, all or nothing.
    pub entries: Vec<PodEntry>,
}

/// Body of `poll`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PollRequest {
    /// The pod's epoch.
    pub epoch: u64,
    /// The last `seq` the pod knows.
    pub head: u64,
    /// The hash of that entry, as the pod knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_hash: Option<ChainHash>,
    /// How long to wait for something new, at most 20,000.
    pub wait_ms: u64,
}

/// Reply to `append` and `poll`: what comes after the request's `head`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntriesReply {
    /// A page of entries, in order.
    pub entries: Vec<Entry>,
    /// True if there are more than these: they are polled for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// Where a log line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogStream {
    /// Standard output of the bundle's process.
    Stdout,
    /// Its standard error.
    Stderr,
    /// Its logging module.
    Logging,
}

impl LogStream {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Logging => "logging",
        }
    }
}

/// A line of a run's log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its number within the epoch, from 0.
    pub n: u64,
    /// Where it came from.
    pub stream: LogStream,
    /// When, as the pod says.
    pub time: String,
    /// The line, payload.
    pub text: String,
}

impl LogLine {
    /// What it takes in the store, in bytes.
    pub fn cost(&self) -> u64 {
        self.text.len() as u64 + LOG_LINE_COST
    }
}

impl std::fmt::Debug for LogLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogLine({}, {:?}, {} bytes)", self.n, self.stream, self.text.len())
    }
}

/// Body of `log`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogRequest {
    /// The pod's epoch.
    pub epoch: u64,
    /// The lines; those already there are ignored.
    pub lines: Vec<LogLine>,
}

vocabulary! {
    /// Why a request was refused.
    ErrorCode, "PascalCase" {
        /// Not now: the Job is not recorded, or the holder before is not released.
        NotYet = "NotYet",
        /// Never again: a newer holder exists or the segment is over.
        Fenced = "Fenced",
        /// The run has ended.
        Sealed = "Sealed",
        /// What was asked for was purged: its tenant keeps it no longer.
        Purged = "Purged",
        /// The same thing was said before with other content.
        Diverged = "Diverged",
        /// Deliveries must be handed over first; they are in the error's `entries`.
        Unread = "Unread",
        /// The activity's gate was not approved.
        RequirementNotMet = "RequirementNotMet",
        /// The effect may not be repeated without a person.
        NotAllowedToRepeat = "NotAllowedToRepeat",
        /// A blob that is named was not uploaded.
        BlobMissing = "BlobMissing",
        /// Over a limit.
        TooLarge = "TooLarge",
        /// No common version of the protocol.
        Version = "Version",
        /// Not a request of this protocol.
        Invalid = "Invalid",
        /// No more is said.
        Forbidden = "Forbidden",
    }
}

impl ErrorCode {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::NotYet => 503,
            Self::Fenced => 412,
            Self::Sealed | Self::Purged => 410,
            Self::Diverged | Self::Unread | Self::RequirementNotMet | Self::NotAllowedToRepeat | Self::BlobMissing => {
                409
            }
            Self::TooLarge => 413,
            Self::Version => 426,
            Self::Invalid => 400,
            Self::Forbidden => 403,
        }
    }
}

/// A refusal as it stands on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireError {
    /// Why.
    pub code: ErrorCode,
    /// For people; without payload.
    pub message: String,
    /// When to ask again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// With `Unread`: everything after the request's `head`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<Entry>,
}
