//! `ntro workflow backfill`: the runs of past slots.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::{ListParams, ObjectMeta, PostParams};
use ntro_crds::workflow_run::{Request, RunContext, RunPhase, Trigger, TriggerKind, WorkflowRef};
use ntro_crds::{WorkflowRun, WorkflowRunSpec, conditions, duration, labels, names};
use serde::Serialize;

use super::read;
use crate::args;
use crate::cluster::Cluster;
use crate::commands::run as runs;
use crate::commands::shared::slots::{Schedule, instant, last_instant};
use crate::commands::shared::{columns, manifest};
use crate::error::{Failure, Outcome, Result};
use crate::printer::{Printer, Table};

/// Slots of one backfill; more are asked for in parts.
const MAX_SLOTS: usize = 1000;
/// How often the runs of a backfill are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Runs that a message names one by one.
const MAX_NAMED: usize = 5;

/// Runs `ntro workflow backfill`.
///
/// Each slot gives one run, named after it, whoever asks for it and however often: an interrupted backfill is gone on with
/// by the same command.
pub async fn run(args: &args::WorkflowBackfill, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let timeout = args.timeout.as_deref().map(duration::parse).transpose();
    let timeout = timeout.map_err(|e| Failure::Usage(format!("--timeout: {e}")))?;
    let schedule = Schedule::of(read(cluster, &args.name).await?, cluster.namespace())?;
    let now = Timestamp::now();
    let from = instant(&args.from, &schedule.zone, "--from")?;
    let to = args.to.as_deref().map_or(Ok(now), |text| last_instant(text, &schedule.zone, "--to"))?.min(now);
    if from >= to {
        return Err(Failure::Usage(format!("--from {from} is not before --to {to}")));
    }
    let before = from.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(from);
    let (due, older) = schedule.slots.due(before, to, MAX_SLOTS);
    if older > 0 {
        return Err(Failure::Usage(format!("there are more than {MAX_SLOTS} slots: ask for a shorter time at once")));
    }
    let known = look(cluster, &args.name).await?;
    let plan: Vec<_> = due.iter().map(|slot| Planned::of(&schedule, *slot, &known)).collect();
    if args.dry_run {
        return dry_run(&plan, &schedule, cluster, printer).await;
    }
    let person = cluster.whoami().await?;
    let backfill = Backfill { args, schedule: &schedule, cluster, initiator: &person.name, timeout, printer };
    let (started, seen) = backfill.start_all(&plan, known).await?;
    let tally = Tally::of(&plan, &started, &seen);
    match printer.output() {
        args::Output::Json | args::Output::Yaml => printer.objects(&[&tally], Table::default)?,
        args::Output::Name | args::Output::Table | args::Output::Wide => printer.line(tally.sentence()),
    }
    Ok(tally.outcome())
}

/// Where the run of a slot stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// It is on the way.
    Busy(RunPhase),
    /// It waits for a person.
    Waiting,
    /// It succeeded.
    Succeeded,
    /// It had been executed, and its object deleted, before this object was made. It is not executed again.
    RanBefore,
    /// It failed, was cancelled, is blocked or was refused: which of them.
    Failed(String),
}

/// Where runs stand, by name.
type Standings = BTreeMap<String, Standing>;

impl Standing {
    fn of(run: &WorkflowRun) -> Self {
        let status = run.status.clone().unwrap_or_default();
        let stalled = columns::condition(status.conditions.as_ref(), conditions::STALLED);
        match status.phase.unwrap_or(RunPhase::Pending) {
            RunPhase::Succeeded => Self::Succeeded,
            RunPhase::Waiting => Self::Waiting,
            RunPhase::Blocked if status.blocked.is_some_and(|blocked| blocked.code == "AlreadyRan") => Self::RanBefore,
            phase @ (RunPhase::Failed | RunPhase::Cancelled | RunPhase::Blocked) => {
                Self::Failed(columns::word(Some(phase)))
            }
            phase @ (RunPhase::Pending | RunPhase::Queued | RunPhase::Running) => {
                match stalled.filter(|c| c.status == "True") {
                    // Nothing comes of it until somebody changes something.
                    Some(why) => Self::Failed(format!("refused ({}: {})", why.reason, why.message)),
                    None => Self::Busy(phase),
                }
            }
        }
    }

