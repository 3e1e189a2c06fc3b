//! How a policy is put together: what differs between policies, and what all have in common.

use serde_json::{Value, json};

use super::{Policy, PolicyValues};

/// A policy without what all have in common.
pub(super) struct PolicyBuilder {
    pub(super) name: &'static str,
    pub(super) resources: Vec<Value>,
    /// CEL, by name: all must hold for the policy to apply.
    pub(super) conditions: Vec<(&'static str, String)>,
    /// CEL, by name.
    pub(super) variables: Vec<(&'static str, String)>,
    pub(super) rules: Vec<Rule>,
    /// What keeps all rules is let through by a condition: see [`PolicyBuilder::out_of_order`].
    pub(super) fast_path: bool,
}

/// CEL that must hold, else the request is refused with a message.
pub(super) struct Rule {
    expression: String,
    message: Message,
}

enum Message {
    Text(String),
    /// CEL that gives the text.
    Cel(String),
}

impl Rule {
    pub(super) fn text(expression: impl Into<String>, message: impl Into<String>) -> Self {
        Self { expression: expression.into(), message: Message::Text(message.into()) }
    }

    pub(super) fn cel(expression: impl Into<String>, message: impl Into<String>) -> Self {
        Self { expression: expression.into(), message: Message::Cel(message.into()) }
    }

    /// The rule where `condition` (CEL) holds, and nothing elsewhere.
    pub(super) fn only_when(self, condition: &str) -> Self {
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
pub(super) fn resources(group: &str, version: &str, operations: &[&str], resources: &[&str]) -> Value {
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

    pub(super) fn build(mut self, values: &PolicyValues) -> Policy {
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
    use super::*;

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
}
