//! What nobody but the operator writes.

use ntro_crds::labels::CA_CONFIG_MAP;
use serde_json::json;

use super::PolicyValues;
use super::policy_builder::{PolicyBuilder, Rule, resources};

/// Accounts of Kubernetes itself that clean up.
pub(super) const CLEANERS: &str = "['system:serviceaccount:kube-system:namespace-controller', 'system:serviceaccount:kube-system:generic-garbage-collector']";

pub(super) fn writes(values: &PolicyValues) -> PolicyBuilder {
    let operator = values.operator();
    let mut ca = resources("", "v1", &["CREATE", "UPDATE", "DELETE"], &["configmaps"]);
    ca["resourceNames"] = json!([CA_CONFIG_MAP]);
    PolicyBuilder {
        name: "writes",
        resources: vec![
            // A deleted Gate is created again; a deleted user action would be lost.
            resources("ntro.dev", "*", &["CREATE", "UPDATE"], &["gates"]),
            resources("ntro.dev", "*", &["UPDATE", "DELETE"], &["useractions"]),
            resources(
                "ntro.dev",
                "*",
                &["UPDATE"],
                &["runbooks/status", "workflows/status", "workflowruns/status", "gates/status", "useractions/status"],
            ),
            ca,
        ],
        conditions: vec![("scope", values.in_scope.clone())],
        variables: vec![(
            "what",
            "request.resource.resource + (request.?subResource.orValue('') == '' ? '' : '/' + request.subResource)"
                .to_owned(),
        )],
        rules: vec![Rule::cel(
            format!(
                "request.userInfo.username == '{operator}' || (request.?subResource.orValue('') == '' && \
                 request.userInfo.username in {CLEANERS})"
            ),
            "'only the operator may ' + request.operation.lowerAscii() + ' ' + variables.what + ': ' \
             + (variables.what == 'useractions' ? 'UserActions are immutable' \
             : variables.what == 'gates' ? 'Gates show what a run waits for; decide them with ntro gate' \
             : 'it reports what the operator observed')",
        )],
        fast_path: true,
    }
}
