//! `ntro workflow next` and `ntro workflow backfill`: the slots to come and those of the past.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::{ListParams, ObjectMeta, PostParams};
use ntro_crds::workflow_run::{Context, Phase, Request, Trigger, TriggerKind, WorkflowRef};
use ntro_crds::{Workflow, WorkflowRun, WorkflowRunSpec, labels, names};
use ntro_schedule::slots::Slots;
use ntro_schedule::spec::{self, period_of, slots};
use ntro_schedule::zone;
use serde_json::{Value, json};

use crate::args;
use crate::cluster::Cluster;
use crate::commands::{columns, manifest, run as runs, workflow};
use crate::error::{Failure, Outcome, Result};
use crate::printer::{Printer, Table};

/// Slots of one backfill; more are asked for in parts.
const MAX_SLOTS: usize = 1000;
/// How often the runs of a backfill are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A Workflow with its slots.
struct Schedule {
    workflow: Workflow,
    slots: Slots,
    zone: TimeZone,
    jitter: SignedDuration,
}

impl Schedule {
    fn of(workflow: Workflow, namespace: &str) -> Result<Self> {
        let name = workflow.name_any();
        let seed = spec::seed(workflow.namespace().as_deref().unwrap_or(namespace), &name);
        let invalid = |error: String| Failure::Invalid(format!("Workflow {name}: {error}"));
        let slots = slots(&workflow.spec, &seed).map_err(|e| invalid(e.to_string()))?;
        if slots.schedules.is_empty() {
            return Err(invalid("it has no schedule".to_owned()));
        }
        let zone = zone::parse(workflow.spec.time_zone.as_deref()).map_err(|e| invalid(e.to_string()))?;
        Ok(Self { jitter: spec::jitter(&workflow.spec, &seed), workflow, slots, zone })
    }

    fn local(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string()
    }

    fn period(&self, slot: Timestamp) -> String {
        period_of(&self.workflow.spec, slot)
    }
}

/// Runs `ntro workflow next` on a file, which needs no cluster. `None` if what was named is no file.
pub fn next_of_file(args: &args::WorkflowNext, tenant: Option<&str>, printer: Printer) -> Result<Option<Outcome>> {
    let path = Path::new(&args.what);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|e| Failure::Usage(format!("{}: {e}", args.what)))?;
    let bad = |e: String| Failure::Invalid(format!("{}: {e}", args.what));
    let mut found = Vec::new();
    for value in serde_saphyr::from_multiple::<Value>(&text).map_err(|e| bad(e.to_string()))? {
        if value["kind"] == "Workflow" {
            found.push(serde_json::from_value::<Workflow>(value).map_err(|e| bad(e.to_string()))?);
        }
    }
    if found.is_empty() {
        return Err(bad("it holds no Workflow".to_owned()));
    }
    for workflow in found {
        show(args, &Schedule::of(workflow, tenant.unwrap_or("default"))?, printer)?;
    }
    Ok(Some(Outcome::Done))
}

/// Runs `ntro workflow next` on a Workflow of the cluster.
pub async fn next(args: &args::WorkflowNext, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let workflow = workflow::get(cluster, &args.what).await?;
    show(args, &Schedule::of(workflow, cluster.namespace())?, printer)?;
    Ok(Outcome::Done)
}

