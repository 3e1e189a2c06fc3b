//! Who may decide a gate: the policy of a Workflow, frozen into each of its runs.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What happens to a gate that nobody decided in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnExpiry {
    /// As if a person had rejected.
    Reject,
    /// The gate stays open and the run says that it is overdue.
    Escalate,
    /// The run fails.
    Fail,
}

/// Who may decide the gates of a workflow's runs, in addition to the verb `approve` that RBAC must grant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatePolicy {
    /// Name of the user who wrote this policy. Admission requires it to be the requesting user, on creation and on
    /// every change of the policy. With GitOps that is the account of the GitOps tool.
    #[schemars(length(min = 1, max = 253))]
    pub author: String,
    /// Rules per step. Naming a step twice is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["step".to_string()]))]
    pub gates: Option<Vec<GateRule>>,
    /// Rule for steps that `gates` does not name. If unset, everyone to whom RBAC grants `approve` on the gate may
    /// decide it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Deciders>,
}

/// Who decides the gates of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateRule {
    /// Identifier of the step in `runbook.md`.
    #[schemars(length(max = 63), regex(pattern = schema::STEP))]
    pub step: String,
    /// Who may decide.
    #[serde(flatten)]
    pub deciders: Deciders,
}

/// Who may decide a gate. With neither `users` nor `groups`, everyone to whom RBAC grants `approve` on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deciders {
    /// User names as the API server knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub users: Option<Vec<String>>,
    /// Groups as the API server knows them; a member of one of them may decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub groups: Option<Vec<String>>,
    /// How many different people must approve. Only 1, the default, is supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1))]
    pub quorum: Option<i32>,
    /// Who may not decide even if named above: `initiator` (who started the run), `policyAuthor`, `otherDeciders` (who
    /// decided another gate of the run), `gate:<step>` (who decided the gate of that step).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        inner(
            length(max = 80),
            regex(pattern = "^(initiator|policyAuthor|otherDeciders|gate:[A-Za-z0-9]([-_A-Za-z0-9]*[A-Za-z0-9])?)$")
        )
    )]
    pub distinct_from: Option<Vec<String>>,
    /// How long the gate may stay open, for example `72h` or `5d`. If unset, the runbook's own limit applies, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = schema::DURATION))]
    pub due: Option<String>,
    /// What happens when `due` has passed. `reject`, the default: the operator rejects the gate, unless an answer came in
    /// time. `escalate` and `fail` are reserved and not accepted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_expiry: Option<OnExpiry>,
}

impl GatePolicy {
    /// The rule that holds for the gates of `step`, if any does.
    pub fn rule_for(&self, step: &str) -> Option<&Deciders> {
        let named = self.gates.iter().flatten().find(|rule| rule.step == step).map(|rule| &rule.deciders);
        named.or(self.default.as_ref())
    }
}
