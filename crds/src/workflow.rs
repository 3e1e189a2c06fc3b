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
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("the name of a Workflow must consist of lower case letters, digits and dashes"),
    validation = Rule::new("self.spec.entity == oldSelf.spec.entity").message("entity is immutable: create another Workflow"),
    validation = Rule::new("self.spec.runbookRef.name == oldSelf.spec.runbookRef.name").message("runbookRef.name is immutable: create another Workflow"),
    validation = Rule::new("!has(oldSelf.status) || has(self.status)").message("the status cannot be removed"),
    printcolumn(name = "Runbook", type_ = "string", json_path = ".spec.runbookRef.name"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.runbook.version"),
    printcolumn(name = "Entity", type_ = "string", json_path = ".spec.entity"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec['schedule','schedules']"),
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
    validation = ("has(self.schedule) || has(self.schedules) || !(has(self.timeZone) || has(self.calendar) || has(self.notBefore) || has(self.notAfter) || has(self.jitterSeconds))", "timeZone, calendar, notBefore, notAfter and jitterSeconds need a schedule"),
    validation = ("!has(self.notBefore) || !has(self.notAfter) || timestamp(self.notBefore) <= timestamp(self.notAfter)", "notBefore must not be later than notAfter"),
    validation = ("!has(self.maxMissedRuns) || (has(self.missedRunPolicy) && self.missedRunPolicy == 'All')", "maxMissedRuns belongs to missedRunPolicy All"),
    validation = ("!has(self.maxQueuedRuns) || (has(self.concurrencyPolicy) && self.concurrencyPolicy == 'Queue')", "maxQueuedRuns belongs to concurrencyPolicy Queue")
)]
pub struct WorkflowSpec {
    /// The runbook to run.
    pub runbook_ref: RunbookRef,
    /// Slug of the entity (company, fund, vehicle) that the runs are for. Immutable.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::SLUG))]
    pub entity: String,
    /// Configuration handed to every run, checked against the runbook's `config_schema`. Visible to anyone who may read
    /// this object: do not put secrets or personal data here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub config: Option<Object>,
    /// When to start runs, as five cron fields: minute, hour, day of month, month, day of week; or `@hourly`, `@daily`,
    /// `@midnight`, `@weekly`, `@monthly`, `@yearly`. A field is `*`, a number, a range `a-b`, each with or without a
    /// step `/n`, a list of these, or `H`: a value derived from the names of namespace and Workflow, so that many
    /// Workflows do not start at once (`H 8 5 * *`, `H(0-29) 8 5 * *`). If both day fields are restricted, a match of
    /// either is enough. When the clocks change, a fixed time fires once that day: at the end of the gap if it falls
    /// into one, and the first time if it occurs twice. `*`, lists, ranges and steps follow elapsed time: they do not
    /// fire in a gap, and fire both times when an hour repeats. Example: `0 8 5 * *` is 08:00 on the fifth of every
    /// month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub schedule: Option<String>,
    /// Several schedules; a slot that more than one of them matches gives one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 128)))]
    pub schedules: Option<Vec<String>>,
    /// Dates on which the schedule fires: business days, holidays, excluded dates. Every date if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<BusinessCalendar>,
    /// No slot before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// No slot after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// Maximum delay of each run after its slot, in seconds. The actual delay is fixed: it is derived from the names of
    /// namespace and Workflow. The slot, its period and the run's name do not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub jitter_seconds: Option<i64>,
    /// IANA name of the time zone of schedule and calendar, spelled exactly as in the IANA database, for example
    /// `Europe/London`. Defaults to UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// The accounting period that a scheduled run is for. Defaults to the month before the slot's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<PeriodRule>,
    /// How late a scheduled run may start, in seconds, whatever delayed it: an outage, a runbook that was not ready, a
    /// queue. After that the slot counts as missed. Defaults to 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub starting_deadline_seconds: Option<i64>,
    /// What to do with slots that passed while no run could be started, and that are still within the starting
    /// deadline: `Latest` (the default) starts the latest of them, `Skip` none, `All` every one, oldest first. For
    /// `Skip` a slot has passed when its run could not be started within two minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_run_policy: Option<MissedRunPolicy>,
    /// Maximum number of missed slots that `All` starts: the latest ones. Defaults to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_missed_runs: Option<i32>,
    /// What to do when a slot is due while a run of the same period is unfinished: `Forbid` (the default) skips the
    /// slot, `Allow` starts another run, `Queue` starts it when the others have ended, `Replace` cancels them and
    /// starts it when their last pod is gone. Runs of other periods do not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_policy: Option<ConcurrencyPolicy>,
    /// Maximum number of slots that `Queue` lets wait; further slots are skipped. Defaults to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub max_queued_runs: Option<i32>,
    /// Start no scheduled runs. Runs in progress continue. Slots that pass meanwhile are not caught up on after resuming.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// How many succeeded scheduled runs to keep as objects. Defaults to 12. Their journals are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub successful_runs_history_limit: Option<i32>,
    /// How many failed or cancelled scheduled runs to keep as objects. Defaults to 12. Their journals are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub failed_runs_history_limit: Option<i32>,
    /// Delete the objects of finished runs, whoever started them, this long after they finished. Their journals are kept.
    /// Never if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// How long a run may wait in a queue that suspends its Job (such as Kueue), in seconds. After that the run is
    /// `Blocked` with `QueueTimeout`; a retry queues it again. Unlimited if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 31_536_000))]
    pub queue_deadline_seconds: Option<i64>,
    /// How long a pod of a run may take to start (scheduling, image pull), in seconds. After that the run is `Blocked`
    /// with `PendingTimeout`. Defaults to 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86_400))]
    pub pending_deadline_seconds: Option<i64>,
    /// How long a run may execute between two waits, in seconds; time in queues and at gates does not count. After that
    /// the run is `Blocked` with `RunDeadlineExceeded`. Unlimited if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 2_592_000))]
    pub run_deadline_seconds: Option<i64>,
    /// Who may decide the gates of the runs. Frozen into each run when it is admitted.
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
    /// Template of the pods of the runs. Fields left out default to the values of the installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_template: Option<RunTemplate>,
}

