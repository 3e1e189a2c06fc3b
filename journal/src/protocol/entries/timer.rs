//! Timers, which run on the operator's clock.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::time;

/// A timer runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimerStarted {
    pub command: u64,
    pub seen_upto: u64,
    pub duration_ms: u64,
}

/// The entry's time plus the duration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimerStamp {
    #[serde(with = "time")]
    #[schemars(with = "String")]
    pub fires_at: Timestamp,
}

/// It is not wanted any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimerCancelled {
    pub command: u64,
    pub seen_upto: u64,
    pub target: u64,
}

/// Its time has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimerFired {
    pub target: u64,
}
