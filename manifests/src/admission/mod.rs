//! The admission policies approvals and isolation rest on: who may write what, said where the API server itself judges it.
//!
//! One source for two users: the chart `ntro` installs what [`policies`] says, and the operator compares what it finds in
//! the cluster with the same, every field spelled as the API server stores it.

mod pods;
mod runs;
mod tenants;
mod user_actions;
mod writes;

use serde_json::{Value, json};

/// Service account of the operator, in the namespace it runs in.
pub const OPERATOR_SERVICE_ACCOUNT: &str = "ntro";

const USER_ACTIONS: &str = "user-actions";

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
    pub scope: Scope,
    /// Whether who holds all rights by a wildcard may decide gates.
    pub admins_may_decide: bool,
}

/// Where an installation's policies hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
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
    let namespace = &install.namespace;
    let values = match install.scope {
        Scope::Cluster => TemplateValues {
            prefix: "ntro".to_owned(),
            operator_namespace: namespace.clone(),
            in_scope: "true".to_owned(),
            namespace_in_scope: "true".to_owned(),
            admins_may_decide: install.admins_may_decide.to_string(),
        },
        Scope::Namespace => TemplateValues {
            prefix: format!("ntro-{namespace}"),
            operator_namespace: namespace.clone(),
            in_scope: format!("request.namespace == '{namespace}'"),
            namespace_in_scope: format!("object.metadata.name == '{namespace}'"),
            admins_may_decide: install.admins_may_decide.to_string(),
        },
    };
    build(&values)
}

/// The texts an installation puts into the policies. With Helm expressions in their place, what comes out is a template.
#[derive(Clone, Debug)]
pub struct TemplateValues {
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

/// The policy of user actions in this installation: while it is in force, the API server proves who acts.
pub fn user_actions_policy(install: &Install) -> Option<Policy> {
    policies(install)
        .into_iter()
        .find(|policy| policy.name.strip_suffix(USER_ACTIONS).is_some_and(|rest| rest.ends_with('-')))
}

/// All policies with the given values.
pub fn build(values: &TemplateValues) -> Vec<Policy> {
    [
        user_actions::user_actions(values),
        runs::runs(values),
        runs::gate_policies(values),
        writes::writes(values),
        pods::jobs(values),
        pods::pods(values),
        tenants::tenants(values),
    ]
    .into_iter()
    .map(|policy| policy.build(values))
    .collect()
}

impl TemplateValues {
    fn operator(&self) -> String {
        operator_user(&self.operator_namespace)
    }
}

/// A policy without what all have in common.
struct PolicyBuilder {
    name: &'static str,
    resources: Vec<Value>,
    /// CEL, by name: all must hold for the policy to apply.
    conditions: Vec<(&'static str, String)>,
    /// CEL, by name.
    variables: Vec<(&'static str, String)>,
    rules: Vec<Rule>,
    /// What keeps all rules is let through by a condition: see [`PolicyBuilder::out_of_order`].
    fast_path: bool,
}

/// CEL that must hold, else the request is refused with a message.
struct Rule {
    expression: String,
    message: Message,
}

enum Message {
    Text(String),
    /// CEL that gives the text.
    Cel(String),
}

impl Rule {
    fn text(expression: impl Into<String>, message: impl Into<String>) -> Self {
        Self { expression: expression.into(), message: Message::Text(message.into()) }
    }

    fn cel(expression: impl Into<String>, message: impl Into<String>) -> Self {
        Self { expression: expression.into(), message: Message::Cel(message.into()) }
    }

    /// The rule where `condition` (CEL) holds, and nothing elsewhere.
    fn only_when(self, condition: &str) -> Self {
        if condition == "true" {
            return self;
        }
        Self { expression: format!("!({condition}) || ({})", self.expression), ..self }
    }

    fn render(self) -> Value {
        // Forbidden, not Invalid: these rules are about who, and clients tell the two apart.
        let mut rule = json!({ "expression": self.expression, "reason": "Forbidden" });
        let (key, message) = match self.message {
            Message::Text(text) => ("message", text),
            Message::Cel(cel) => ("messageExpression", cel),
        };
        rule[key] = Value::String(message);
        rule
    }
}

/// What a policy applies to.
fn resources(group: &str, version: &str, operations: &[&str], resources: &[&str]) -> Value {
    json!({
        "apiGroups": [group], "apiVersions": [version], "operations": operations, "resources": resources, "scope": "*"
    })
}

impl PolicyBuilder {
    /// CEL: a rule is broken. As a condition of the policy it spares the API server the conversions of the object that
    /// precede rules and messages, which cost more than the rules: a third of the time of creating a Job.
    fn out_of_order(&self) -> String {
        let all: Vec<_> = self.rules.iter().map(|rule| format!("({})", rule.expression)).collect();
        // Conditions have no variables, so the text of each is put in. The last one goes first, as it may use those before it.
        let broken = format!("!({})", all.join(" && "));
        self.variables.iter().rev().fold(broken, |cel, (name, value)| inline(&cel, name, value))
    }

    fn build(mut self, values: &TemplateValues) -> Policy {
        if self.fast_path {
            self.conditions.push(("not-in-order", self.out_of_order()));
        }
        let name = format!("{}-{}", values.prefix, self.name);
        let named = |list: Vec<(&str, String)>| -> Vec<Value> {
            list.into_iter().map(|(name, cel)| json!({ "name": name, "expression": cel })).collect()
        };
        let mut spec = json!({
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "resourceRules": self.resources,
            },
            "matchConditions": named(self.conditions),
            "validations": self.rules.into_iter().map(Rule::render).collect::<Vec<_>>(),
        });
        if !self.variables.is_empty() {
            spec["variables"] = Value::Array(named(self.variables));
        }
        let labels = json!({ "app.kubernetes.io/part-of": "ntro" });
        let object = |kind: &str, spec: Value| {
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": kind,
                "metadata": { "name": name, "labels": labels },
                "spec": spec,
            })
        };
        Policy {
            policy: object("ValidatingAdmissionPolicy", spec),
            binding: object(
                "ValidatingAdmissionPolicyBinding",
                json!({ "policyName": name, "validationActions": ["Deny"] }),
            ),
            name,
        }
    }
}

