//! The operator's own rights. Those on a tenant's Jobs, pods and the like come from the tenant's Role (`tenant/roles.rs`).

use serde_json::{Value, json};

use crate::OPERATOR_POD;

/// Rights on our own kinds: cluster-wide, or in the one namespace that is served.
pub fn kinds() -> Vec<Value> {
    let plurals = ["runbooks", "workflows", "workflowruns", "gates", "useractions"];
    let statuses: Vec<_> = plurals.iter().map(|plural| format!("{plural}/status")).collect();
    let ours = |resources: Value, verbs: &[&str]| json!({ "apiGroups": [ntro_crds::GROUP], "resources": resources, "verbs": verbs });
    vec![
        ours(json!(plurals), &["get", "list", "watch"]),
        ours(json!(statuses), &["get", "update", "patch"]),
        ours(json!(["workflowruns", "gates"]), &["create", "update", "patch", "delete"]),
        ours(json!(["useractions"]), &["delete"]),
        // Owner references that block deletion.
        ours(json!(["workflows/finalizers", "workflowruns/finalizers"]), &["update"]),
    ]
}

/// Rights on what has no namespace: who a token belongs to, which namespaces are tenants, whether kinds and policies are as they
/// should be. `namespaces` are the only ones to be seen; `None` for all.
pub fn cluster(namespaces: Option<&Value>) -> Vec<Value> {
    let read = ["get", "list", "watch"];
    let mut of_namespaces = json!({ "apiGroups": [""], "resources": ["namespaces"], "verbs": read });
    if let Some(namespaces) = namespaces {
        of_namespaces["resourceNames"] = json!([namespaces]);
    }
    vec![
        json!({ "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"] }),
        json!({
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
            "verbs": read,
        }),
        of_namespaces,
        json!({ "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": read }),
    ]
}

/// Rights in the operator's own namespace: be the only one, and tell what happens.
pub fn own_namespace() -> Vec<Value> {
    vec![
        json!({ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"] }),
        json!({
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["ntro"],
            "verbs": ["get", "update", "patch"],
        }),
        json!({ "apiGroups": [""], "resources": ["pods"], "resourceNames": [OPERATOR_POD], "verbs": ["get"] }),
        json!({ "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind without rights would be watched in vain.
    #[test]
    fn the_operator_may_see_every_kind() {
        let seen = kinds()[0]["resources"].clone();
        let all: Vec<_> = ntro_crds::all().into_iter().map(|kind| kind.spec.names.plural).collect();
        assert_eq!(seen, json!(all));
    }

    #[test]
    fn nothing_is_granted_by_a_wildcard() {
        for rule in kinds().into_iter().chain(cluster(None)).chain(own_namespace()) {
            assert!(!rule.to_string().contains('*'), "{rule}");
        }
    }
}
