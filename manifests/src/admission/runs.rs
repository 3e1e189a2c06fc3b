//! Who may start runs, and who a gate policy's author is.

use super::PolicyValues;
use super::policy_builder::{PolicyBuilder, Rule, resources};

pub(super) fn runs(values: &PolicyValues) -> PolicyBuilder {
    let operator = values.operator();
    PolicyBuilder {
        name: "runs",
        resources: vec![resources("ntro.dev", "*", &["CREATE"], &["workflowruns"])],
        conditions: vec![
            ("scope", values.in_scope.clone()),
            ("not-the-operator", format!("request.userInfo.username != '{operator}'")),
        ],
        variables: vec![
            ("request", "object.spec.request".to_owned()),
            (
                "slotName",
                // 2026-11-05T08:00:00Z is written 20261105t0800z.
                "variables.request.workflowRef.name + '-' + (has(variables.request.trigger.scheduledTime) ? \
                 string(timestamp(variables.request.trigger.scheduledTime)).replace('-', '').replace(':', '').lowerAscii()\
                 .substring(0, 13) + 'z' : '')"
                    .to_owned(),
            ),
        ],
        rules: vec![
            Rule::text(
                "variables.request.trigger.kind in ['Manual', 'Backfill']",
                "only the operator may create runs with trigger.kind Schedule or Child; use Manual",
            ),
            // A slot has one name, so that it gives one run whoever asks for it.
            Rule::text(
                "variables.request.trigger.kind == 'Backfill' || !object.metadata.name.matches('-[0-9]{8}t[0-9]{4}z$')",
                "name suffix -<yyyymmdd>t<hhmm>z is reserved for runs of slots: choose another, or use ntro workflow backfill",
            ),
            Rule::cel(
                "variables.request.trigger.kind != 'Backfill' || object.metadata.name == variables.slotName",
                "'the run of a slot must be named ' + variables.slotName",
            ),
            Rule::cel(
                "variables.request.trigger.initiator == request.userInfo.username",
                "'trigger.initiator must be the requesting user ' + request.userInfo.username",
            ),
            Rule::cel(
                "authorizer.group('ntro.dev').resource('workflows').namespace(request.namespace)\
                 .name(variables.request.workflowRef.name).check('run').allowed()",
                "request.userInfo.username + ' may not start runs of ' + variables.request.workflowRef.name \
                 + ': bind Role ntro-runner in namespace ' + request.namespace \
                 + ', or a role with the verb run on workflows.ntro.dev, resource name ' + variables.request.workflowRef.name",
            ),
        ],
        fast_path: false,
    }
}

pub(super) fn gate_policies(values: &PolicyValues) -> PolicyBuilder {
    PolicyBuilder {
        name: "gate-policies",
        resources: vec![resources("ntro.dev", "*", &["CREATE", "UPDATE"], &["workflows"])],
        conditions: vec![("scope", values.in_scope.clone())],
        variables: vec![
            ("had", "request.operation == 'UPDATE' && has(oldObject.spec.gatePolicy)".to_owned()),
            ("has", "has(object.spec.gatePolicy)".to_owned()),
        ],
        rules: vec![
            Rule::text(
                "!variables.had || variables.has",
                "spec.gatePolicy cannot be removed once set; to lift its restrictions, set it to your name as author and \
                 nothing else",
            ),
            Rule::cel(
                "!variables.has || (variables.had && object.spec.gatePolicy == oldObject.spec.gatePolicy) \
                 || object.spec.gatePolicy.author == request.userInfo.username",
                "'gatePolicy.author must be the requesting user ' + request.userInfo.username",
            ),
        ],
        fast_path: true,
    }
}
