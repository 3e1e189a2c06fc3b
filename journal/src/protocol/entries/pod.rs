//! What a pod may write: its rows of the table, without what the operator stamps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ActivityAttemptFailed, ActivityCancelRequested, ActivityCompleted, ActivityFailed, ActivityScheduled,
    ActivityStarted, Blocked, CommandNumber, GateClosed, GateOpened, GateRevised, Parked, PodReleased, RunCompleted,
    RunFailed, SignalIgnored, StepsChanged, TimerCancelled, TimerStarted,
};
use crate::protocol::digest::Sha256Digest;
use crate::protocol::parts::OutputFile;
use crate::protocol::payload::Payload;

/// An entry of a pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum PodEntry {
    Released(PodReleased),
    ActivityScheduled(ActivityScheduled),
    ActivityStarted(ActivityStarted),
    ActivityAttemptFailed(ActivityAttemptFailed),
    ActivityCompleted(ActivityCompleted),
    ActivityFailed(ActivityFailed),
    ActivityCancelRequested(ActivityCancelRequested),
    TimerStarted(TimerStarted),
    TimerCancelled(TimerCancelled),
    GateOpened(GateOpened),
    GateRevised(GateRevised),
    GateClosed(GateClosed),
    SignalIgnored(SignalIgnored),
    StepsChanged(StepsChanged),
    Parked(Parked),
    Blocked(Blocked),
    RunCompleted(RunCompleted),
    RunFailed(RunFailed),
}

/// What the machine has to know of every entry of a pod before it is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    /// Number and `seen_upto`, of a command.
    pub command: Option<CommandNumber>,
    /// `seq` of the last delivery handed to workflow code before it, of a command and of a rest.
    pub seen_upto: Option<u64>,
    /// Target and attempt, of the end of an attempt.
    pub completion: Option<(u64, u32)>,
    /// The payload it carries.
    pub payload: Option<&'a Payload>,
    /// Files it names.
    pub outputs: &'a [OutputFile],
    /// The longest duration it names, in milliseconds.
    pub duration_ms: u64,
}

impl<'a> Said<'a> {
    fn command(command: u64, seen_upto: u64) -> Self {
        let number = CommandNumber { command, seen_upto };
        Self { command: Some(number), seen_upto: Some(seen_upto), ..Self::default() }
    }

    fn completion(target: u64, attempt: u32, payload: &'a Payload) -> Self {
        Self { completion: Some((target, attempt)), payload: Some(payload), ..Self::default() }
    }

    fn with(self, payload: &'a Payload) -> Self {
        Self { payload: Some(payload), ..self }
    }

    /// The blobs it names.
    pub fn blobs(&self) -> impl Iterator<Item = Sha256Digest> + use<'a> {
        let outputs = self.outputs.iter().map(|output| output.digest);
        self.payload.and_then(Payload::blob).into_iter().chain(outputs)
    }
}

impl PodEntry {
    /// What is said. Written out for every entry: whoever adds one has to say.
    pub fn said(&self) -> Said<'_> {
        match self {
            Self::ActivityScheduled(it) => {
                let duration_ms = it.timeout_ms.unwrap_or(0);
                Said { duration_ms, ..Said::command(it.command, it.seen_upto).with(&it.args) }
            }
            Self::TimerStarted(it) => Said { duration_ms: it.duration_ms, ..Said::command(it.command, it.seen_upto) },
            Self::GateOpened(it) => {
                let duration_ms = it.due_ms.unwrap_or(0);
                Said { duration_ms, ..Said::command(it.command, it.seen_upto).with(&it.content) }
            }
            Self::GateRevised(it) => Said::command(it.command, it.seen_upto).with(&it.content),
            Self::RunCompleted(it) => Said::command(it.command, it.seen_upto).with(&it.result),
            Self::RunFailed(it) => Said::command(it.command, it.seen_upto).with(&it.detail),
            Self::ActivityCancelRequested(it) => Said::command(it.command, it.seen_upto),
            Self::TimerCancelled(it) => Said::command(it.command, it.seen_upto),
            Self::GateClosed(it) => Said::command(it.command, it.seen_upto),
            Self::StepsChanged(it) => Said::command(it.command, it.seen_upto),
            Self::ActivityCompleted(it) => {
                Said { outputs: &it.outputs, ..Said::completion(it.target, it.attempt, &it.result) }
            }
            Self::ActivityFailed(it) => Said::completion(it.target, it.attempt, &it.detail),
            Self::ActivityAttemptFailed(it) => Said::completion(it.target, it.attempt, &it.detail),
            Self::Blocked(it) => Said { payload: it.detail.as_ref(), ..Said::default() },
            Self::Parked(it) => Said { seen_upto: Some(it.seen_upto), ..Said::default() },
            Self::ActivityStarted(_) | Self::SignalIgnored(_) | Self::Released(_) => Said::default(),
        }
    }

    /// The blobs it names, outputs included.
    pub fn blobs(&self) -> impl Iterator<Item = Sha256Digest> + use<'_> {
        self.said().blobs()
    }
}
