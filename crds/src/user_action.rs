//! `UserAction`: what a person does to a run or a gate. The API server proves who.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What a person does to a run or a gate.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "ntro.dev",
    version = "v1alpha1",
    kind = "UserAction",
    namespaced,
    status = "UserActionStatus",
    derive = "PartialEq",
    shortname = "act",
    category = "ntro",
    doc = "What a person does to a run or a gate: approve, reject, correct, submit, cancel, retry, signal or view. Created once and immutable; admission demands that actor and groups are those of the user who creates it, and that a role grants the verb. Usually created by `ntro`.",
    selectable = ".spec.run",
    selectable = ".spec.actor",
    selectable = ".spec.verb",
    validation = Rule::new("self.spec == oldSelf.spec").message("a user action is immutable: create another one"),
    validation = Rule::new("!has(oldSelf.status) || has(self.status)").message("the status cannot be removed"),
    printcolumn(name = "Verb", type_ = "string", json_path = ".spec.verb"),
    printcolumn(name = "Actor", type_ = "string", json_path = ".spec.actor"),
    printcolumn(name = "Run", type_ = "string", json_path = ".spec.run"),
    printcolumn(name = "Gate", type_ = "string", json_path = ".spec.gate.name"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.outcome"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!(self.verb in ['approve', 'reject', 'correct', 'submit']) || has(self.gate)", "approve, reject, correct and submit need the gate: name, gateId, class, revision and digest, as Gate.spec and Gate.status.revision have them"),
    validation = ("(self.verb in ['approve', 'reject', 'correct', 'submit', 'view']) || !has(self.gate)", "gate belongs to approve, reject, correct, submit and view only"),
    validation = ("!(self.verb in ['correct', 'submit']) || has(self.draftDigest)", "correct and submit need draftDigest: the keyed digest the operator returned for what was uploaded"),
    validation = ("(self.verb in ['correct', 'submit', 'signal']) || !has(self.draftDigest)", "draftDigest belongs to correct, submit and signal only"),
    validation = ("(self.verb == 'view') == has(self.keyHash)", "view needs keyHash, and no other verb has it"),
    validation = ("(self.verb == 'signal') == has(self.signal)", "signal needs the signal's name, and no other verb has it"),
    validation = ("self.verb == 'retry' || !has(self.repeatEffects)", "repeatEffects belongs to retry only")
)]
pub struct UserActionSpec {
    /// Name of the user who acts. Must be the user who creates this object.
    #[schemars(length(min = 1, max = 253))]
    pub actor: String,
    /// Groups that the actor claims. The user who creates this object must be a member of each. Needed if the gate
    /// policy names groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub groups: Option<Vec<String>>,
    /// `approve`, `reject`, `correct`, `submit` (on a gate), `cancel`, `retry`, `signal`, `view` (on a run).
    pub verb: Verb,
    /// Name of the Workflow. Roles grant `cancel`, `retry`, `signal` and `view` on `workflowruns` under this name.
    #[schemars(length(min = 1, max = 30), regex(pattern = schema::SLUG))]
    pub workflow: String,
    /// Name of the WorkflowRun.
    #[schemars(length(min = 1, max = 63))]
    pub run: String,
    /// UUID of the run.
    #[schemars(length(max = 36), regex(pattern = schema::UUID))]
    pub run_id: String,
    /// The gate, and the revision of it that the actor saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateSeen>,
    /// Keyed digest of the draft: uploaded corrections, a submission, or the arguments of a signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 76), regex(pattern = schema::KEYED_DIGEST))]
    pub draft_digest: Option<String>,
    /// Keyed digest of the comment that was uploaded for this user action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 76), regex(pattern = schema::KEYED_DIGEST))]
    pub comment_digest: Option<String>,
    /// Hash of the one-time key that gives access to the read API for ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = schema::DIGEST))]
    pub key_hash: Option<String>,
    /// Name of the signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub signal: Option<String>,
    /// Numbers of the effects that may be repeated although they may have happened already: all of those listed in
    /// `status.blocked.repeatEffects` of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(range(min = 0)))]
    pub repeat_effects: Option<Vec<i64>>,
}

/// What a user action does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Decide a gate: continue.
    Approve,
    /// Decide a gate: do not continue.
    Reject,
    /// Decide a gate: continue with changes.
    Correct,
    /// Answer a gate that asks for something.
    Submit,
    /// Cancel a run.
    Cancel,
    /// Resume a blocked run.
    Retry,
    /// Send a signal to a run.
    Signal,
    /// Read the payload of a run.
    View,
}

impl Verb {
    /// Whether the verb decides a gate.
    pub fn decides(self) -> bool {
        matches!(self, Self::Approve | Self::Reject | Self::Correct | Self::Submit)
    }

    /// The verb as it is written in objects and roles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Correct => "correct",
            Self::Submit => "submit",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Signal => "signal",
            Self::View => "view",
        }
    }
}

/// A gate, and the revision of it that the actor saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateSeen {
    /// Name of the Gate.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// UUID of the gate.
    #[schemars(length(max = 36), regex(pattern = schema::UUID))]
    pub gate_id: String,
    /// Class of the gate, `<runbook>.<step>`.
    #[schemars(length(max = 94), regex(pattern = schema::CLASS))]
    pub class: String,
    /// Number of the revision the actor saw.
    #[schemars(range(min = 1))]
    pub revision: i64,
    /// Digest of the revision the actor saw.
    #[schemars(length(max = 76), regex(pattern = schema::KEYED_DIGEST))]
    pub digest: String,
}

/// Outcome of a user action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// It was journaled and took effect.
    Accepted,
    /// It had no effect; the reason says why.
    Refused,
}

/// Observed state of the UserAction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(oldSelf.outcome) || (has(self.outcome) && self.outcome == oldSelf.outcome)", "the outcome is set once"))]
pub struct UserActionStatus {
    /// The generation of the spec that this status was computed for; -1 until the first reconcile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted` or `Refused`; absent until the operator has evaluated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Reason in CamelCase, for example `Superseded`, `NotInPolicy`, `ApprovalPolicyMissing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub reason: Option<String>,
    /// Ready is True once the user action has been evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
}
