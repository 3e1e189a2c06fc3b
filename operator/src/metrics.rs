//! Metric families with closed label sets. No label ever holds the name of an object.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use ntro_crds::SlotReason;
use ntro_crds::user_action::{Outcome as Answered, Verb};
use ntro_journal::machine::{GateProgress, RunState};
use ntro_journal::protocol::Phase;
use ntro_journal::{Journal, RunPart};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The controllers of this operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum ControllerName {
    Runbook,
    Workflow,
    Run,
    /// Tenant namespaces.
    Tenant,
}

impl ControllerName {
    /// Name in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Runbook => "runbook",
            Self::Workflow => "workflow",
            Self::Run => "run",
            Self::Tenant => "tenant",
        }
    }
}

/// How a reconcile or a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    /// As it should.
    Success,
    /// Something outside has to happen first.
    Waiting,
    /// The input is wrong.
    Invalid,
    /// Failed, will be retried.
    Transient,
    /// A defect.
    Bug,
}

/// What was asked of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum RegistryOp {
    /// The list of tags.
    Tags,
    /// What a tag or digest stands for.
    Resolve,
    /// The content.
    Pull,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReconcileLabels {
    controller: ControllerName,
    result: Outcome,
    reason: &'static str,
}

/// Labels with only a controller.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ControllerLabels {
    controller: ControllerName,
}

/// Labels with only a phase.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PhaseLabels {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct UserActionLabels {
    verb: &'static str,
    outcome: &'static str,
}

/// Labels of API requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    op: &'static str,
    code: &'static str,
}

/// Labels with only an operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OpLabels {
    op: &'static str,
}

/// What of a scheduled run was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Started {
    /// Its `WorkflowRun`.
    Run,
    /// Its first Job.
    Job,
}

/// Labels of what was made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StartedLabels {
    made: Started,
}

/// Labels with only a reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    reason: &'static str,
}

/// Labels with only a part of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PurgedLabels {
    part: &'static str,
}

/// Labels with only a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct VersionLabels {
    version: &'static str,
}

/// Labels of registry requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RegistryLabels {
    op: RegistryOp,
    result: Outcome,
}

/// All metrics of the operator.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_duration: Family<ControllerLabels, Histogram>,
    runs: Family<PhaseLabels, Gauge>,
    gates_open: Gauge<i64, AtomicI64>,
    user_actions: Family<UserActionLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    request_duration: Family<OpLabels, Histogram>,
    registry_requests: Family<RegistryLabels, Counter>,
    schedule_skew: Family<StartedLabels, Histogram>,
    slots_skipped: Family<ReasonLabels, Counter>,
    time_zone_database: Family<VersionLabels, Gauge>,
    schedules_armed: Gauge<i64, AtomicI64>,
    tenants: Gauge<i64, AtomicI64>,
    purged: Family<PurgedLabels, Counter>,
    storage_free: Gauge<i64, AtomicI64>,
    storage_reserve: Gauge<i64, AtomicI64>,
    crds_missing: Gauge<i64, AtomicI64>,
}

fn skew() -> Histogram {
    Histogram::new([0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0])
}

fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.002, 2.5, 10))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All families, registered.
    pub(crate) fn new() -> Self {
        let mut this = Self {
            registry: Registry::with_prefix("ntro"),
            reconciles: Family::default(),
            reconcile_duration: Family::new_with_constructor(latency),
            runs: Family::default(),
            gates_open: Gauge::default(),
            user_actions: Family::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(latency),
            registry_requests: Family::default(),
            schedule_skew: Family::new_with_constructor(skew),
            slots_skipped: Family::default(),
            time_zone_database: Family::default(),
            schedules_armed: Gauge::default(),
            tenants: Gauge::default(),
            purged: Family::default(),
            storage_free: Gauge::default(),
            storage_reserve: Gauge::default(),
            crds_missing: Gauge::default(),
        };
        // A series that is not there before its first count does not rise by it: no alert would see it.
        for reason in SlotReason::ALL.iter().filter(|reason| reason.skips()) {
            let _ = this.slots_skipped.get_or_create(&ReasonLabels { reason: reason.as_str() });
        }
        for made in [Started::Run, Started::Job] {
            let _ = this.schedule_skew.get_or_create(&StartedLabels { made });
        }
        let version = ntro_schedule::zone::database_version();
        this.time_zone_database.get_or_create(&VersionLabels { version }).set(1);
        let r = &mut this.registry;
        r.register("reconciles", "Reconciles, by result", this.reconciles.clone());
        r.register_with_unit(
            "reconcile_duration",
            "Time of a reconcile",
            Unit::Seconds,
            this.reconcile_duration.clone(),
        );
        r.register("runs", "Unfinished runs, by phase", this.runs.clone());
        r.register("gates_open", "Gates that wait for a person", this.gates_open.clone());
        r.register("user_actions", "User actions, by outcome", this.user_actions.clone());
        r.register("api_requests", "Requests of pods and readers, by answer", this.requests.clone());
        r.register_with_unit("api_request_duration", "Time of a request", Unit::Seconds, this.request_duration.clone());
        let help = "How much later than its slot, jitter included, a scheduled run was started";
        r.register_with_unit("schedule_skew", help, Unit::Seconds, this.schedule_skew.clone());
        r.register("schedule_slots_skipped", "Slots that gave no run, by reason", this.slots_skipped.clone());
        r.register("schedules_armed", "Workflows whose next slot is waited for", this.schedules_armed.clone());
        let help = "The time zone database that schedules are read with, by version";
        r.register("time_zone_database", help, this.time_zone_database.clone());
        r.register("registry_requests", "Requests to registries, by result", this.registry_requests.clone());
        r.register("tenants", "Tenant namespaces", this.tenants.clone());
        r.register("crds_missing", "Custom resource definitions not yet installed", this.crds_missing.clone());
        this.register_storage();
        this
    }

    fn register_storage(&mut self) {
        let r = &mut self.registry;
        for part in [RunPart::Log, RunPart::Journal] {
            let _ = self.purged.get_or_create(&PurgedLabels { part: part.label() });
        }
        r.register("purged_runs", "Ended runs of which a part was purged", self.purged.clone());
        let help = "Free space of the volume of journals and blobs";
        r.register_with_unit("storage_free", help, Unit::Bytes, self.storage_free.clone());
        let help = "Free space below which no run begins";
        r.register_with_unit("storage_reserve", help, Unit::Bytes, self.storage_reserve.clone());
    }

    /// The text a scraper reads.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Counts a reconcile. `reason` is from a fixed set, empty on success.
    pub(crate) fn reconcile(&self, controller: ControllerName, result: Outcome, reason: &'static str, took: Duration) {
        self.reconciles.get_or_create(&ReconcileLabels { controller, result, reason }).inc();
        self.reconcile_duration.get_or_create(&ControllerLabels { controller }).observe(took.as_secs_f64());
    }

    /// Sets how many unfinished runs there are in each phase, and how many gates wait for a person.
    pub(crate) fn set_runs<'a>(&self, runs: impl IntoIterator<Item = &'a RunState>) {
        let phases = [Phase::Pending, Phase::Queued, Phase::Running, Phase::Waiting, Phase::Blocked];
        let mut counts = phases.map(|phase| (phase, 0));
        let mut gates = 0;
        for run in runs {
            if let Some((_, count)) = counts.iter_mut().find(|(phase, _)| *phase == run.phase()) {
                *count += 1;
                gates += run.gates.values().filter(|gate| gate.state == GateProgress::Open).count();
            }
        }
        for (phase, count) in counts {
            self.runs.get_or_create(&PhaseLabels { phase: phase.as_str() }).set(count);
        }
        self.gates_open.set(i64::try_from(gates).unwrap_or(i64::MAX));
    }

    /// Counts a run of which this part was purged.
    pub(crate) fn purged(&self, part: RunPart) {
        self.purged.get_or_create(&PurgedLabels { part: part.label() }).inc();
    }

    /// Sets below which free space no run begins.
    pub(crate) fn set_storage_reserve(&self, bytes: u64) {
        self.storage_reserve.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Sets how much space is left on the journal's volume.
    pub(crate) fn set_storage(&self, journal: &Journal) {
        if let Ok(free) = journal.free_bytes() {
            self.storage_free.set(i64::try_from(free).unwrap_or(i64::MAX));
        }
    }

    /// Counts a user action.
    pub(crate) fn user_action(&self, verb: Verb, outcome: Answered) {
        let outcome = match outcome {
            Answered::Accepted => "Accepted",
            Answered::Refused => "Refused",
        };
        self.user_actions.get_or_create(&UserActionLabels { verb: verb.as_str(), outcome }).inc();
    }

    /// Counts a request to the API: `op` and `code` are from fixed sets.
    pub(crate) fn request(&self, op: &'static str, code: &'static str, since: Instant) {
        self.requests.get_or_create(&RequestLabels { op, code }).inc();
        self.request_duration.get_or_create(&OpLabels { op }).observe(since.elapsed().as_secs_f64());
    }

    /// Notes how much later than its slot something of a run was made.
    pub(crate) fn skew(&self, made: Started, late: SignedDuration) {
        self.schedule_skew.get_or_create(&StartedLabels { made }).observe(late.as_secs_f64().max(0.0));
    }

    /// Sets how many Workflows have a slot to come that is waited for.
    pub(crate) fn set_schedules_armed(&self, count: usize) {
        self.schedules_armed.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts slots that gave no run.
    pub(crate) fn slots_skipped(&self, reason: SlotReason, count: usize) {
        self.slots_skipped.get_or_create(&ReasonLabels { reason: reason.as_str() }).inc_by(count as u64);
    }

    /// Counts a request to a registry.
    pub(crate) fn registry_request(&self, op: RegistryOp, result: Outcome) {
        self.registry_requests.get_or_create(&RegistryLabels { op, result }).inc();
    }

    /// Sets how many tenants there are.
    pub(crate) fn set_tenants(&self, count: usize) {
        self.tenants.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets how many custom resource definitions are missing.
    pub(crate) fn set_crds_missing(&self, count: usize) {
        self.crds_missing.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

pub(crate) type SharedMetrics = Arc<Metrics>;

#[cfg(test)]
mod tests {
    use super::*;

    /// A panel or an alert on a metric that is not there would be silent for ever.
    #[test]
    fn panels_and_alerts_speak_of_metrics_that_exist() {
        let texts = concat!(
            include_str!("../../charts/ntro/files/dashboard.json"),
            include_str!("../../charts/ntro/templates/monitoring.yaml")
        );
        // A family without a sample is not written.
        let metrics = Metrics::new();
        metrics.set_runs([]);
        let known = metrics.encode().unwrap();
        let words = texts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let mut found = 0;
        for word in words.filter(|word| word.starts_with("ntro_")) {
            let family = word.trim_end_matches("_bucket").trim_end_matches("_total");
            assert!(known.contains(&format!("# TYPE {family} ")), "{word} is no metric");
            found += 1;
        }
        assert!(found >= 8, "only {found} found");
    }

    #[test]
    fn what_is_counted_can_be_scraped() {
        let metrics = Metrics::new();
        metrics.reconcile(ControllerName::Runbook, Outcome::Transient, "RegistryUnavailable", Duration::from_millis(3));
        metrics.set_runs([]);
        metrics.request("append", "ok", Instant::now());
        let text = metrics.encode().unwrap();
        for line in [
            r#"ntro_reconciles_total{controller="Runbook",result="Transient",reason="RegistryUnavailable"} 1"#,
            r#"ntro_runs{phase="Waiting"} 0"#,
            r#"ntro_purged_runs_total{part="journal"} 0"#,
            r#"ntro_api_requests_total{op="append",code="ok"} 1"#,
            r#"ntro_reconcile_duration_seconds_count{controller="Runbook"} 1"#,
            r#"ntro_schedule_slots_skipped_total{reason="RunWaiting"} 0"#,
            r#"ntro_schedule_skew_seconds_count{made="Job"} 0"#,
        ] {
            assert!(text.contains(line), "{line} not in:\n{text}");
        }
    }
}
