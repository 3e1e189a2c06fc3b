//! `WorkflowRun`: one execution.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::GatePolicy;
use crate::runbook::{DeclaredActivity, LocalRef};
use crate::schema::{self, Object};
use crate::workflow::RunTemplate;

/// One execution of a workflow.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "ntro.dev",
    version = "v1alpha1",
    kind = "WorkflowRun",
    namespaced,
    status = "WorkflowRunStatus",
    derive = "PartialEq",
    shortname = "nrun",
    category = "ntro",
    category = "all",
    doc = "One execution of a workflow. The spec is the request, wholly immutable; the status is what the run's journal says. Deleting a run does not cancel it: create a UserAction with verb cancel, or use `ntro run cancel`.",
    selectable = ".spec.request.workflowRef.name",
    selectable = ".status.phase",
    validation = Rule::new("self.spec == oldSelf.spec").message("the request of a run is immutable: create another run"),
    validation = Rule::new("self.metadata.name.startsWith(self.spec.request.workflowRef.name + '-') && self.metadata.name.substring(size(self.spec.request.workflowRef.name) + 1).matches('^[a-z0-9]{1,15}$')").message("the name of a run is <workflow>-<suffix>, the suffix being 1 to 15 lower-case letters or digits"),
    validation = Rule::new("!has(oldSelf.status) || has(self.status)").message("the status cannot be removed"),
    printcolumn(name = "Workflow", type_ = "string", json_path = ".spec.request.workflowRef.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Segment", type_ = "integer", json_path = ".status.segment", description = "Number of Jobs so far"),
    printcolumn(name = "Waiting", type_ = "string", json_path = ".status.waitingFor[*].step", description = "Steps whose gates wait for a person"),
    printcolumn(name = "Period", type_ = "string", json_path = ".spec.request.context.period"),
    printcolumn(name = "Trigger", type_ = "string", json_path = ".spec.request.trigger.kind", priority = 1),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.pin.runbook.version", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", priority = 1),
    printcolumn(name = "Run ID", type_ = "string", json_path = ".status.runId", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowRunSpec {
    /// What was requested, and by whom. Immutable.
    pub request: Request,
}

/// What was requested, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The workflow to run.
    pub workflow_ref: WorkflowRef,
    /// What the run is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<RunContext>,
    /// What started the run.
    pub trigger: Trigger,
}

/// A Workflow of this namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowRef {
    /// Name of the Workflow.
    #[schemars(length(min = 1, max = 30), regex(pattern = schema::SLUG))]
    pub name: String,
}

/// What the run is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunContext {
    /// The accounting period, for example `2026-10`, `2026-Q4`, `2026`. Its length is that of `spec.period` of the
    /// Workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = "^[0-9]{4}(-(Q[1-4]|(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?))?$")
    )]
    pub period: Option<String>,
}

/// What started a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("(self.kind in ['Schedule', 'Backfill']) == has(self.scheduledTime)", "scheduledTime belongs to the kinds Schedule and Backfill, and only to them"),
    validation = ("(self.kind == 'Child') == has(self.parent)", "parent belongs to the kind Child, and only to it")
)]
pub struct Trigger {
    /// `Manual` (a person), `Schedule`, `Backfill` (a past slot, requested by a person) or `Child`. Only the operator
    /// creates runs of the kinds Schedule and Child.
    pub kind: TriggerKind,
    /// Name of the user who started the run. Admission requires it to be the requesting user.
    #[schemars(length(min = 1, max = 253))]
    pub initiator: String,
    /// The slot of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<Time>,
    /// The run that started this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentRun>,
}

/// Kind of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TriggerKind {
    /// A person.
    Manual,
    /// The workflow's schedule.
    Schedule,
    /// A slot of the past, at a person's request.
    Backfill,
    /// Another run.
    Child,
}

impl TriggerKind {
    /// Every kind, in the order of the schema.
    pub const ALL: [Self; 4] = [Self::Manual, Self::Schedule, Self::Backfill, Self::Child];

    /// The word in objects and journals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "Manual",
            Self::Schedule => "Schedule",
            Self::Backfill => "Backfill",
            Self::Child => "Child",
        }
    }
}

impl TryFrom<&str> for TriggerKind {
    type Error = UnknownTrigger;

    fn try_from(word: &str) -> Result<Self, UnknownTrigger> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or(UnknownTrigger)
    }
}

/// A trigger that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTrigger;

/// The run that started a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentRun {
    /// Name of the WorkflowRun.
    #[schemars(length(max = 63))]
    pub run: String,
    /// UUID of that run.
    #[schemars(length(max = 36), regex(pattern = schema::UUID))]
    pub run_id: String,
}

/// State of a run in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RunPhase {
    /// No Job yet.
    Pending,
    /// The Job exists, but its pod has not attached yet.
    Queued,
    /// A pod executes the run.
    Running,
    /// The run waits for a person, a time or a signal; its pod exits after a short time.
    Waiting,
    /// Stopped until a person retries or cancels the run; `blocked` says why.
    Blocked,
    /// Finished successfully.
    Succeeded,
    /// Its code raised an error.
    Failed,
    /// Cancelled by a person.
    Cancelled,
}

