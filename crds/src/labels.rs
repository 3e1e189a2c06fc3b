//! Labels, annotations and field managers. What is written here is API: others select by it.

/// Namespace label: the slug of the tenant the namespace belongs to.
pub const TENANT: &str = "ntro.dev/tenant";
/// Namespace annotation: where `ntro` pushes the tenant's runbooks, as `<host>/<path>`.
pub const REGISTRY: &str = "ntro.dev/registry";
/// Namespace annotation: how long a run's journal, and all else of it, is kept after its end, in days, as `365d`.
pub const RETENTION_JOURNAL: &str = "ntro.dev/retention-journal";
/// Namespace annotation: how long a run's log is kept after its end, in days, as `30d`.
pub const RETENTION_LOGS: &str = "ntro.dev/retention-logs";
/// Namespace annotation: how much the journal of a run may have, blobs aside, as `64Mi`. At most the operator's bound, which
/// counts where nothing is said; so for the other limits.
pub const LIMITS_RUN_JOURNAL: &str = "ntro.dev/limits-run-journal";
/// Namespace annotation: how much the blobs of a run may have, as `1Gi`.
pub const LIMITS_RUN_BLOBS: &str = "ntro.dev/limits-run-blobs";
/// Namespace annotation: how much the log of a run may have, as `64Mi`.
pub const LIMITS_RUN_LOG: &str = "ntro.dev/limits-run-log";
/// Namespace annotation: how much the tenant may keep, everything together, as `5Gi`.
pub const LIMITS_TENANT: &str = "ntro.dev/limits-tenant";
/// Annotation of runs, and of a tenant's namespace for all of its runs: nothing of them is purged while it is there. It says why.
pub const HOLD: &str = "ntro.dev/hold";

/// Label of runs, Jobs, pods and gates: name of the Workflow.
pub const WORKFLOW: &str = "ntro.dev/workflow";
/// Label of runs: UID of the Workflow that made them. Tells our run from a foreign one of the same name.
pub const WORKFLOW_UID: &str = "ntro.dev/workflow-uid";
/// Label of Jobs, pods, gates and user actions: name of the run.
pub const RUN: &str = "ntro.dev/run";
/// Label of runs, Jobs, pods and gates: UUID of the run.
pub const RUN_ID: &str = "ntro.dev/run-id";
/// Label of Jobs and pods: number of the segment.
pub const SEGMENT: &str = "ntro.dev/segment";
/// Annotation of runs: the scheduled slot, RFC 3339 in UTC.
pub const SCHEDULED_AT: &str = "ntro.dev/scheduled-at";
/// Annotation of runs: the object was created before its slot. Until the slot is due there is no more to the run than this object.
pub const PRECREATED: &str = "ntro.dev/precreated";
/// Annotation of runs: the slot waited for its turn, so that the run starts late by the rules of its Workflow.
pub const WAITED: &str = "ntro.dev/waited";
/// Annotation of Jobs: hash of the template they were made from; decides about adoption.
pub const TEMPLATE_HASH: &str = "ntro.dev/template-hash";

/// Annotation a person sets on a Runbook or Workflow to have it reconciled now; any new value counts.
pub const RECONCILE_REQUESTED_AT: &str = "reconcile.ntro.dev/requestedAt";
/// Under this prefix, and only there, users may put labels of their own on the pods of their runs.
pub const USER_LABEL_PREFIX: &str = "labels.ntro.dev/";
/// Labels of Kueue, by which a Job is put into a queue, are passed on as well.
pub const KUEUE_LABEL_PREFIX: &str = "kueue.x-k8s.io/";
/// The queue of a Job. A Job with it starts suspended until its queue admits it.
pub const KUEUE_QUEUE_NAME: &str = "kueue.x-k8s.io/queue-name";

/// Label `app.kubernetes.io/managed-by` of everything the operator creates.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub const MANAGED_BY_OPERATOR: &str = "ntro";

/// Field manager of the operator, for all it applies.
pub const OPERATOR_FIELD_MANAGER: &str = "ntro-operator";
/// Field manager of the command line.
pub const CLI_FIELD_MANAGER: &str = "ntro-cli";

/// ServiceAccount of runner pods in a tenant namespace.
pub const RUNNER_SERVICE_ACCOUNT: &str = "ntro-runner";
/// ConfigMap in every tenant namespace that holds the operator's CA bundle.
pub const CA_CONFIG_MAP: &str = "ntro-ca";
/// Key in [`CA_CONFIG_MAP`].
pub const CA_KEY: &str = "ca.crt";
/// Verb nobody is meant to hold by name; who holds it does so by a wildcard.
pub const CANARY_VERB: &str = "ntro-canary";

/// Audience of the tokens with which runner pods of a namespace identify themselves.
pub fn audience(namespace: &str) -> String {
    format!("ntro.{namespace}")
}
