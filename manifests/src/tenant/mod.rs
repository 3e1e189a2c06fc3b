//! What makes a namespace a tenant's: labels, accounts, roles, quota, network policy.
//!
//! One source for two users: `ntro tenant create` applies what [`manifests`] gives, and the chart `ntro-tenant` is
//! generated from the same code, so that the two cannot drift.

mod limits;
mod roles;

use std::collections::BTreeMap;

use ntro_crds::labels::{
    LIMITS_RUN_BLOBS, LIMITS_RUN_JOURNAL, LIMITS_RUN_LOG, LIMITS_TENANT, REGISTRY, RETENTION_JOURNAL, RETENTION_LOGS,
    RUNNER_SERVICE_ACCOUNT, TENANT,
};
use ntro_crds::schema::SLUG;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a tenant is created from, in the shape of the values of the chart `ntro-tenant`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TenantSpec {
    /// Slug of the tenant. Identities and journals depend on it: it cannot be changed later.
    #[schemars(length(min = 1, max = 63), regex(pattern = SLUG))]
    pub tenant: String,
    /// Namespace of the tenant. Defaults to the slug.
    #[schemars(length(max = 63), regex(pattern = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"))]
    pub namespace: String,
    /// Whether to create the namespace. If not, it must have the labels `ntro.dev/tenant` and
    /// `pod-security.kubernetes.io/enforce: restricted`.
    pub create_namespace: bool,
    /// Namespace the operator runs in.
    #[schemars(length(min = 1, max = 63), regex(pattern = SLUG))]
    pub operator_namespace: String,
    /// Where `ntro` pushes the tenant's runbooks, as `<host>/<path>`. May be empty.
    #[schemars(length(max = 512))]
    pub registry: String,
    /// Secrets with credentials for registries that the operator may read; named by Runbooks in `spec.source.secretRef`.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)))]
    pub registry_secrets: Vec<String>,
    /// How long runs are kept after their end. Older runs are purged: only the ledger stays.
    pub retention: RetentionSpec,
    /// Maximum sizes, such as `64Mi`: of one run's journal, blobs (results and files) and log, and of everything kept
    /// for the tenant. Each is at most the operator's limit (`limits` of the chart `ntro`), which applies if the value
    /// is larger or empty.
    pub limits: LimitsSpec,
    /// Who may see runs and gates and read their payload (role `ntro-viewer`).
    pub viewers: People,
    /// Who may decide gates of the tenant (role `ntro-approver`), subject to the gate policies.
    pub approvers: People,
    /// Who may create workflows, and start, cancel and retry runs (role `ntro-runner`).
    pub runners: People,
    /// Hard limits of the namespace (`ResourceQuota`).
    #[schemars(extend("additionalProperties" = { "type": ["string", "integer"] }))]
    pub quota: BTreeMap<String, String>,
    /// Default CPU and memory of containers (`LimitRange`).
    pub container_defaults: ContainerDefaults,
    /// Namespace of the cluster's DNS. Runs can reach it and the operator, and nothing else.
    #[schemars(length(min = 1, max = 63), regex(pattern = SLUG))]
    pub dns_namespace: String,
}

/// How long data of a run is kept after its end, in days, such as `365d`. Nothing is purged while the run or its
/// namespace has the annotation `ntro.dev/hold`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetentionSpec {
    /// The journal: entries, results, files and comments.
    #[schemars(regex(pattern = DAYS))]
    pub journal: String,
    /// The log.
    #[schemars(regex(pattern = DAYS))]
    pub logs: String,
}

/// From `1d` to `36500d`, as the operator reads it.
const DAYS: &str = "^([1-9][0-9]{0,3}|[12][0-9]{4}|3[0-5][0-9]{3}|36[0-4][0-9]{2}|36500)d$";

impl Default for RetentionSpec {
    fn default() -> Self {
        Self { journal: "365d".to_owned(), logs: "30d".to_owned() }
    }
}

/// Maximum sizes, such as `64Mi`; at most the operator's limit, which applies if the value is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Journal of a run, without blobs. At this size the run is blocked.
    #[schemars(regex(pattern = BYTES))]
    pub run_journal: String,
    /// Blobs of a run: results and files.
    #[schemars(regex(pattern = BYTES))]
    pub run_blobs: String,
    /// Log of a run. Further lines are dropped.
    #[schemars(regex(pattern = BYTES))]
    pub run_log: String,
    /// Everything kept for the tenant. At this size no run of the tenant begins.
    #[schemars(regex(pattern = BYTES))]
    pub tenant: String,
}

/// A number of bytes as the chart `ntro` takes it, or nothing.
const BYTES: &str = "^([1-9][0-9]{0,5}(Ki|Mi|Gi|Ti))?$";

