//! What the pods that execute runbooks may be, and who may make them. The rules stand on the Job, so that the operator is
//! told at once, and on the pod, whoever made it.

use ntro_crds::labels::{CA_CONFIG_MAP, RUNNER_SERVICE_ACCOUNT};

use super::PolicyValues;
use super::policy_builder::{PolicyBuilder, Rule, resources};

pub(super) fn jobs(values: &PolicyValues) -> PolicyBuilder {
    let operator = values.operator();
    let mut rules = vec![
        Rule::text(
            format!("request.userInfo.username == '{operator}'"),
            format!("only the operator may create Jobs with service account {RUNNER_SERVICE_ACCOUNT}"),
        ),
        Rule::text(
            "object.metadata.?ownerReferences.orValue([]).exists(owner, owner.kind == 'WorkflowRun' && \
             owner.apiVersion.startsWith('ntro.dev/') && owner.?controller.orValue(false))",
            "the operator's Jobs must be controlled by a WorkflowRun",
        ),
        Rule::text(
            "object.spec.?backoffLimit.orValue(6) == 0 && object.spec.?parallelism.orValue(1) == 1 && \
             object.spec.?completions.orValue(1) == 1",
            "the operator's Jobs must set backoffLimit 0, parallelism 1 and completions 1",
        ),
    ];
    rules.extend(shape("true"));
    PolicyBuilder {
        name: "jobs",
        resources: vec![resources("batch", "v1", &["CREATE"], &["jobs"])],
        conditions: vec![
            ("scope", values.in_scope.clone()),
            (
                "ours",
                format!(
                    "request.userInfo.username == '{operator}' || \
                     object.spec.template.spec.?serviceAccountName.orValue('') == '{RUNNER_SERVICE_ACCOUNT}'"
                ),
            ),
        ],
        variables: vec![
            ("pod", "object.spec.template.spec".to_owned()),
            ("labels", "object.spec.template.?metadata.?labels.orValue({})".to_owned()),
        ],
        rules,
        fast_path: true,
    }
}

pub(super) fn pods(values: &PolicyValues) -> PolicyBuilder {
    // An update is judged by what it can change, so that a pod made under older rules can still end in order.
    let created = "request.operation == 'CREATE'";
    let mut rules = vec![
        Rule::text(
            format!(
                "!({created}) || (request.userInfo.username in ['system:serviceaccount:kube-system:job-controller', \
                 'system:kube-controller-manager'] && object.metadata.?ownerReferences.orValue([]).exists(owner, \
                 owner.kind == 'Job' && owner.apiVersion.startsWith('batch/') && owner.?controller.orValue(false)))"
            ),
            format!("only the operator's Jobs may create pods with service account {RUNNER_SERVICE_ACCOUNT}"),
        ),
        Rule::text(
            "!has(object.spec.ephemeralContainers)",
            "ephemeral containers are not allowed in run pods, which hold the run's identity and data",
        ),
    ];
    rules.extend(shape(created));
    PolicyBuilder {
        name: "pods",
        resources: vec![
            resources("", "v1", &["CREATE", "UPDATE"], &["pods"]),
            resources("", "v1", &["UPDATE"], &["pods/ephemeralcontainers"]),
        ],
        conditions: vec![
            ("scope", values.in_scope.clone()),
            ("runner", format!("object.spec.?serviceAccountName.orValue('') == '{RUNNER_SERVICE_ACCOUNT}'")),
        ],
        variables: vec![
            ("pod", "object.spec".to_owned()),
            ("labels", "object.metadata.?labels.orValue({})".to_owned()),
        ],
        rules,
        fast_path: true,
    }
}

/// The rules of the variables `pod` and `labels`. Those about the spec, which never changes, hold `when` only.
fn shape(when: &str) -> Vec<Rule> {
    let of_spec = [identity(), content(), vec![isolation(), restriction()]].into_iter().flatten();
    let mut rules: Vec<_> = of_spec.map(|rule| rule.only_when(when)).collect();
    rules.push(labels());
    rules
}

