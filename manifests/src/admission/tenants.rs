//! What a namespace must be to be a tenant's, and that it stays the same tenant's.

use ntro_crds::labels::TENANT;

use super::PolicyValues;
use super::policy_builder::{PolicyBuilder, Rule, resources};

pub(super) fn tenants(values: &PolicyValues) -> PolicyBuilder {
    PolicyBuilder {
        name: "tenants",
        resources: vec![resources("", "v1", &["CREATE", "UPDATE"], &["namespaces"])],
        conditions: vec![
            ("scope", values.namespace_in_scope.clone()),
            (
                "tenant",
                format!(
                    "'{TENANT}' in object.metadata.?labels.orValue({{}}) || \
                     (request.operation == 'UPDATE' && '{TENANT}' in oldObject.metadata.?labels.orValue({{}}))"
                ),
            ),
        ],
        variables: vec![
            ("new", format!("object.metadata.?labels[?'{TENANT}'].orValue('')")),
            (
                "old",
                format!("request.operation == 'UPDATE' ? oldObject.metadata.?labels[?'{TENANT}'].orValue('') : ''"),
            ),
        ],
        rules: vec![
            Rule::cel(
                "variables.old == '' || variables.new == variables.old",
                format!(
                    "'the label {TENANT} is immutable: identities and journals of tenant ' + variables.old \
                     + ' depend on it'"
                ),
            ),
            Rule::text(
                "variables.new.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
                format!(
                    "the label {TENANT} must consist of lower case alphanumeric characters or '-', and start and end with one of the former"
                ),
            ),
            Rule::text(
                "object.metadata.labels[?'pod-security.kubernetes.io/enforce'].orValue('') == 'restricted'",
                "a tenant's namespace must have the label pod-security.kubernetes.io/enforce=restricted",
            ),
        ],
        fast_path: false,
    }
}