/// Users and groups as the API server knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct People {
    /// User names.
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub users: Vec<String>,
    /// Group names.
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub groups: Vec<String>,
}

/// Default CPU and memory of containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ContainerDefaults {
    /// Default requests.
    #[schemars(extend("additionalProperties" = { "type": ["string", "integer"] }))]
    pub requests: BTreeMap<String, String>,
    /// Default limits.
    #[schemars(extend("additionalProperties" = { "type": ["string", "integer"] }))]
    pub limits: BTreeMap<String, String>,
}

fn quantities<const N: usize>(list: [(&str, &str); N]) -> BTreeMap<String, String> {
    list.into_iter().map(|(name, quantity)| (name.to_owned(), quantity.to_owned())).collect()
}

impl Default for ContainerDefaults {
    fn default() -> Self {
        Self {
            requests: quantities([("cpu", "100m"), ("memory", "256Mi")]),
            limits: quantities([("cpu", "1"), ("memory", "1Gi")]),
        }
    }
}

impl Default for TenantSpec {
    fn default() -> Self {
        Self {
            tenant: String::new(),
            namespace: String::new(),
            create_namespace: true,
            operator_namespace: "ntro-system".to_owned(),
            registry: String::new(),
            registry_secrets: vec!["ntro-registry".to_owned()],
            retention: RetentionSpec::default(),
            limits: LimitsSpec::default(),
            viewers: People::default(),
            approvers: People::default(),
            runners: People::default(),
            quota: quantities([
                ("count/jobs.batch", "500"),
                ("limits.cpu", "16"),
                ("limits.memory", "16Gi"),
                ("pods", "50"),
                ("requests.cpu", "4"),
                ("requests.memory", "8Gi"),
            ]),
            container_defaults: ContainerDefaults::default(),
            dns_namespace: "kube-system".to_owned(),
        }
    }
}

impl TenantSpec {
    /// The namespace, which is called like the tenant unless said otherwise.
    pub fn namespace(&self) -> &str {
        if self.namespace.is_empty() { &self.tenant } else { &self.namespace }
    }
}

/// Everything to apply for a tenant, in order: the namespace first.
pub fn manifests(spec: &TenantSpec) -> Vec<Value> {
    let namespace = spec.namespace();
    let everyone = [&spec.viewers, &spec.approvers, &spec.runners];
    let values = TenantValues {
        tenant: spec.tenant.clone(),
        namespace: namespace.to_owned(),
        operator_namespace: spec.operator_namespace.clone(),
        registry: spec.registry.clone(),
        retention_journal: spec.retention.journal.clone(),
        retention_logs: spec.retention.logs.clone(),
        limits: spec.limits.clone(),
        dns_namespace: spec.dns_namespace.clone(),
        registry_secrets: json!(spec.registry_secrets),
        viewers: subjects(&[&spec.viewers]),
        approvers: subjects(&[&spec.approvers]),
        runners: subjects(&[&spec.runners]),
        everyone: subjects(&everyone),
        quota: json!(spec.quota),
        default_requests: json!(spec.container_defaults.requests),
        default_limits: json!(spec.container_defaults.limits),
    };
    build(&values).into_iter().filter(|part| spec.create_namespace || !part.is_namespace()).map(|part| part.0).collect()
}

/// RBAC subjects, users before groups, everyone once.
fn subjects(people: &[&People]) -> Value {
    let mut list: Vec<Value> = Vec::new();
    for group in people {
        let users = group.users.iter().map(|name| ("User", name));
        let groups = group.groups.iter().map(|name| ("Group", name));
        for (kind, name) in users.chain(groups) {
            let subject = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
            if !list.contains(&subject) {
                list.push(subject);
            }
        }
    }
    Value::Array(list)
}

/// What a tenant puts into the manifests. With Helm expressions in their place, what comes out is a template.
#[derive(Clone, Debug)]
pub struct TenantValues {
    /// Slug of the tenant.
    pub tenant: String,
    /// Its namespace.
    pub namespace: String,
    /// Namespace the operator runs in.
    pub operator_namespace: String,
    /// Where runbooks are pushed.
    pub registry: String,
    /// How long journals are kept.
    pub retention_journal: String,
    /// How long logs are kept.
    pub retention_logs: String,
    /// How much is kept.
    pub limits: LimitsSpec,
    /// Namespace of the cluster's DNS.
    pub dns_namespace: String,
    /// Names of Secrets: an array.
    pub registry_secrets: Value,
    /// RBAC subjects: an array.
    pub viewers: Value,
    /// RBAC subjects: an array.
    pub approvers: Value,
    /// RBAC subjects: an array.
    pub runners: Value,
    /// RBAC subjects, all of the above: an array.
    pub everyone: Value,
    /// Hard limits: an object.
    pub quota: Value,
    /// Default requests: an object.
    pub default_requests: Value,
    /// Default limits: an object.
    pub default_limits: Value,
}