/// Which runbook, and which version of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunbookRef {
    /// Name of a Runbook in this namespace. Immutable.
    #[schemars(length(min = 1, max = 30), regex(pattern = schema::SLUG))]
    pub name: String,
    /// Pins an exact version (`1.4.0`) or digest (`sha256:…`). If unset, every run uses the version that is current
    /// when it is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^(sha256:[0-9a-f]{64}|[0-9A-Za-z.+-]+)$"))]
    pub version: Option<String>,
}

/// How the accounting period is derived from the slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeriodRule {
    /// `Day`, `Month`, `Quarter` or `Year`.
    pub unit: PeriodUnit,
    /// Which period, counted from the one that contains the slot: -1, the default, is the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000, max = 1000))]
    pub offset: Option<i32>,
    /// IANA name of the time zone that decides which period contains the slot. Defaults to that of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
}

/// Dates on which a schedule fires, in the schedule's time zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.businessDays) || !(has(self.holidays) || has(self.weekend))", "holidays and weekend say what a business day is and need businessDays; dates on which nothing starts belong in excludeDates"))]
pub struct BusinessCalendar {
    /// Fire only on these business days of the month: 1 is the first, -1 the last, for example `[5]` or `[1, -1]`.
    /// Combine it with a daily schedule: `0 8 * * *`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 23), inner(range(min = -23, max = 23)))]
    #[x_kube(merge_strategy = ListMerge::Atomic, validation = ("self.all(n, n != 0)", "business days are counted from 1 or from -1"))]
    pub business_days: Option<Vec<i32>>,
    /// Dates that are not business days, for example `2026-12-25`. Needs `businessDays`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 400), inner(length(min = 10, max = 10)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub holidays: Option<Vec<String>>,
    /// Days of the week that are not business days. Defaults to `[Saturday, Sunday]`. Needs `businessDays`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub weekend: Option<Vec<Weekday>>,
    /// Dates on which nothing is started, business days or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 400), inner(length(min = 10, max = 10)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub exclude_dates: Option<Vec<String>>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "they explain themselves")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
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
    /// Start the latest of them.
    Latest,
    /// Start none of them.
    Skip,
    /// Start all of them, oldest first.
    All,
}