/// Who the pod is, and what it is given.
fn identity() -> Vec<Rule> {
    let ca = format!("source.configMap.?name.orValue('') == '{CA_CONFIG_MAP}'");
    vec![
        Rule::text(
            format!(
                "variables.pod.?serviceAccountName.orValue('') == '{RUNNER_SERVICE_ACCOUNT}' && \
                 variables.pod.?automountServiceAccountToken.orValue(true) == false"
            ),
            "run pods must use service account ntro-runner and set automountServiceAccountToken: false",
        ),
        Rule::text(
            format!(
                "variables.pod.?volumes.orValue([]).all(source, has(source.emptyDir) || (has(source.configMap) && {ca}) || \
                 (has(source.secret) && source.secret.?secretName.orValue('').startsWith('ntro-run-')) || \
                 (has(source.projected) && source.projected.?sources.orValue([]).all(source, \
                 (has(source.serviceAccountToken) && source.serviceAccountToken.?audience.orValue('') == 'ntro.' + request.namespace) || \
                 (has(source.configMap) && {ca}))))"
            ),
            "run pods may mount only emptyDir volumes, the operator's CA, their own token and Secrets named ntro-run-*",
        ),
    ]
}

/// What the pod executes.
fn content() -> Vec<Rule> {
    vec![
        Rule::text(
            "size(variables.pod.containers) == 1 && size(variables.pod.?initContainers.orValue([])) == 0",
            "run pods must have exactly one container",
        ),
        Rule::text(
            "variables.pod.containers.all(c, c.?image.orValue('').matches('@sha256:[0-9a-f]{64}$'))",
            "the image of a run pod must be pinned by digest (repository@sha256:…)",
        ),
        Rule::text(
            "variables.pod.containers.all(c, size(c.?envFrom.orValue([])) == 0 && \
             c.?env.orValue([]).all(e, !has(e.valueFrom) || has(e.valueFrom.fieldRef)))",
            "the environment of run pods must not reference Secrets or ConfigMaps",
        ),
    ]
}

/// What the pod shares with its node: nothing.
fn isolation() -> Rule {
    Rule::text(
        "!variables.pod.?hostNetwork.orValue(false) && !variables.pod.?hostPID.orValue(false) && \
         !variables.pod.?hostIPC.orValue(false) && !variables.pod.?shareProcessNamespace.orValue(false) && \
         variables.pod.?enableServiceLinks.orValue(true) == false && variables.pod.?restartPolicy.orValue('') == 'Never' && \
         variables.pod.containers.all(c, size(c.?ports.orValue([])) == 0)",
        "run pods must not use host namespaces, a shared process namespace, ports or service links, and must set restartPolicy: Never",
    )
}

/// The restricted Pod Security Standard and a read-only root filesystem, on every container.
fn restriction() -> Rule {
    Rule::text(
        "variables.pod.containers.all(c, c.?securityContext.?allowPrivilegeEscalation.orValue(true) == false && \
         !c.?securityContext.?privileged.orValue(false) && c.?securityContext.?readOnlyRootFilesystem.orValue(false) && \
         c.?securityContext.?capabilities.?drop.orValue([]).exists(x, x == 'ALL') && \
         size(c.?securityContext.?capabilities.?add.orValue([])) == 0 && \
         c.?securityContext.?runAsNonRoot.orValue(variables.pod.?securityContext.?runAsNonRoot.orValue(false)) && \
         c.?securityContext.?seccompProfile.?type.orValue(variables.pod.?securityContext.?seccompProfile.?type.orValue('')) \
         == 'RuntimeDefault')",
        "containers of run pods must be restricted: not root, no privilege escalation, no capabilities, seccomp profile \
         RuntimeDefault, read-only root filesystem",
    )
}

/// Labels can change, so this rule always holds.
fn labels() -> Rule {
    Rule::text(
        format!(
            "variables.labels.all(key, key.startsWith('ntro.dev/') || key.startsWith('labels.ntro.dev/') || \
             key.startsWith('kueue.x-k8s.io/') || \
             key.startsWith('batch.kubernetes.io/') || key.startsWith('topology.kubernetes.io/') || \
             key in ['controller-uid', 'job-name'] || \
             (key == 'app.kubernetes.io/managed-by' && variables.labels[key] == 'ntro') || \
             (key == 'app.kubernetes.io/name' && variables.labels[key] == '{RUNNER_SERVICE_ACCOUNT}'))"
        ),
        "run pods may have labels of ntro.dev and labels.ntro.dev only, so that no Service selects them",
    )
}