/// Puts the value where `cel` uses the variable, and leaves alone one whose name is longer.
fn inline(cel: &str, name: &str, value: &str) -> String {
    let variable = format!("variables.{name}");
    let mut text = String::new();
    let mut rest = cel;
    while let Some((before, after)) = rest.split_once(&variable) {
        text.push_str(before);
        if after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            text.push_str(&variable);
        } else {
            text.extend(["(", value, ")"]);
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn install(scope: Scope) -> Install {
        Install { namespace: "acme".to_owned(), scope, admins_may_decide: false }
    }

    #[test]
    fn two_installations_never_share_a_policy() {
        let cluster = policies(&install(Scope::Cluster));
        let own = policies(&install(Scope::Namespace));
        let names: HashSet<_> = cluster.iter().chain(&own).map(|policy| policy.name.clone()).collect();
        assert_eq!(names.len(), cluster.len() + own.len());
    }

    #[test]
    fn every_policy_fails_closed_and_denies() {
        for policy in policies(&install(Scope::Cluster)) {
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
        let all = policies(&install(Scope::Cluster));
        let found: Vec<_> = all.iter().filter_map(early).collect();
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|cel| cel.starts_with("!((") && !cel.contains("variables.")), "{found:#?}");
    }

    #[test]
    fn a_condition_has_the_variables_of_its_rules_put_in() {
        let builder = PolicyBuilder {
            name: "any",
            resources: Vec::new(),
            conditions: Vec::new(),
            variables: vec![("pod", "object.spec".to_owned()), ("ports", "variables.pod.ports".to_owned())],
            rules: vec![Rule::text("size(variables.ports) == 0", "no port"), Rule::text("variables.pods", "longer")],
            fast_path: true,
        };
        assert_eq!(builder.out_of_order(), "!((size(((object.spec).ports)) == 0) && (variables.pods))");
    }

    #[test]
    fn a_namespaced_installation_binds_nobody_else() {
        for policy in policies(&install(Scope::Namespace)) {
            let condition = policy.policy["spec"]["matchConditions"][0]["expression"].as_str().unwrap();
            assert!(condition.contains("== 'acme'"), "{}: {condition}", policy.name);
        }
    }
}