impl RunPhase {
    /// Whether the run has finished for good.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// Observed state of the WorkflowRun: a projection of its journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(oldSelf.runId) || (has(self.runId) && self.runId == oldSelf.runId)", "runId is set once"),
    validation = ("!has(oldSelf.pin) || (has(self.pin) && self.pin == oldSelf.pin)", "pin is set once"),
    validation = ("!has(oldSelf.phase) || has(self.phase)", "phase cannot be removed"),
    validation = ("!has(oldSelf.phase) || !(oldSelf.phase in ['Succeeded', 'Failed', 'Cancelled']) || (has(self.phase) && self.phase == oldSelf.phase)", "a terminal phase never changes"),
    validation = ("!has(oldSelf.segment) || (has(self.segment) && self.segment >= oldSelf.segment)", "segment never decreases"),
    validation = ("!has(oldSelf.journal) || (has(self.journal) && self.journal.length >= oldSelf.journal.length)", "the journal's length never decreases")
)]
pub struct WorkflowRunStatus {
    /// The generation of the spec that this status was computed for; -1 until the first reconcile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// UUID of the run. Unique for ever, even if a name is used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36), regex(pattern = schema::UUID))]
    pub run_id: Option<String>,
    /// What the run was pinned to when it was admitted. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<RunPin>,
    /// `Pending`, `Queued`, `Running`, `Waiting`, `Blocked`, `Succeeded`, `Failed` or `Cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RunPhase>,
    /// Number of Jobs so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub segment: Option<i64>,
    /// The latest Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobRef>,
    /// The steps of the run, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub steps: Option<Vec<StepState>>,
    /// What a waiting run waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub waiting_for: Option<Vec<WaitingFor>>,
    /// Why the run is blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<BlockedRun>,
    /// Why the run failed: the class of the error, never its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub error_type: Option<String>,
    /// Number of segments lost since the last progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub attempts: Option<i64>,
    /// Length and head of the journal when they were last published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalHead>,
    /// Declared outputs that have been written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub outputs: Option<Vec<Output>>,
    /// When the run was admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the run reached a terminal phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Ready; Reconciling and Stalled are present only while True.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
}

/// What a run was pinned to when it was admitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunPin {
    /// The runbook's code.
    pub runbook: PinnedRunbook,
    /// UID of the Workflow.
    #[schemars(length(max = 64))]
    pub workflow_uid: String,
    /// Slug of the tenant.
    #[schemars(length(max = 63))]
    pub tenant: String,
    /// Slug of the entity.
    #[schemars(length(max = 63))]
    pub entity: String,
    /// Image of the runner, by digest.
    #[schemars(length(max = 512), regex(pattern = "@sha256:[0-9a-f]{64}$"))]
    pub image: String,
    /// Service account of the pods.
    #[schemars(length(max = 253))]
    pub service_account_name: String,
    /// Configuration with the schema's defaults merged in.
    #[schemars(schema_with = "schema::object")]
    pub config: Object,
    /// Who may decide the gates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_policy: Option<GatePolicy>,
    /// Template of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_template: Option<RunTemplate>,
    /// Secrets that activities may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub secret_refs: Option<Vec<LocalRef>>,
    /// The effects of activities, and the gates they require.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub activities: Option<Vec<DeclaredActivity>>,
    /// Names of the outputs that may appear in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 256)))]
    pub outputs: Option<Vec<String>>,
    /// Whether a run that is cancelled while it waits gets a pod, so that its code can handle the cancellation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handles_cancel: Option<bool>,
}

/// The version of a runbook that a run executes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PinnedRunbook {
    /// Name of the Runbook.
    #[schemars(length(max = 30))]
    pub name: String,
    /// Version.
    #[schemars(length(max = 128))]
    pub version: String,
    /// The manifest's digest.
    #[schemars(length(max = 71), regex(pattern = schema::DIGEST))]
    pub digest: String,
    /// The digest of the layer that holds the files.
    #[schemars(length(max = 71), regex(pattern = schema::DIGEST))]
    pub layer_digest: String,
    /// The repository it came from.
    #[schemars(length(max = 512))]
    pub repository: String,
}

/// A Job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobRef {
    /// Name of the Job.
    #[schemars(length(max = 63))]
    pub name: String,
    /// UID of the Job.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// Not started.
    Pending,
    /// In progress.
    Active,
    /// Done.
    Completed,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepState {
    /// Identifier of the step.
    #[schemars(length(max = 63))]
    pub id: String,
    /// Title, from `runbook.md`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub title: Option<String>,
    /// `pending`, `active` or `completed`.
    pub status: StepStatus,
}

/// What a waiting run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WaitKind {
    /// A person's decision.
    Gate,
    /// A time.
    Timer,
    /// A signal.
    Signal,
}

/// One thing a run waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingFor {
    /// `gate`, `timer` or `signal`.
    pub kind: WaitKind,
    /// The gate's step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub step: Option<String>,
    /// Name of the Gate, or of the signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub name: Option<String>,
    /// When the timer fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// Why a run is blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedRun {
    /// Code in CamelCase, for example `CodeError`, `Divergence`, `EffectUnknown`, `AlreadyRan`, `JournalBehind`.
    #[schemars(length(max = 63))]
    pub code: String,
    /// Location in the bundle, `<file>:<line>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub site: Option<String>,
    /// The activity concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub activity: Option<String>,
    /// Numbers of the effects with unknown outcome. A retry must name all of them in `repeatEffects`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(range(min = 0)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub repeat_effects: Option<Vec<i64>>,
}

/// Length and head of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JournalHead {
    /// Number of entries.
    #[schemars(range(min = 0))]
    pub length: i64,
    /// Keyed digest of the last entry's hash.
    #[schemars(length(max = 76), regex(pattern = schema::KEYED_DIGEST))]
    pub head: String,
}

/// An output of a run. The bytes are read with `ntro run output`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Name, as the runbook declares it.
    #[schemars(length(max = 256))]
    pub name: String,
    /// Number of bytes.
    #[schemars(range(min = 0))]
    pub size: i64,
    /// Digest keyed with the run secret.
    #[schemars(length(max = 76), regex(pattern = schema::KEYED_DIGEST))]
    pub digest: String,
}
