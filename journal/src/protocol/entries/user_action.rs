//! What people do to a run, but for the decision of a gate.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::kinds::IgnoredReason;
use crate::protocol::payload::Payload;
use crate::protocol::time;

/// A signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignalReceived {
    pub name: String,
    /// The text of a JSON array.
    pub args: Payload,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// UID of the `UserAction`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_action: Option<String>,
}

/// A signal, or what was handed in at a gate, reached no handler of workflow code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignalIgnored {
    /// `seq` of the delivery that carried it.
    pub signal: u64,
    pub reason: IgnoredReason,
}

/// A person wants the run to end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CancelRequested {
    pub actor: String,
    pub user_action: String,
}

/// A person resumes a blocked run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryRequested {
    pub actor: String,
    pub user_action: String,
    /// Commands of the effects that may be repeated.
    pub repeat_effects: Vec<u64>,
}

/// A user action that had no effect, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserActionRefused {
    pub user_action: String,
    pub actor: String,
    pub verb: String,
    pub reason: String,
}

/// A person may read payload until then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ViewOpened {
    pub actor: String,
    pub user_action: String,
    #[serde(with = "time")]
    #[schemars(with = "String")]
    pub until: Timestamp,
}

/// A person has read this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PayloadRead {
    pub actor: String,
    pub what: String,
}
