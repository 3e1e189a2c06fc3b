//! The admission policies approvals and isolation rest on: who may write what, said where the API server itself judges it.
//!
//! One source for two users: the chart `ntro` installs what [`policies`] says, and the operator compares what it finds in
//! the cluster with the same, every field spelled as the API server stores it.

mod holds;
mod pods;
mod policy_builder;
mod runs;
mod tenants;
mod user_actions;
mod writes;

use serde_json::Value;

/// Service account of the operator, in the namespace it runs in.
pub const OPERATOR_SERVICE_ACCOUNT: &str = "ntro";

/// Name of the operator as the API server knows it, if it runs in this namespace.
pub fn operator_user(namespace: &str) -> String {
    format!("system:serviceaccount:{namespace}:{OPERATOR_SERVICE_ACCOUNT}")
}

/// What of an installation the policies depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// Namespace the operator runs in.
    pub namespace: String,
    /// Where the policies hold.
    pub scope: PolicyScope,
    /// Whether who holds all rights by a wildcard may decide gates.
    pub admins_may_decide: bool,
}

/// Where an installation's policies hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyScope {
    /// In every namespace of the cluster.
    Cluster,
    /// In the operator's own namespace only.
    Namespace,
}

/// A `ValidatingAdmissionPolicy` and its binding, as objects to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Name of both.
    pub name: String,
    /// The policy.
    pub policy: Value,
    /// Its binding.
    pub binding: Value,
}

/// All policies of an installation.
pub fn policies(install: &Install) -> Vec<Policy> {
    build(&PolicyValues::from(install))
}

/// The policy of user actions in this installation: while it is in force, the API server proves who acts.
pub fn user_actions_policy(install: &Install) -> Policy {
    let values = PolicyValues::from(install);
    user_actions::user_actions(&values).build(&values)
}

/// The texts an installation puts into the policies. With Helm expressions in their place, what comes out is a template.
#[derive(Clone, Debug)]
pub struct PolicyValues {
    /// What the policies' names begin with.
    pub prefix: String,
    /// Namespace the operator runs in.
    pub operator_namespace: String,
    /// CEL: the request is for a namespace the policies hold in.
    pub in_scope: String,
    /// CEL: the same for a request for a Namespace.
    pub namespace_in_scope: String,
    /// CEL: who holds all rights by a wildcard may decide gates.
    pub admins_may_decide: String,
}

/// All policies with the given values.
pub fn build(values: &PolicyValues) -> Vec<Policy> {
    [
        user_actions::user_actions(values),
        runs::runs(values),
        runs::gate_policies(values),
        writes::writes(values),
        holds::holds(values),
        pods::jobs(values),
        pods::pods(values),
        tenants::tenants(values),
    ]
    .into_iter()
    .map(|policy| policy.build(values))
    .collect()
}

impl From<&Install> for PolicyValues {
    fn from(install: &Install) -> Self {
        let namespace = &install.namespace;
        let (prefix, in_scope, namespace_in_scope) = match install.scope {
            PolicyScope::Cluster => ("ntro".to_owned(), "true".to_owned(), "true".to_owned()),
            PolicyScope::Namespace => (
                format!("ntro-{namespace}"),
                format!("request.namespace == '{namespace}'"),
                format!("object.metadata.name == '{namespace}'"),
            ),
        };
        Self {
            prefix,
            operator_namespace: namespace.clone(),
            in_scope,
            namespace_in_scope,
            admins_may_decide: install.admins_may_decide.to_string(),
        }
    }
}

impl PolicyValues {
    fn operator(&self) -> String {
        operator_user(&self.operator_namespace)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    fn install(scope: PolicyScope) -> Install {
        Install { namespace: "acme".to_owned(), scope, admins_may_decide: false }
    }

    #[test]
    fn two_installations_never_share_a_policy() {
        let cluster = policies(&install(PolicyScope::Cluster));
        let own = policies(&install(PolicyScope::Namespace));
        let names: HashSet<_> = cluster.iter().chain(&own).map(|policy| policy.name.clone()).collect();
        assert_eq!(names.len(), cluster.len() + own.len());
    }

    #[test]
    fn every_policy_fails_closed_and_denies() {
        for policy in policies(&install(PolicyScope::Cluster)) {
            assert_eq!(policy.policy["spec"]["failurePolicy"], "Fail", "{}", policy.name);
            assert_eq!(policy.binding["spec"]["validationActions"], json!(["Deny"]), "{}", policy.name);
            assert_eq!(policy.binding["spec"]["policyName"], Value::String(policy.name.clone()));
        }
    }

    #[test]
    fn what_keeps_all_rules_is_let_through_by_a_condition_that_needs_no_variables() {
        let early = |policy: &Policy| {
            let conditions = policy.policy["spec"]["matchConditions"].as_array().unwrap().clone();
            let condition = conditions.into_iter().find(|condition| condition["name"] == "not-in-order")?;
            Some(condition["expression"].as_str().unwrap().to_owned())
        };
        let all = policies(&install(PolicyScope::Cluster));
        let found: Vec<_> = all.iter().filter_map(early).collect();
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|cel| cel.starts_with("!((") && !cel.contains("variables.")), "{found:#?}");
    }

    #[test]
    fn the_policy_of_user_actions_is_the_one_that_is_installed() {
        for scope in [PolicyScope::Cluster, PolicyScope::Namespace] {
            let policy = user_actions_policy(&install(scope));
            assert!(policies(&install(scope)).contains(&policy), "{}", policy.name);
        }
    }

    #[test]
    fn a_namespaced_installation_binds_nobody_else() {
        for policy in policies(&install(PolicyScope::Namespace)) {
            let condition = policy.policy["spec"]["matchConditions"][0]["expression"].as_str().unwrap();
            assert!(condition.contains("== 'acme'"), "{}: {condition}", policy.name);
        }
    }
}