    fn word(&self) -> String {
        match self {
            Self::Busy(phase) => columns::word(Some(phase)),
            Self::Waiting => columns::word(Some(RunPhase::Waiting)),
            Self::Succeeded => columns::word(Some(RunPhase::Succeeded)),
            Self::RanBefore => "ran before".to_owned(),
            Self::Failed(how) => how.clone(),
        }
    }

    fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

/// What became of the slots.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Tally {
    slots: usize,
    started: usize,
    before: usize,
    succeeded: usize,
    waiting: usize,
    failed: usize,
}

impl Tally {
    /// `made` are the runs whose objects were made for this backfill. Those that had been executed before started nothing.
    fn of(plan: &[Planned], made: &BTreeSet<String>, seen: &Standings) -> Self {
        let count = |wanted: &dyn Fn(&Standing) -> bool| {
            plan.iter().filter_map(|planned| seen.get(&planned.run)).filter(|standing| wanted(standing)).count()
        };
        let started = made.iter().filter(|run| seen.get(*run) != Some(&Standing::RanBefore)).count();
        Self {
            slots: plan.len(),
            started,
            before: plan.len() - started,
            succeeded: count(&|standing| *standing == Standing::Succeeded),
            waiting: count(&|standing| *standing == Standing::Waiting),
            failed: count(&|standing| matches!(standing, Standing::Failed(_))),
        }
    }

    fn sentence(&self) -> String {
        let Self { slots, started, before, succeeded, waiting, failed } = self;
        format!(
            "{slots} slots: {started} runs started, {before} there before; {succeeded} succeeded, {waiting} wait for a person, {failed} failed, were cancelled or are blocked"
        )
    }

    fn outcome(&self) -> Outcome {
        match (self.failed, self.waiting) {
            (0, 0) => Outcome::Done,
            (0, _) => Outcome::RunWaits,
            _ => Outcome::RunFailed,
        }
    }
}

/// A slot of a backfill.
#[derive(Debug)]
struct Planned {
    slot: Timestamp,
    period: String,
    run: String,
    /// The run is there, and where it stands.
    known: Option<Standing>,
}

impl Planned {
    fn of(schedule: &Schedule, slot: Timestamp, known: &Standings) -> Self {
        let run = names::slot_run(&schedule.workflow.name_any(), slot);
        Self { slot, period: schedule.period(slot), known: known.get(&run).cloned(), run }
    }

    fn object(&self, schedule: &Schedule, namespace: &str, initiator: &str) -> WorkflowRun {
        let workflow = schedule.workflow.name_any();
        let uid = schedule.workflow.uid().unwrap_or_default();
        WorkflowRun {
            metadata: ObjectMeta {
                name: Some(self.run.clone()),
                namespace: Some(namespace.to_owned()),
                labels: Some(
                    [(labels::WORKFLOW.to_owned(), workflow.clone()), (labels::WORKFLOW_UID.to_owned(), uid)].into(),
                ),
                ..ObjectMeta::default()
            },
            spec: WorkflowRunSpec {
                request: Request {
                    workflow_ref: WorkflowRef { name: workflow },
                    context: Some(RunContext { period: Some(self.period.clone()) }),
                    trigger: Trigger {
                        kind: TriggerKind::Backfill,
                        initiator: initiator.to_owned(),
                        scheduled_time: Some(Time(self.slot)),
                        parent: None,
                    },
                },
            },
            status: None,
        }
    }
}

async fn dry_run(plan: &[Planned], schedule: &Schedule, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let person = cluster.whoami().await?;
    let new = plan.iter().filter(|planned| planned.known.is_none());
    let objects: Result<Vec<_>> =
        new.map(|planned| manifest(&planned.object(schedule, cluster.namespace(), &person.name))).collect();
    let word = |planned: &Planned| match &planned.known {
        None => "to be started".to_owned(),
        Some(standing) => format!("there: {}", standing.word()),
    };
    printer.objects(&objects?, || Table {
        header: vec!["SLOT", "LOCAL TIME", "PERIOD", "RUN", "STATE"],
        rows: plan
            .iter()
            .map(|planned| {
                let slot = columns::time(Some(&Time(planned.slot)));
                let local = schedule.local(planned.slot);
                vec![slot, local, planned.period.clone(), planned.run.clone(), word(planned)]
            })
            .collect(),
        wide_from: None,
    })?;
    Ok(Outcome::Done)
}

