//! `Gate`: a question a run puts to people.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::{Deciders, OnExpiry};
use crate::schema;
use crate::user_action::Verb;

/// A question a run puts to people.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "ntro.dev",
    version = "v1alpha1",
    kind = "Gate",
    namespaced,
    status = "GateStatus",
    derive = "PartialEq",
    shortname = "gate",
    category = "ntro",
    category = "all",
    doc = "A question a run puts to people. Only the operator writes gates; people answer with `ntro gate approve`, which creates a UserAction. What is shown for decision is not here: read it with `ntro gate show`.",
    selectable = ".spec.run",
    selectable = ".spec.step",
    selectable = ".status.state",
    validation = Rule::new("self.spec == oldSelf.spec").message("the spec of a gate is immutable"),
    validation = Rule::new("!has(oldSelf.status) || has(self.status)").message("the status cannot be removed"),
    printcolumn(name = "Run", type_ = "string", json_path = ".spec.run"),
    printcolumn(name = "Step", type_ = "string", json_path = ".spec.step"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Component", type_ = "string", json_path = ".spec.component"),
    printcolumn(name = "Due", type_ = "string", json_path = ".spec.due", description = "When the gate expires"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.revision.n", priority = 1),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.class", description = "The name roles know the gate by", priority = 1),
    printcolumn(name = "Decided by", type_ = "string", json_path = ".status.decisions[*].actor", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GateSpec {
    /// UUID of the gate; kept when a deleted Gate is created again.
    #[schemars(length(max = 36), regex(pattern = schema::UUID))]
    pub gate_id: String,
    /// Name of the WorkflowRun.
    #[schemars(length(min = 1, max = 63))]
    pub run: String,
    /// UUID of the run.
    #[schemars(length(max = 36), regex(pattern = schema::UUID))]
    pub run_id: String,
    /// Name of the Workflow.
    #[schemars(length(min = 1, max = 30))]
    pub workflow: String,
    /// Step of the runbook that asks.
    #[schemars(length(max = 63), regex(pattern = schema::STEP))]
    pub step: String,
    /// `<runbook>.<step>`. Roles grant the verb `approve` on `gates` under this name.
    #[schemars(length(max = 94), regex(pattern = schema::CLASS))]
    pub class: String,
    /// Title, from `runbook.md`.
    #[schemars(length(max = 256))]
    pub title: String,
    /// How the content is shown, for example `DATA_TABLE`.
    #[schemars(length(max = 63))]
    pub component: String,
    /// Verbs with which the gate can be answered.
    #[schemars(length(min = 1, max = 8))]
    pub actions: Vec<GateAction>,
    /// When the gate expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Time>,
    /// What happens when it expires: `reject`, `escalate` or `fail`.
    pub on_expiry: OnExpiry,
}

/// An answer to a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GateAction {
    /// Continue.
    Approve,
    /// Do not continue.
    Reject,
    /// Continue with changes.
    Correct,
    /// Supply what the gate asks for.
    Submit,
}

/// Whether a gate is open, and if not, how it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GateState {
    /// Waits for a decision.
    Open,
    /// Approved.
    Approved,
    /// Rejected.
    Rejected,
    /// Answered with corrections.
    Corrected,
    /// What was asked for was submitted.
    Submitted,
    /// Closed by the runbook without a person's decision.
    Satisfied,
    /// Nobody decided in time.
    Expired,
    /// The run ended, or no longer asks, before anybody decided.
    Abandoned,
}

impl GateState {
    /// Whether the gate is closed for ever.
    pub fn is_terminal(self) -> bool {
        self != Self::Open
    }
}

/// Observed state of the Gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(oldSelf.state) || has(self.state)", "state cannot be removed"),
    validation = ("!has(oldSelf.state) || oldSelf.state == 'Open' || (has(self.state) && self.state == oldSelf.state)", "a closed gate never changes its state"),
    validation = ("!has(oldSelf.policy) || (has(self.policy) && self.policy == oldSelf.policy)", "policy is set once"),
    validation = ("!has(oldSelf.revision) || (has(self.revision) && self.revision.n >= oldSelf.revision.n)", "the revision never decreases"),
    validation = ("!has(oldSelf.revision) || !has(self.revision) || self.revision.n != oldSelf.revision.n || self.revision.digest == oldSelf.revision.digest", "a revision never changes its digest"),
    validation = ("!has(oldSelf.decisions) || (has(self.decisions) && size(self.decisions) >= size(oldSelf.decisions))", "decisions cannot be removed")
)]
pub struct GateStatus {
    /// The generation of the spec that this status was computed for; -1 until the first reconcile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Open`, `Approved`, `Rejected`, `Corrected`, `Submitted`, `Satisfied`, `Expired` or `Abandoned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<GateState>,
    /// What the gate shows now. Any change makes a new revision; user actions on older revisions are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Who may decide, as frozen into the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Deciders>,
    /// The decisions of people that were accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub decisions: Option<Vec<CountedDecision>>,
    /// When the gate was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Time>,
    /// Ready is True while the gate can be answered or is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
}

/// What a gate shows, by number and digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Number of the revision, from 1.
    #[schemars(range(min = 1))]
    pub n: i64,
    /// Digest of the content, keyed with the run secret.
    #[schemars(length(max = 76), regex(pattern = schema::KEYED_DIGEST))]
    pub digest: String,
}

/// A decision of a person that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CountedDecision {
    /// User who decided.
    #[schemars(length(max = 253))]
    pub actor: String,
    /// The decision: `approve`, `reject`, `correct` or `submit`.
    pub verb: Verb,
    /// Number of the revision that was decided on.
    #[schemars(range(min = 1))]
    pub revision: i64,
    /// Name of the UserAction.
    #[schemars(length(max = 63))]
    pub user_action: String,
    /// UID of the UserAction.
    #[schemars(length(max = 64))]
    pub user_action_uid: String,
    /// When the API server created the UserAction.
    pub at: Time,
}
