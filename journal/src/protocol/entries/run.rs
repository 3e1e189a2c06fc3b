//! The run as a whole: its creation, its progress, its rests and its end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::protocol::kinds::BlockCode;
use crate::protocol::parts::{FailureClass, Pin, RunTenant, RunTrigger, RunWorkflow, Site, StepProgress, WaitTarget};
use crate::protocol::payload::Payload;

/// The run exists. Always entry 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunCreated {
    pub run_id: Uuid,
    pub namespace: String,
    pub tenant: RunTenant,
    pub name: String,
    pub workflow: RunWorkflow,
    /// The slot, RFC 3339, of a run that a schedule or a backfill asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    pub trigger: RunTrigger,
    pub pin: Pin,
    /// The input envelope.
    pub input: Payload,
}

/// The steps, all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepsChanged {
    pub command: u64,
    pub seen_upto: u64,
    pub steps: Vec<StepProgress>,
}

/// Everything waits for something outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parked {
    pub seen_upto: u64,
    pub waiting_for: Vec<WaitTarget>,
}

/// The run cannot continue before a person repairs something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Blocked {
    pub code: BlockCode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Payload>,
}

/// Terminal: workflow code returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunCompleted {
    pub command: u64,
    pub seen_upto: u64,
    pub result: Payload,
}

/// Terminal: workflow code failed the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunFailed {
    pub command: u64,
    pub seen_upto: u64,
    #[schemars(extend("x-may-differ" = true))]
    pub error: FailureClass,
    pub detail: Payload,
}

/// Terminal: a person cancelled the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunCancelled {
    pub actor: String,
}
