//! `Workflow`: a runbook for an entity, optionally on a schedule.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::GatePolicy;
use crate::runbook::{LocalRef, Resolved};
use crate::schema::{self, Object};

/// A runbook bound to an entity of the tenant.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "ntro.dev",
    version = "v1alpha1",
    kind = "Workflow",
    namespaced,
    status = "WorkflowStatus",
    derive = "PartialEq",
    shortname = "nwf",
    category = "ntro",
    category = "all",
    doc = "A runbook bound to an entity of the tenant, optionally on a schedule. Each slot of the schedule, and each request of a person, gives one WorkflowRun.",
    selectable = ".spec.entity",
    selectable = ".spec.runbookRef.name",
    validation = Rule::new("size(self.metadata.name) <= 30").message("the name of a Workflow has at most 30 characters: names of runs and Jobs are made from it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("the name of a Workflow is a slug: lower-case letters, digits and dashes"),
    validation = Rule::new("self.spec.entity == oldSelf.spec.entity").message("entity is immutable: create another Workflow"),
    validation = Rule::new("self.spec.runbookRef.name == oldSelf.spec.runbookRef.name").message("runbookRef.name is immutable: create another Workflow"),
    validation = Rule::new("!has(oldSelf.status) || has(self.status)").message("the status cannot be removed"),
    printcolumn(name = "Runbook", type_ = "string", json_path = ".spec.runbookRef.name"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.runbook.version"),
    printcolumn(name = "Entity", type_ = "string", json_path = ".spec.entity"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextScheduleTime", description = "When the next scheduled run is due"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastScheduleTime", description = "How long ago the last scheduled run was due"),
    printcolumn(name = "Time zone", type_ = "string", json_path = ".spec.timeZone", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!(has(self.schedule) && has(self.schedules))", "give schedule or schedules, not both"),
    validation = ("has(self.schedule) || has(self.schedules) || !has(self.timeZone)", "timeZone needs a schedule")
)]
pub struct WorkflowSpec {
    /// The runbook to run.
    pub runbook_ref: RunbookRef,
    /// Slug of the entity (company, fund, vehicle) the runs are for. Cannot be changed.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::SLUG))]
    pub entity: String,
    /// Configuration handed to every run, checked against the runbook's `config_schema`. Visible to whoever may read
    /// this object: no secrets, no personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub config: Option<Object>,
    /// When to start runs, as five cron fields: minute, hour, day of month, month, day of week. If both days are
    /// restricted, either is enough. For example `0 8 5 * *`: at 08:00 on the fifth of every month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub schedule: Option<String>,
    /// Several schedules; a slot due by more than one of them gives one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 128)))]
    pub schedules: Option<Vec<String>>,
    /// Time zone of the schedule by its IANA name, for example `Europe/London`. UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// The accounting period a scheduled run is for. The month before the slot if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<PeriodRule>,
    /// How late a scheduled run may start, in seconds. A slot missed by more is counted as missed. 24 hours if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub starting_deadline_seconds: Option<i64>,
    /// What to do with slots that passed while nothing could be started: `RunLatest` (the default) or `Skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_run_policy: Option<MissedRunPolicy>,
    /// What to do when a slot is due while a run of the same period is unfinished: `Forbid` (the default) skips the
    /// slot, `Allow` starts another run. Runs of other periods never hinder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_policy: Option<ConcurrencyPolicy>,
    /// Start no scheduled runs. Runs under way go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// How many succeeded scheduled runs to keep as objects; 12 if absent. Their journals stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub successful_runs_history_limit: Option<i32>,
    /// How many failed or cancelled scheduled runs to keep as objects; 12 if absent. Their journals stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub failed_runs_history_limit: Option<i32>,
    /// Who decides the gates of the runs. Frozen into each run when it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_policy: Option<GatePolicy>,
    /// Secrets of this namespace that activities may read, as files under `/var/run/ntro/secrets/<name>/`. Their names
    /// begin with `ntro-run-`: no other Secret can be mounted by a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = ("self.all(secret, secret.name.startsWith('ntro-run-'))", "names of Secrets that runs may read begin with ntro-run-")
    )]
    pub secret_refs: Option<Vec<LocalRef>>,
    /// What the pods of the runs look like, where the installation's values do not suit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_template: Option<RunTemplate>,
}

