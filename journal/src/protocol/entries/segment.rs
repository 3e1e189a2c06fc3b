//! Segments: the Jobs of a run and the pods that hold it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::kinds::{ReleaseCause, SegmentCause};
use crate::protocol::parts::Versions;
use crate::protocol::time;

/// A Job is to be created once `not_before` has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SegmentWanted {
    pub segment: u32,
    pub cause: SegmentCause,
    #[serde(with = "time")]
    #[schemars(with = "String")]
    pub not_before: Timestamp,
}

/// The segment's Job exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobRecorded {
    pub segment: u32,
    pub job_name: String,
    pub job_uid: String,
    pub template_hash: String,
}

/// A pod became the holder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attached {
    pub segment: u32,
    pub epoch: u64,
    pub pod_name: String,
    pub pod_uid: String,
    pub job_uid: String,
    pub versions: Versions,
}

/// The holder is none any more and the segment is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Released {
    pub epoch: u64,
    pub cause: ReleaseCause,
}

/// [`Released`] as a pod says it: `epoch`, if given, must be the request's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodReleased {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    pub cause: ReleaseCause,
}
