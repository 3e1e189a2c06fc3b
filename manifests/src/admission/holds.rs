//! Who may hold runs, so that nothing of them is purged, and lift that. Holds on a whole tenant, and how long it keeps its runs,
//! are annotations of its namespace: who may write that administers the tenant.

use ntro_crds::labels::HOLD;

use super::PolicyValues;
use super::policy_builder::{PolicyBuilder, Rule, resources};
use super::writes::CLEANERS;

pub(super) fn holds(values: &PolicyValues) -> PolicyBuilder {
    let operator = values.operator();
    let hold = |object: &str| format!("{object}.metadata.?annotations[?'{HOLD}']");
    let (new, old) = (hold("object"), hold("oldObject"));
    let changed = format!("{new}.hasValue() != {old}.hasValue() || {new}.orValue('') != {old}.orValue('')");
    PolicyBuilder {
        name: "holds",
        resources: vec![resources("ntro.dev", "*", &["CREATE", "UPDATE", "DELETE"], &["workflowruns"])],
        conditions: vec![
            ("scope", values.in_scope.clone()),
            (
                "hold",
                format!(
                    "request.operation == 'CREATE' ? {new}.hasValue() \
                     : request.operation == 'DELETE' ? {old}.hasValue() : ({changed})"
                ),
            ),
            // A namespace that is deleted takes its runs with it; the journals stay, and with them what was held.
            (
                "not-the-cluster-itself",
                format!(
                    "request.operation != 'DELETE' || \
                     !(request.userInfo.username == '{operator}' || request.userInfo.username in {CLEANERS})"
                ),
            ),
        ],
        variables: Vec::new(),
        rules: vec![Rule::cel(
            "authorizer.group('ntro.dev').resource('workflowruns').namespace(request.namespace)\
             .name(request.?name.orValue('')).check('hold').allowed()",
            format!(
                "request.userInfo.username + ' may not ' + (request.operation == 'DELETE' ? 'delete a run that is held' \
                 : 'set, change or lift the hold of a run') + ' (annotation {HOLD}): bind a role with the verb hold on \
                 workflowruns.ntro.dev in namespace ' + request.namespace"
            ),
        )],
        fast_path: false,
    }
}
