//! Gates: questions to people, and their answers.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::protocol::kinds::{GateCloseCause, GateKind, Verb};
use crate::protocol::payload::Payload;
use crate::protocol::time;

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateOpened {
    pub command: u64,
    pub seen_upto: u64,
    pub step: String,
    pub kind: GateKind,
    #[schemars(extend("x-may-differ" = true))]
    pub component: String,
    #[schemars(extend("x-may-differ" = true))]
    pub actions: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-may-differ" = true))]
    pub due_ms: Option<u64>,
    pub content: Payload,
}

/// The identity of the gate, drawn from run and command, and its first revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateStamp {
    pub gate_id: Uuid,
    pub revision: u32,
    #[serde(default, with = "time::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub due: Option<Timestamp>,
}

/// What it shows has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateRevised {
    pub command: u64,
    pub seen_upto: u64,
    pub target: u64,
    pub content: Payload,
}

/// The number of the revision, from 2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStamp {
    pub revision: u32,
}

/// Workflow code needs no answer any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateClosed {
    pub command: u64,
    pub seen_upto: u64,
    pub target: u64,
    #[schemars(extend("x-may-differ" = true))]
    pub cause: GateCloseCause,
}

/// A person answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateDecided {
    pub target: u64,
    pub gate_id: Uuid,
    pub revision: u32,
    pub verb: Verb,
    pub actor: String,
    pub groups: Vec<String>,
    /// UID of the `UserAction`.
    pub user_action: String,
    /// When the API server took it.
    #[serde(with = "time")]
    #[schemars(with = "String")]
    pub acted_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Payload>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Payload>,
}