fn show(args: &args::WorkflowNext, schedule: &Schedule, printer: Printer) -> Result<()> {
    let now = Timestamp::now();
    let after = args.after.as_deref().map_or(Ok(now), |text| instant(text, &schedule.zone, "--after"))?;
    let clock = after.saturating_sub(schedule.jitter).unwrap_or(after);
    let all = std::iter::successors(schedule.slots.next_after(clock), |slot| schedule.slots.next_after(*slot));
    let all: Vec<_> = all.take(args.count).collect();
    if printer.for_people() && schedule.workflow.spec.suspend == Some(true) {
        printer.warn(format!("workflow/{} is suspended: nothing starts", schedule.workflow.name_any()));
    }
    if all.is_empty() {
        printer.warn(format!("workflow/{} has no slot after {after}", schedule.workflow.name_any()));
    }
    let starts = |slot: Timestamp| slot.saturating_add(schedule.jitter).unwrap_or(slot);
    let objects: Vec<_> = all
        .iter()
        .map(|slot| json!({"slot": slot.to_string(), "starts": starts(*slot).to_string(), "period": schedule.period(*slot)}))
        .collect();
    match printer.output() {
        args::Output::Json => {
            let text = serde_json::to_string_pretty(&objects).map_err(|e| Failure::Other(e.to_string()))?;
            printer.line(text);
        }
        args::Output::Yaml => printer.bytes(crate::printer::yaml(&objects)?.as_bytes()),
        args::Output::Name => all.iter().for_each(|slot| printer.line(slot.to_string())),
        args::Output::Table | args::Output::Wide => printer.table(&Table {
            header: vec!["STARTS", "LOCAL TIME", "PERIOD", "SLOT", "RUN"],
            rows: all
                .iter()
                .map(|slot| {
                    vec![
                        columns::time(Some(&Time(starts(*slot)))),
                        schedule.local(starts(*slot)),
                        schedule.period(*slot),
                        columns::time(Some(&Time(*slot))),
                        names::slot_run(&schedule.workflow.name_any(), *slot),
                    ]
                })
                .collect(),
            wide_from: Some(3),
        }),
    }
    Ok(())
}

/// A moment: RFC 3339, or a date, which begins in the schedule's zone.
fn instant(text: &str, zone: &TimeZone, flag: &str) -> Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let date = if text.len() == 10 { text.parse::<Date>().ok() } else { None };
    let start = date.and_then(|date| date.to_zoned(zone.clone()).ok()).map(|start| start.timestamp());
    start.ok_or_else(|| {
        Failure::Usage(format!("{flag} {text}: give a date (2026-01-31) or a time (2026-01-31T08:00:00Z)"))
    })
}

/// Runs `ntro workflow backfill`.
///
/// Each slot gives one run, named after it, whoever asks for it and however often: an interrupted backfill is gone on with
/// by the same command.
pub async fn backfill(args: &args::WorkflowBackfill, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let schedule = Schedule::of(workflow::get(cluster, &args.name).await?, cluster.namespace())?;
    let now = Timestamp::now();
    let from = instant(&args.from, &schedule.zone, "--from")?;
    let to = args.to.as_deref().map_or(Ok(now), |text| instant(text, &schedule.zone, "--to"))?.min(now);
    if from >= to {
        return Err(Failure::Usage(format!("--from {from} is not before --to {to}")));
    }
    let before = from.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(from);
    let (due, older) = schedule.slots.due(before, to, MAX_SLOTS);
    if older > 0 {
        return Err(Failure::Usage(format!("there are more than {MAX_SLOTS} slots: ask for a shorter time at once")));
    }
    let known = phases(cluster, &args.name).await?;
    let plan: Vec<_> = due.iter().map(|slot| Planned::of(&schedule, *slot, &known)).collect();
    if args.dry_run {
        return dry_run(&plan, &schedule, cluster, printer).await;
    }
    let person = cluster.whoami().await?;
    let started = start_all(args, &schedule, cluster, &person.name, &plan, printer).await?;
    let mut ended = phases(cluster, &args.name).await?;
    ended.retain(|name, _| plan.iter().any(|planned| planned.run == *name));
    let count = |wanted: &dyn Fn(&Phase) -> bool| ended.values().filter(|phase| wanted(phase)).count();
    let failed = count(&|phase| matches!(phase, Phase::Failed | Phase::Cancelled | Phase::Blocked));
    let waiting = count(&|phase| *phase == Phase::Waiting);
    printer.line(format!(
        "{} slots: {started} runs started, {} there before; {} succeeded, {waiting} wait for a person, {failed} failed, were cancelled or are blocked",
        plan.len(),
        plan.len() - started,
        count(&|phase| *phase == Phase::Succeeded),
    ));
    Ok(match (failed, waiting) {
        (0, 0) => Outcome::Done,
        (0, _) => Outcome::RunWaits,
        _ => Outcome::RunFailed,
    })
}