/// One object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Part(pub Value);

impl Part {
    /// Whether this is the namespace itself, which somebody else may have made.
    pub fn is_namespace(&self) -> bool {
        self.0["kind"] == "Namespace"
    }
}

/// All objects of a tenant with the given values.
pub fn build(values: &TenantValues) -> Vec<Part> {
    let mut parts = vec![namespace(values), account(values)];
    parts.extend(roles::roles(values));
    parts.extend(limits::limits(values));
    parts.into_iter().map(Part).collect()
}

/// An object with the labels all have.
fn object(api_version: &str, kind: &str, namespace: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": { "name": name, "labels": { "app.kubernetes.io/part-of": "ntro" } },
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}

fn namespace(values: &TenantValues) -> Value {
    let mut namespace = object("v1", "Namespace", "", &values.namespace, json!({}));
    let labels = &mut namespace["metadata"]["labels"];
    labels[TENANT] = json!(values.tenant);
    for mode in ["enforce", "audit", "warn"] {
        labels[format!("pod-security.kubernetes.io/{mode}")] = json!("restricted");
    }
    namespace["metadata"]["annotations"] = json!({
        REGISTRY: values.registry,
        RETENTION_JOURNAL: values.retention_journal,
        RETENTION_LOGS: values.retention_logs,
        LIMITS_RUN_JOURNAL: values.limits.run_journal,
        LIMITS_RUN_BLOBS: values.limits.run_blobs,
        LIMITS_RUN_LOG: values.limits.run_log,
        LIMITS_TENANT: values.limits.tenant,
        "helm.sh/resource-policy": "keep",
    });
    namespace
}

fn account(values: &TenantValues) -> Value {
    object(
        "v1",
        "ServiceAccount",
        &values.namespace,
        RUNNER_SERVICE_ACCOUNT,
        json!({ "automountServiceAccountToken": false }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TenantSpec {
        TenantSpec {
            tenant: "acme".to_owned(),
            viewers: People { users: vec!["vera".to_owned(), "ada".to_owned()], groups: vec!["audit".to_owned()] },
            approvers: People { users: vec!["ada".to_owned()], groups: Vec::new() },
            ..TenantSpec::default()
        }
    }

    #[test]
    fn the_namespace_comes_first_unless_somebody_else_makes_it() {
        assert_eq!(manifests(&spec())[0]["kind"], "Namespace");
        let without = manifests(&TenantSpec { create_namespace: false, ..spec() });
        assert!(without.iter().all(|object| object["kind"] != "Namespace"));
    }

    #[test]
    fn every_object_lies_in_one_of_the_two_namespaces() {
        for object in manifests(&TenantSpec { namespace: "acme-prod".to_owned(), ..spec() }) {
            let metadata = &object["metadata"];
            match object["kind"].as_str().unwrap() {
                "Namespace" => assert_eq!(metadata["name"], "acme-prod"),
                _ => assert!(["acme-prod", "ntro-system"].contains(&metadata["namespace"].as_str().unwrap())),
            }
        }
    }

    #[test]
    fn nobody_is_named_twice() {
        let everyone = manifests(&spec())
            .into_iter()
            .find(|o| o["metadata"]["namespace"] == "ntro-system" && o["kind"] == "RoleBinding");
        let subjects = everyone.unwrap()["subjects"].as_array().unwrap().len();
        assert_eq!(subjects, 3);
    }

    #[test]
    fn without_named_secrets_there_is_no_right_to_any() {
        let role = |names: &[&str]| {
            let registry_secrets = names.iter().map(|name| (*name).to_owned()).collect();
            let manifests = manifests(&TenantSpec { registry_secrets, ..spec() });
            manifests.into_iter().find(|o| o["kind"] == "Role" && o["metadata"]["name"] == "ntro-operator").unwrap()
        };
        assert!(!role(&[]).to_string().contains("secrets"));
        assert!(role(&["a"]).to_string().contains(r#""resourceNames":["a"]"#));
    }

    #[test]
    fn no_role_has_a_wildcard() {
        for role in manifests(&spec()).iter().filter(|object| object["kind"] == "Role") {
            for rule in role["rules"].as_array().unwrap() {
                assert!(!rule.to_string().contains("\"*\""), "{rule}");
            }
        }
    }
}