/// Which runbook, and which version of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunbookRef {
    /// Name of a Runbook of this namespace. Cannot be changed.
    #[schemars(length(min = 1, max = 30), regex(pattern = schema::SLUG))]
    pub name: String,
    /// Pins an exact version (`1.4.0`) or digest (`sha256:…`). Without it every run takes what is current when it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^(sha256:[0-9a-f]{64}|[0-9A-Za-z.+-]+)$"))]
    pub version: Option<String>,
}

/// How the accounting period follows from the slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeriodRule {
    /// `Day`, `Month`, `Quarter` or `Year`.
    pub unit: PeriodUnit,
    /// Which one, counted from the one the slot lies in: -1 is the one before. -1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000, max = 1000))]
    pub offset: Option<i32>,
}

/// Length of an accounting period. Periods are written `2026-10-31`, `2026-10`, `2026-Q4`, `2026`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PeriodUnit {
    /// A calendar day.
    Day,
    /// A calendar month.
    Month,
    /// A calendar quarter.
    Quarter,
    /// A calendar year.
    Year,
}

/// What to do with missed slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MissedRunPolicy {
    /// Start the latest of them if it is not later than the starting deadline.
    RunLatest,
    /// Start none of them.
    Skip,
}

/// What to do when a run of the same period is unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// Start another run.
    Allow,
    /// Skip the slot.
    Forbid,
}

/// What the pods of a workflow's runs look like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunTemplate {
    /// Image of the runner, by digest: `registry.example.com/ntro-runner@sha256:…`. The installation's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// CPU and memory of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Labels a node must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16), inner(length(max = 63)))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints the pod tolerates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub tolerations: Option<Vec<Toleration>>,
    /// Priority class of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Labels for the pods. Their keys begin with `labels.ntro.dev/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16), inner(length(max = 63)))]
    #[x_kube(validation = ("self.all(key, key.startsWith('labels.ntro.dev/'))", "labels of runs begin with labels.ntro.dev/"))]
    pub labels: Option<BTreeMap<String, String>>,
}

/// CPU and memory, as for any container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the pod is sure to get, for example `{cpu: 200m, memory: 256Mi}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 8))]
    pub requests: Option<BTreeMap<String, IntOrString>>,
    /// What the pod gets at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 8))]
    pub limits: Option<BTreeMap<String, IntOrString>>,
}

/// What the operator knows of the workflow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowStatus {
    /// The generation of the spec this status speaks of; -1 until the operator has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The runbook's version the next run would take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<Resolved>,
    /// When the next scheduled run is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Time>,
    /// The slot of the latest scheduled run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// When a run last succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Time>,
    /// When a run last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<Time>,
    /// From when on slots count: the schedule as it is now was first seen then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_observed: Option<ScheduleObserved>,
    /// Slots that gave no run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
    /// Unfinished runs, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub active: Option<Vec<ActiveRun>>,
    /// The value of the annotation `reconcile.ntro.dev/requestedAt` that was served last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,
    /// Ready, ConfigValid, ScheduleValid, LastRunSucceeded; Reconciling and Stalled appear while true. A failed run
    /// does not make a workflow unready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
}

/// A schedule and since when it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleObserved {
    /// Hash of schedule, time zone and suspension.
    #[schemars(length(max = 64))]
    pub hash: String,
    /// No slot before this time is due.
    pub time: Time,
}

/// Slots that gave no run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Missed {
    /// How many, over the life of the workflow.
    pub count: i64,
    /// The latest of them.
    pub time: Time,
    /// Why the latest gave no run, in one word.
    #[schemars(length(max = 63))]
    pub reason: String,
}

/// An unfinished run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveRun {
    /// Name of the WorkflowRun.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Period of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub period: Option<String>,
}