/// A slot of a backfill.
struct Planned {
    slot: Timestamp,
    period: String,
    run: String,
    /// The run is there, and where it stands.
    known: Option<Phase>,
}

impl Planned {
    fn of(schedule: &Schedule, slot: Timestamp, known: &BTreeMap<String, Phase>) -> Self {
        let run = names::slot_run(&schedule.workflow.name_any(), slot);
        Self { slot, period: schedule.period(slot), known: known.get(&run).copied(), run }
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
                    context: Some(Context { period: Some(self.period.clone()) }),
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
    let word = |planned: &Planned| match planned.known {
        None => "to be started".to_owned(),
        Some(phase) => format!("there: {}", columns::word(Some(phase))),
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

/// Where the runs of a Workflow stand, by name.
async fn phases(cluster: &Cluster, workflow: &str) -> Result<BTreeMap<String, Phase>> {
    let params = ListParams::default().fields(&format!("spec.request.workflowRef.name={workflow}"));
    let what = format!("list the runs of Workflow {}/{workflow}", cluster.namespace());
    let list = runs::api(cluster).list(&params).await.map_err(|e| Failure::from_kube(&what, e))?;
    Ok(list
        .iter()
        .map(|run| (run.name_any(), run.status.as_ref().and_then(|s| s.phase).unwrap_or(Phase::Pending)))
        .collect())
}

/// Starts what is not there, oldest slot first, with at most so many on the way at a time; waits for all. Says how many it
/// started. A run that waits for a person, or is blocked, holds up no other.
async fn start_all(
    args: &args::WorkflowBackfill,
    schedule: &Schedule,
    cluster: &Cluster,
    initiator: &str,
    plan: &[Planned],
    printer: Printer,
) -> Result<usize> {
    let mut left: Vec<_> = plan.iter().filter(|planned| planned.known.is_none()).rev().collect();
    let busy = |phase: Phase| !(phase.is_terminal() || matches!(phase, Phase::Waiting | Phase::Blocked));
    let ours = plan.iter().filter(|planned| planned.known.is_some_and(busy)).map(|planned| planned.run.clone());
    let mut on_the_way: BTreeSet<_> = ours.collect();
    let mut started = 0;
    while !left.is_empty() || !on_the_way.is_empty() {
        while on_the_way.len() < args.max_parallel
            && let Some(planned) = left.pop()
        {
            let object = planned.object(schedule, cluster.namespace(), initiator);
            match runs::api(cluster).create(&PostParams::default(), &object).await {
                Ok(_) => {
                    started += 1;
                    printer.progress(format!("{} started for {} ({} left)", planned.run, planned.period, left.len()));
                }
                // Somebody else has asked for it since.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(e) => return Err(Failure::from_kube(&format!("start the run {}", planned.run), e)),
            }
            on_the_way.insert(planned.run.clone());
        }
        if on_the_way.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK).await;
        let now = phases(cluster, &args.name).await?;
        on_the_way.retain(|run| {
            let phase = now.get(run).copied();
            let goes_on = phase.is_some_and(busy);
            if !goes_on {
                printer.progress(format!(
                    "{run}: {}",
                    phase.map_or_else(|| "deleted".to_owned(), |phase| columns::word(Some(phase)))
                ));
            }
            goes_on
        });
    }
    Ok(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_the_start_of_a_day_in_the_schedules_zone() {
        let zone = TimeZone::get("Europe/London").unwrap();
        let of = |text: &str| instant(text, &zone, "--from").map(|time| time.to_string());
        assert_eq!(of("2026-07-01").unwrap(), "2026-06-30T23:00:00Z");
        assert_eq!(of("2026-07-01T08:00:00Z").unwrap(), "2026-07-01T08:00:00Z");
        assert!(of("July").unwrap_err().to_string().contains("--from July"));
        assert!(of("2026-02-30").is_err());
    }
}