/// Where the runs of a Workflow stand.
async fn look(cluster: &Cluster, workflow: &str) -> Result<Standings> {
    let params = ListParams::default().fields(&format!("spec.request.workflowRef.name={workflow}"));
    let what = format!("list the runs of Workflow {}/{workflow}", cluster.namespace());
    let list = runs::api(cluster).list(&params).await.map_err(|e| Failure::from_kube(&what, e))?;
    Ok(list.iter().map(|run| (run.name_any(), Standing::of(run))).collect())
}

/// What a backfill works with.
struct Backfill<'a> {
    args: &'a args::WorkflowBackfill,
    schedule: &'a Schedule,
    cluster: &'a Cluster,
    initiator: &'a str,
    timeout: Option<Duration>,
    printer: Printer,
}

impl Backfill<'_> {
    /// Starts what is not there, oldest slot first, with at most so many on the way at a time; waits for all. Gives the runs
    /// whose objects it made, and where all stand. A run that waits for a person, is blocked or was refused holds up no other.
    async fn start_all(&self, plan: &[Planned], mut seen: Standings) -> Result<(BTreeSet<String>, Standings)> {
        let begun = Instant::now();
        let mut left: Vec<_> = plan.iter().filter(|planned| planned.known.is_none()).rev().collect();
        let mut on_the_way = BTreeSet::new();
        let mut made = BTreeSet::new();
        for (planned, standing) in plan.iter().filter_map(|planned| Some((planned, planned.known.as_ref()?))) {
            if standing.is_busy() {
                on_the_way.insert(planned.run.clone());
            } else if matches!(standing, Standing::RanBefore | Standing::Failed(_)) {
                self.printer.progress(format!("{}: {}", planned.run, standing.word()));
            }
        }
        loop {
            while on_the_way.len() < self.args.max_parallel
                && let Some(planned) = left.pop()
            {
                if self.make(planned).await? {
                    made.insert(planned.run.clone());
                    self.printer.progress(format!(
                        "{} started for {} ({} left)",
                        planned.run,
                        planned.period,
                        left.len()
                    ));
                }
                on_the_way.insert(planned.run.clone());
            }
            if on_the_way.is_empty() {
                return Ok((made, seen));
            }
            tokio::time::sleep(LOOK).await;
            let now = look(self.cluster, &self.args.name).await?;
            on_the_way.retain(|run| {
                let standing = now.get(run);
                let goes_on = standing.is_some_and(Standing::is_busy);
                if !goes_on {
                    let word = standing.map_or_else(|| "deleted".to_owned(), Standing::word);
                    self.printer.progress(format!("{run}: {word}"));
                }
                goes_on
            });
            // How an object stood that was deleted since is not forgotten.
            seen.extend(now);
            let unfinished = !on_the_way.is_empty() || !left.is_empty();
            if let Some(timeout) = self.timeout.filter(|timeout| unfinished && begun.elapsed() > *timeout) {
                return Err(Failure::Timeout(too_late(&self.args.name, timeout, &on_the_way, left.len())));
            }
        }
    }

    /// Makes the object of a run; says whether it was not there.
    async fn make(&self, planned: &Planned) -> Result<bool> {
        let object = planned.object(self.schedule, self.cluster.namespace(), self.initiator);
        match runs::api(self.cluster).create(&PostParams::default(), &object).await {
            Ok(_) => Ok(true),
            // Somebody else has asked for it since.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(e) => Err(Failure::from_kube(&format!("start the run {}", planned.run), e)),
        }
    }
}

