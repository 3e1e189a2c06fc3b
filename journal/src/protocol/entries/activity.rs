//! Activities: intents, attempts and their ends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::kinds::{Effect, RetryCause};
use crate::protocol::parts::{FailureClass, FinalError, OutputFile};
use crate::protocol::payload::Payload;

/// Workflow code wants an activity; no attempt has begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActivityScheduled {
    pub command: u64,
    pub seen_upto: u64,
    pub activity: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    pub args: Payload,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-may-differ" = true))]
    pub timeout_ms: Option<u64>,
}

/// From the pin: what the runbook declares about the activity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivityStamp {
    pub effect: Effect,
    /// The step whose gate must have been approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<String>,
}

/// The intent of an attempt, from 1; `cause` of a further one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActivityStarted {
    pub target: u64,
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<RetryCause>,
}

/// An attempt failed and another may follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActivityAttemptFailed {
    pub target: u64,
    pub attempt: u32,
    pub error: FailureClass,
    pub detail: Payload,
    pub retry_after_ms: u64,
}

/// The activity's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActivityCompleted {
    pub target: u64,
    pub attempt: u32,
    pub result: Payload,
    #[serde(default)]
    pub outputs: Vec<OutputFile>,
}

/// The activity failed for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActivityFailed {
    pub target: u64,
    pub attempt: u32,
    pub error: FinalError,
    pub detail: Payload,
}

/// Workflow code no longer wants the activity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActivityCancelRequested {
    pub command: u64,
    pub seen_upto: u64,
    pub target: u64,
}