/// What to do when a run of the same period is unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// Start another run.
    Allow,
    /// Skip the slot.
    Forbid,
    /// Cancel the others first.
    Replace,
    /// Wait for the others first.
    Queue,
}

/// Template of the pods of a workflow's runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunTemplate {
    /// Image of the runner, by digest: `registry.example.com/ntro-runner@sha256:…`. Defaults to the installation's.
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
    /// Scheduler of the pod. Defaults to the cluster's default scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub scheduler_name: Option<String>,
    /// Labels for Jobs and pods. Their keys begin with `labels.ntro.dev/`, or with `kueue.x-k8s.io/` for a queue of
    /// Kueue: `kueue.x-k8s.io/queue-name: month-end`. A run with a queue is `Queued` until Kueue admits it; without
    /// Kueue it stays `Queued`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16), inner(length(max = 63)))]
    #[x_kube(validation = ("self.all(key, key.startsWith('labels.ntro.dev/') || key.startsWith('kueue.x-k8s.io/'))", "labels of runs begin with labels.ntro.dev/ or kueue.x-k8s.io/"))]
    pub labels: Option<BTreeMap<String, String>>,
}

/// CPU and memory, as for any container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Guaranteed resources, for example `{cpu: 200m, memory: 256Mi}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 8))]
    pub requests: Option<BTreeMap<String, IntOrString>>,
    /// Maximum resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 8))]
    pub limits: Option<BTreeMap<String, IntOrString>>,
}

/// Observed state of the Workflow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowStatus {
    /// The generation of the spec that this status was computed for; -1 until the first reconcile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Version of the runbook that the next run would use.
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
    /// The current schedule, and the time from which its slots count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_observed: Option<ScheduleObserved>,
    /// Slots that were skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<MissedSlots>,
    /// Slots that wait until runs of their period have finished, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub queued: Option<Vec<QueuedSlot>>,
    /// Unfinished runs, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub active: Option<Vec<ActiveRun>>,
    /// The last value of the annotation `reconcile.ntro.dev/requestedAt` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,
    /// Ready, ConfigValid, ScheduleValid, LastRunSucceeded; Reconciling and Stalled are present only while True. A
    /// failed run does not make a workflow unready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
}

/// A schedule, and the time from which it applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleObserved {
    /// Hash of schedule, time zone, calendar and suspension.
    #[schemars(length(max = 64))]
    pub hash: String,
    /// No slot before this time is due.
    pub time: Time,
}

/// Slots that were skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MissedSlots {
    /// Number of skipped slots since the Workflow was created. At most a thousand of one outage are counted.
    pub count: i64,
    /// The latest of them.
    pub time: Time,
    /// Why the latest was skipped, in CamelCase.
    #[schemars(length(max = 63))]
    pub reason: String,
}

/// A slot that waits for a run to finish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueuedSlot {
    /// The slot.
    pub time: Time,
    /// Its period.
    #[schemars(length(max = 32))]
    pub period: String,
    /// The run that holds it back; `-` if no run does.
    #[schemars(length(max = 63))]
    pub held_by: String,
    /// `RunUnfinished`, `RunWaiting` (that run waits for a person, a time or a signal), `RunBlocked` (that run needs a person),
    /// `Replacing` (that run is being cancelled), `NotStarted` (the condition Ready says why) or `ClockSetBack`.
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
