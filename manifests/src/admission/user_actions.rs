//! Who may create which `UserAction`.

use ntro_crds::labels::CANARY_VERB;

use super::PolicyValues;
use super::policy_builder::{PolicyBuilder, Rule, resources};

pub(super) fn user_actions(values: &PolicyValues) -> PolicyBuilder {
    let check = |verb: &str| {
        format!(
            "authorizer.group('ntro.dev').resource(variables.resource).namespace(request.namespace)\
             .name(variables.name).check({verb}).allowed()"
        )
    };
    PolicyBuilder {
        name: "user-actions",
        resources: vec![resources("ntro.dev", "*", &["CREATE"], &["useractions"])],
        conditions: vec![("scope", values.in_scope.clone())],
        variables: vec![
            ("user", "request.userInfo.username".to_owned()),
            ("decides", "object.spec.verb in ['approve', 'reject', 'correct', 'submit']".to_owned()),
            ("personal", "variables.decides || object.spec.verb == 'view'".to_owned()),
            ("resource", "variables.decides ? 'gates' : 'workflowruns'".to_owned()),
            ("name", "variables.decides ? object.spec.gate.class : object.spec.workflow".to_owned()),
            ("verb", "variables.decides ? 'approve' : object.spec.verb".to_owned()),
            (
                "role",
                "variables.decides ? 'ntro-approver' : object.spec.verb == 'view' ? 'ntro-viewer' : 'ntro-runner'"
                    .to_owned(),
            ),
            ("adminsMayDecide", values.admins_may_decide.clone()),
        ],
        rules: vec![
            Rule::cel(
                "object.spec.actor == variables.user",
                "'spec.actor must be the requesting user ' + variables.user",
            ),
            Rule::text(
                "object.spec.?groups.orValue([]).all(group, group in request.userInfo.?groups.orValue([]))",
                "spec.groups must be groups of the requesting user",
            ),
            Rule::cel(
                "!variables.personal || !variables.user.startsWith('system:')",
                "variables.user + ' is a system user: only people may decide gates and read what runs hold'",
            ),
            Rule::cel(
                check("variables.verb"),
                "variables.user + ' may not ' + object.spec.verb + ': bind Role ' + variables.role + ' in namespace ' \
                 + request.namespace + ', or a role with the verb ' + variables.verb + ' on ' + variables.resource \
                 + '.ntro.dev, resource name ' + variables.name",
            ),
            Rule::cel(
                format!("!variables.personal || variables.adminsMayDecide || !{}", check(&format!("'{CANARY_VERB}'"))),
                "variables.user + ' has wildcard permissions, which do not authorize anyone to ' + object.spec.verb \
                 + ': bind Role ' + variables.role + ' in namespace ' + request.namespace + ' to a user without \
                 wildcards; where everyone is an administrator, for example on an evaluation cluster, install the chart \
                 ntro with adminsMayDecide=true'",
            ),
            // Either would have the user action deleted before it was evaluated, or kept for ever.
            Rule::text(
                "!has(object.metadata.ownerReferences) && !has(object.metadata.finalizers)",
                "a UserAction must not have owner references or finalizers",
            ),
        ],
        fast_path: false,
    }
}
