//! The records that entries are made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::digest::Sha256Digest;
use super::kinds::{Effect, StepStatus, WaitKind};

/// Whose a run is. A namespace that is made again under the same name is another tenant's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunTenant {
    /// Its slug.
    pub slug: String,
    /// The UID of its namespace.
    pub namespace_uid: String,
}

/// The Workflow a run belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunWorkflow {
    /// Its name.
    pub name: String,
    /// The UID of the object that asked for the run.
    pub uid: String,
}

/// What made the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunTrigger {
    /// `Manual`, `Schedule`, `Backfill` or `Child`.
    pub kind: String,
    /// Who caused it: the name of a user as the API server knows it.
    pub initiator: String,
}

/// What the run was fixed to at its creation. The journal reads the declarations of the activities
/// (`activities{<name>: {effect?, requires?}}`) and `handlesCancel`, runners read `layerDigest` and
/// `runbook.name`; the rest is the operator's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Pin(pub Map<String, Value>);

impl Pin {
    /// The digest (`sha256:…`) of the bundle's layer.
    pub fn layer_digest(&self) -> Option<&str> {
        self.0.get("layerDigest")?.as_str()
    }

    /// Whether workflow code is to be told of a cancellation that comes while no pod holds the run.
    pub fn handles_cancel(&self) -> bool {
        self.0.get("handlesCancel").and_then(Value::as_bool).unwrap_or(false)
    }

    /// What the runbook declares about an activity; undeclared where it says nothing.
    pub fn policy(&self, activity: &str) -> PinnedPolicy {
        let declared = self.0.get("activities").and_then(|all| all.get(activity));
        let field = |name| declared.and_then(|policy| policy.get(name)).and_then(Value::as_str);
        PinnedPolicy {
            effect: match field("effect") {
                Some("none") => Effect::None,
                Some("idempotent") => Effect::Idempotent,
                Some("external") => Effect::External,
                _ => Effect::Undeclared,
            },
            requires: field("requires").map(str::to_owned),
        }
    }
}

/// The declarations of one activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedPolicy {
    /// What it does to the world.
    pub effect: Effect,
    /// The step whose newest gate must have been approved before it starts.
    pub requires: Option<String>,
}

/// The versions of an attached runner; `protocol` is the one agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// Version of the runner.
    pub runtime: String,
    /// Version of the protocol spoken.
    pub protocol: u32,
    /// Version of Python.
    pub python: String,
    /// Version of the SDK.
    pub sdk: String,
}

/// A class of error; its text is payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureClass {
    /// The name of the class.
    #[serde(rename = "type")]
    pub class: String,
}

/// The class of an activity's last error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FinalError {
    /// The name of the class.
    #[serde(rename = "type")]
    pub class: String,
    /// True if the code itself said that trying again is of no use.
    #[serde(default)]
    pub non_retryable: bool,
}

/// A file an activity wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputFile {
    /// Its name within the run.
    pub name: String,
    /// Its content, a blob of the run.
    #[schemars(with = "String")]
    pub digest: Sha256Digest,
    /// Bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

/// A step and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepProgress {
    /// The step's id from the bundle's manifest.
    pub id: String,
    /// How far it is.
    pub status: StepStatus,
}

/// One thing a parked run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitTarget {
    /// What kind of thing.
    pub kind: WaitKind,
    /// The command that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u64>,
    /// The step it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The signal's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A place in the bundle's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Path within the bundle.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
}
