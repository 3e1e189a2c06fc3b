//! Roles of a tenant: of the operator, and of people.

use ntro_crds::labels::CA_CONFIG_MAP;
use serde_json::{Value, json};

use super::{TenantValues, object};
use crate::OPERATOR_POD;
use crate::admission::OPERATOR_SERVICE_ACCOUNT;

const RBAC: &str = "rbac.authorization.k8s.io/v1";

pub(super) fn roles(values: &TenantValues) -> Vec<Value> {
    let ns = &values.namespace;
    let operator = json!([{
        "kind": "ServiceAccount", "name": OPERATOR_SERVICE_ACCOUNT, "namespace": values.operator_namespace
    }]);
    let reader = format!("ntro-reader-{ns}");
    [
        bound(ns, "ntro-operator", &operator_rules(values), &operator),
        bound(ns, "ntro-viewer", &viewer_rules(), &values.viewers),
        bound(ns, "ntro-approver", &approver_rules(), &values.approvers),
        bound(ns, "ntro-runner", &runner_rules(), &values.runners),
        bound(&values.operator_namespace, &reader, &port_forward_rules(), &values.everyone),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A role and the binding of the same name.
fn bound(namespace: &str, name: &str, rules: &Value, subjects: &Value) -> [Value; 2] {
    let role_ref = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name });
    [
        object(RBAC, "Role", namespace, name, json!({ "rules": rules })),
        object(RBAC, "RoleBinding", namespace, name, json!({ "roleRef": role_ref, "subjects": subjects })),
    ]
}

/// What the operator may do here beyond its own kinds.
fn operator_rules(values: &TenantValues) -> Value {
    // A rule that names nothing would mean every Secret.
    let secrets = match &values.registry_secrets {
        Value::Array(names) if names.is_empty() => json!([]),
        names => json!([{ "apiGroups": [""], "resources": ["secrets"], "resourceNames": names, "verbs": ["get"] }]),
    };
    let rules = json!([
        { "apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch", "create", "patch", "delete"] },
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "delete"] },
        { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"] },
        { "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CA_CONFIG_MAP], "verbs": ["get", "patch", "update"] },
        { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
    ]);
    with(rules, secrets)
}

/// Seeing everything of the tenant, and reading what runs hold.
fn viewer_rules() -> Value {
    json!([
        {
            "apiGroups": ["ntro.dev"],
            "resources": ["runbooks", "workflows", "workflowruns", "gates", "useractions"],
            "verbs": ["get", "list", "watch"]
        },
        { "apiGroups": ["ntro.dev"], "resources": ["useractions"], "verbs": ["create"] },
        { "apiGroups": ["ntro.dev"], "resources": ["workflowruns"], "verbs": ["view"] },
        { "apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["get", "list", "watch"] },
        { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] },
        { "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CA_CONFIG_MAP], "verbs": ["get"] },
    ])
}

/// What a viewer may, and deciding every gate. Without resource names on purpose: it means every gate of this tenant.
fn approver_rules() -> Value {
    with(viewer_rules(), json!([{ "apiGroups": ["ntro.dev"], "resources": ["gates"], "verbs": ["approve"] }]))
}

/// What a viewer may, and making workflows and having them run.
fn runner_rules() -> Value {
    with(
        viewer_rules(),
        json!([
            {
                "apiGroups": ["ntro.dev"],
                "resources": ["runbooks", "workflows"],
                "verbs": ["create", "update", "patch", "delete"]
            },
            { "apiGroups": ["ntro.dev"], "resources": ["workflows"], "verbs": ["run"] },
            {
                "apiGroups": ["ntro.dev"],
                "resources": ["workflowruns"],
                "verbs": ["create", "delete", "cancel", "retry", "signal"]
            },
        ]),
    )
}

/// Reaching the operator's API; who may read what is the operator's to say.
fn port_forward_rules() -> Value {
    json!([
        { "apiGroups": [""], "resources": ["pods"], "resourceNames": [OPERATOR_POD], "verbs": ["get"] },
        { "apiGroups": [""], "resources": ["pods/portforward"], "resourceNames": [OPERATOR_POD], "verbs": ["get", "create"] },
    ])
}

fn with(mut rules: Value, more: Value) -> Value {
    if let (Value::Array(rules), Value::Array(more)) = (&mut rules, more) {
        rules.extend(more);
    }
    rules
}
