//! `Runbook`: where a runbook's bundles are kept and which version is current.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{self, Object};

/// A runbook: plain Python and its `runbook.md`, published as an OCI artifact. Its name is the runbook's slug.
/// The operator resolves a version to a digest, verifies the bundle and keeps what it learned in the status.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "ntro.dev",
    version = "v1alpha1",
    kind = "Runbook",
    namespaced,
    status = "RunbookStatus",
    derive = "PartialEq",
    shortname = "rb",
    category = "ntro",
    category = "all",
    doc = "A runbook: plain Python and its runbook.md, published as an OCI artifact. The name is the runbook's slug. The operator resolves a version to a digest, verifies the bundle and keeps what it learned in the status.",
    validation = Rule::new("size(self.metadata.name) <= 30").message("the name of a Runbook has at most 30 characters: names of runs and Jobs are made from it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("the name of a Runbook must consist of lower case letters, digits and dashes"),
    validation = Rule::new("!has(oldSelf.status) || has(self.status)").message("the status cannot be removed"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.resolved.version", description = "The version runs use unless pinned"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status", description = "Whether a verified bundle is available"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", description = "Why"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.source.url", priority = 1),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.resolved.digest", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RunbookSpec {
    /// The repository that holds the bundles.
    pub source: Source,
    /// The exact version to use, for example `1.4.0`. If unset, the newest stable version in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[0-9A-Za-z.+-]+$"))]
    pub version: Option<String>,
    /// Digest of the OCI manifest. If set, no version is resolved: exactly this artifact is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = schema::DIGEST))]
    pub digest: Option<String>,
    /// How often to check for newer versions, for example `30m`. Defaults to 10 minutes; at least 10 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = schema::DURATION))]
    pub interval: Option<String>,
    /// Stop checking for newer versions. Versions that are already resolved stay usable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// An OCI repository and how to reach it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The repository, for example `oci://registry.example.com/acme/runbooks/nav-monthly`: no tag, no digest.
    #[schemars(
        length(max = 512),
        regex(pattern = "^oci://[a-zA-Z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$")
    )]
    pub url: String,
    /// A Secret of type `kubernetes.io/dockerconfigjson` in this namespace with the credentials for the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
    /// Use plain HTTP. For registries inside the cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
}

/// A reference to an object of this namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Observed state of the Runbook.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunbookStatus {
    /// The generation of the spec that this status was computed for; -1 until the first reconcile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The current version: used by runs unless their Workflow pins another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolved>,
    /// Verified versions: the current one and every one pinned by a Workflow or an unfinished run of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub versions: Option<Vec<VerifiedVersion>>,
    /// The newest versions of the repository, newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), inner(length(max = 128)))]
    pub available: Option<Vec<String>>,
    /// The last value of the annotation `reconcile.ntro.dev/requestedAt` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,
    /// When the repository was last read successfully.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_resolved_time: Option<Time>,
    /// Ready is True while a verified bundle of the current version is available. Reconciling and Stalled are present
    /// only while True.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
}

/// A version and the digest it resolves to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// The version.
    #[schemars(length(max = 128))]
    pub version: String,
    /// The manifest's digest.
    #[schemars(length(max = 71), regex(pattern = schema::DIGEST))]
    pub digest: String,
}

/// A version whose bundle was pulled by digest and checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedVersion {
    /// The version.
    #[schemars(length(max = 128))]
    pub version: String,
    /// The manifest's digest.
    #[schemars(length(max = 71), regex(pattern = schema::DIGEST))]
    pub digest: String,
    /// The digest of the layer that holds the bundle's files.
    #[schemars(length(max = 71), regex(pattern = schema::DIGEST))]
    pub layer_digest: String,
    /// Title of the runbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub title: Option<String>,
    /// JSON Schema of a workflow's `spec.config`. Omitted above 32 KiB; then only its digest is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub config_schema: Option<Object>,
    /// Digest of the configuration's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = schema::DIGEST))]
    pub config_schema_digest: Option<String>,
    /// The steps `runbook.md` declares, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub steps: Option<Vec<DeclaredStep>>,
    /// The activities whose effect or required gate `runbook.md` declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub activities: Option<Vec<DeclaredActivity>>,
    /// Names of the outputs that appear in a run's status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 256)))]
    pub outputs: Option<Vec<String>>,
    /// Whether a waiting run that is cancelled gets a pod, so that its code can handle the cancellation:
    /// `handles_cancel` in `runbook.md`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handles_cancel: Option<bool>,
}

/// A step of a runbook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredStep {
    /// Identifier of the step.
    #[schemars(length(max = 63), regex(pattern = schema::STEP))]
    pub id: String,
    /// Title of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub title: Option<String>,
}

/// What an activity does to other systems, as declared by its author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Nothing: it may be repeated at will.
    None,
    /// Something that may be repeated without harm.
    Idempotent,
    /// Something that must not happen twice: if the outcome is unknown, a person is asked.
    External,
    /// The author did not say: treated as `external`.
    Undeclared,
}

/// What `runbook.md` declares about an activity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredActivity {
    /// Name of the activity.
    #[schemars(length(max = 128))]
    pub name: String,
    /// `none`, `idempotent`, `external` or `undeclared`.
    pub effect: Effect,
    /// The step whose gate must be approved in the run before the activity may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = schema::STEP))]
    pub requires: Option<String>,
}