fn too_late(workflow: &str, timeout: Duration, on_the_way: &BTreeSet<String>, left: usize) -> String {
    let mut named: Vec<_> = on_the_way.iter().take(MAX_NAMED).cloned().collect();
    if on_the_way.len() > MAX_NAMED {
        named.push(format!("{} more", on_the_way.len() - MAX_NAMED));
    }
    let named = if named.is_empty() { "nothing".to_owned() } else { named.join(", ") };
    format!(
        "the backfill of {workflow} is not done after {} s: on the way is {named}, not started are {left} slots; what was started goes on, and the same command goes on with the rest",
        timeout.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn standing(status: &Value) -> Standing {
        let trigger = json!({"kind": "Backfill", "initiator": "anna", "scheduledTime": "2026-05-05T08:00:00Z"});
        let spec = json!({"request": {"workflowRef": {"name": "nav"}, "trigger": trigger}});
        let run = json!({"metadata": {"name": "nav-20260505t0800z"}, "spec": spec, "status": status});
        Standing::of(&serde_json::from_value(run).unwrap())
    }

    fn stalled(status: &str) -> Value {
        json!([{
            "type": "Stalled", "status": status, "reason": "NotASlot", "message": "no slot",
            "lastTransitionTime": "2026-05-05T08:00:00Z",
        }])
    }

    #[test]
    fn a_run_is_busy_until_it_ends_or_somebody_has_to_see_to_it() {
        assert_eq!(standing(&json!({})), Standing::Busy(RunPhase::Pending));
        assert_eq!(standing(&json!({"phase": "Running"})), Standing::Busy(RunPhase::Running));
        assert_eq!(standing(&json!({"phase": "Waiting"})), Standing::Waiting);
        assert_eq!(standing(&json!({"phase": "Cancelled"})), Standing::Failed("Cancelled".to_owned()));
        let blocked =
            |code: &str| json!({"phase": "Blocked", "blocked": {"code": code}, "conditions": stalled("True")});
        assert_eq!(standing(&blocked("CodeError")), Standing::Failed("Blocked".to_owned()));
        assert_eq!(standing(&blocked("AlreadyRan")), Standing::RanBefore);
        let refused = |status| json!({"phase": "Pending", "conditions": stalled(status)});
        assert_eq!(standing(&refused("True")).word(), "refused (NotASlot: no slot)");
        assert_eq!(standing(&refused("False")), Standing::Busy(RunPhase::Pending));
    }

    fn planned(run: &str) -> Planned {
        Planned { slot: Timestamp::UNIX_EPOCH, period: "2026-04".to_owned(), run: run.to_owned(), known: None }
    }

    #[test]
    fn what_ran_before_is_neither_started_nor_failed() {
        let plan: Vec<_> = ["a", "b", "c", "d"].map(planned).into();
        let made = ["a", "b", "c"].map(str::to_owned).into();
        let mut seen: Standings = [
            ("a".to_owned(), Standing::Succeeded),
            ("b".to_owned(), Standing::RanBefore),
            ("c".to_owned(), Standing::Waiting),
            ("d".to_owned(), Standing::Succeeded),
            ("of-another-slot".to_owned(), Standing::Failed("Failed".to_owned())),
        ]
        .into();
        let tally = Tally::of(&plan, &made, &seen);
        assert_eq!(
            serde_json::to_value(&tally).unwrap(),
            json!({"slots": 4, "started": 2, "before": 2, "succeeded": 2, "waiting": 1, "failed": 0})
        );
        assert!(tally.sentence().starts_with("4 slots: 2 runs started, 2 there before; 2 succeeded, 1 wait"));
        assert_eq!(tally.outcome(), Outcome::RunWaits);
        seen.insert("d".to_owned(), Standing::Failed("refused (NotASlot: no slot)".to_owned()));
        assert_eq!(Tally::of(&plan, &made, &seen).outcome(), Outcome::RunFailed);
    }

    #[test]
    fn a_backfill_that_is_too_late_says_what_is_missing() {
        let runs = |n: usize| (0..n).map(|i| format!("nav-{i}")).collect();
        let minute = Duration::from_mins(1);
        let text = too_late("nav", minute, &runs(1), 3);
        assert!(text.contains("after 60 s: on the way is nav-0, not started are 3 slots"), "{text}");
        assert!(too_late("nav", minute, &runs(7), 0).contains("nav-4, 2 more"));
    }
}
