//! What bounds a tenant: quota, defaults of containers, network.

use serde_json::{Value, json};

use super::{TenantValues, object};

/// Port of the operator's API.
const API_PORT: u16 = 8443;

pub(super) fn limits(values: &TenantValues) -> Vec<Value> {
    let ns = &values.namespace;
    let range =
        json!([{ "type": "Container", "default": values.default_limits, "defaultRequest": values.default_requests }]);
    vec![
        object("v1", "ResourceQuota", ns, "ntro", json!({ "spec": { "hard": values.quota } })),
        object("v1", "LimitRange", ns, "ntro", json!({ "spec": { "limits": range } })),
        network_policy(ns, "ntro-default-deny", &json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })),
        network_policy(ns, "ntro-runner", &egress(values)),
    ]
}

fn network_policy(namespace: &str, name: &str, spec: &Value) -> Value {
    object("networking.k8s.io/v1", "NetworkPolicy", namespace, name, json!({ "spec": spec }))
}

/// Pods of runs may resolve names and talk to the operator.
fn egress(values: &TenantValues) -> Value {
    let namespace = |name: &str| json!({ "matchLabels": { "kubernetes.io/metadata.name": name } });
    json!({
        "podSelector": { "matchExpressions": [{ "key": "ntro.dev/run", "operator": "Exists" }] },
        "policyTypes": ["Egress"],
        "egress": [
            {
                "to": [{ "namespaceSelector": namespace(&values.dns_namespace) }],
                "ports": [{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }]
            },
            {
                "to": [{
                    "namespaceSelector": namespace(&values.operator_namespace),
                    "podSelector": { "matchLabels": { "app.kubernetes.io/name": "ntro" } }
                }],
                "ports": [{ "port": API_PORT, "protocol": "TCP" }]
            }
        ]
    })
}
