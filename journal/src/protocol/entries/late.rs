//! What came too late.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PodEntry;

/// What a fenced pod still reported, kept as evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LateCompletion {
    pub epoch: u64,
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub entry: Box<PodEntry>,
}
