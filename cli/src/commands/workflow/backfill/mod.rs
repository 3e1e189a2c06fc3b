//! `ntro workflow backfill`: starts the missing runs of past slots.
//!
//! A slot gives one run, named after it, whoever asks for it and however often: the same command resumes an interrupted
//! backfill.

mod slot_state;
mod summary;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::PostParams;
use ntro_crds::workflow_run::{Trigger, TriggerKind};
use ntro_crds::{WorkflowRun, names};

use self::slot_state::{SlotState, SlotStates};
use self::summary::BackfillSummary;
use super::get;
use super::new_run::new_run;
use crate::args::{OutputFormat, WorkflowBackfillArgs};
use crate::cluster::Cluster;
use crate::commands::run as runs;
use crate::commands::shared::schedule::{WorkflowSchedule, parse_end, parse_start};
use crate::commands::shared::{columns, manifest, parse_timeout};
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::{Printer, Table};

/// The slots of one backfill are planned at once.
const MAX_SLOTS: usize = 1000;
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Runs that a message names, the others are counted.
const MAX_NAMED: usize = 5;

pub(super) async fn run(args: &WorkflowBackfillArgs, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let timeout = args.timeout.as_deref().map(parse_timeout).transpose()?;
    let schedule = WorkflowSchedule::new(get(cluster, &args.name).await?, cluster.namespace())?;
    let slots = slots(args, &schedule)?;
    let existing = slot_state::list(cluster, &args.name).await?;
    let plan: Vec<_> = slots.into_iter().map(|slot| PlannedRun::new(&schedule, slot, &existing)).collect();
    let person = cluster.whoami().await?;
    let backfill = Backfill { args, schedule: &schedule, cluster, initiator: &person.name, timeout, printer };
    if args.dry_run {
        backfill.print_plan(&plan)?;
        return Ok(ExitStatus::Success);
    }
    let (created, states) = backfill.start_all(&plan, existing).await?;
    let summary = BackfillSummary::of(&plan, &created, &states);
    match printer.output() {
        OutputFormat::Json | OutputFormat::Yaml => printer.objects(&[&summary], Table::default)?,
        OutputFormat::Name | OutputFormat::Table | OutputFormat::Wide => printer.line(summary.sentence()),
    }
    Ok(summary.exit_status())
}

/// The past slots of the interval, oldest first.
fn slots(args: &WorkflowBackfillArgs, schedule: &WorkflowSchedule) -> Result<Vec<Timestamp>> {
    let now = Timestamp::now();
    let from = parse_start(&args.from, &schedule.zone, "--from")?;
    let to = args.to.as_deref().map_or(Ok(now), |text| parse_end(text, &schedule.zone, "--to"))?.min(now);
    if from >= to {
        return Err(Failure::Usage(format!("--from {from} is not before --to {to}")));
    }
    let before = from.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(from);
    let (slots, older) = schedule.slots.due(before, to, MAX_SLOTS);
    if older > 0 {
        return Err(Failure::Usage(format!("more than {MAX_SLOTS} slots, shorten the interval with --from or --to")));
    }
    Ok(slots)
}

#[derive(Debug)]
struct PlannedRun {
    slot: Timestamp,
    period: String,
    name: String,
    /// State of the run if its object exists already.
    existing: Option<SlotState>,
}

impl PlannedRun {
    fn new(schedule: &WorkflowSchedule, slot: Timestamp, existing: &SlotStates) -> Self {
        let name = names::slot_run(&schedule.workflow.name_any(), slot);
        Self { slot, period: schedule.period(slot), existing: existing.get(&name).cloned(), name }
    }
}

struct Backfill<'a> {
    args: &'a WorkflowBackfillArgs,
    schedule: &'a WorkflowSchedule,
    cluster: &'a Cluster,
    initiator: &'a str,
    timeout: Option<Duration>,
    printer: Printer,
}

impl Backfill<'_> {
    fn print_plan(&self, plan: &[PlannedRun]) -> Result<()> {
        let missing = plan.iter().filter(|planned| planned.existing.is_none());
        let objects: Result<Vec<_>> = missing.map(|planned| manifest(&self.object(planned))).collect();
        let row = |planned: &PlannedRun| {
            let slot = columns::time(Some(&Time(planned.slot)));
            let state = planned.existing.as_ref().map_or_else(|| "to be started".to_owned(), SlotState::describe);
            vec![slot, self.schedule.local(planned.slot), planned.period.clone(), planned.name.clone(), state]
        };
        self.printer.objects(&objects?, || Table {
            header: vec!["SLOT", "LOCAL TIME", "PERIOD", "RUN", "STATE"],
            rows: plan.iter().map(row).collect(),
            wide_from: None,
        })
    }

    /// Starts what is missing, oldest slot first, with at most `--max-parallel` in flight, and waits for all. A run that
    /// waits for a person, is blocked or was refused holds up no other. Gives the runs whose objects it created, and the
    /// latest known state of all.
    async fn start_all(&self, plan: &[PlannedRun], mut states: SlotStates) -> Result<(BTreeSet<String>, SlotStates)> {
        let begun = Instant::now();
        let mut left: Vec<_> = plan.iter().filter(|planned| planned.existing.is_none()).rev().collect();
        let mut in_flight = self.adopt(plan);
        let mut created = BTreeSet::new();
        loop {
            while in_flight.len() < self.args.max_parallel
                && let Some(planned) = left.pop()
            {
                if self.create(planned).await? {
                    created.insert(planned.name.clone());
                    let (name, period) = (&planned.name, &planned.period);
                    self.printer.progress(format!("{name}: started for {period}, {} left", left.len()));
                }
                in_flight.insert(planned.name.clone());
            }
            if in_flight.is_empty() {
                return Ok((created, states));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = slot_state::list(self.cluster, &self.args.name).await?;
            in_flight.retain(|run| self.is_still_in_flight(run, now.get(run)));
            // The last state of an object that was deleted since is kept.
            states.extend(now);
            let unfinished = !in_flight.is_empty() || !left.is_empty();
            if let Some(timeout) = self.timeout.filter(|timeout| unfinished && begun.elapsed() > *timeout) {
                return Err(Failure::Timeout(timed_out(&self.args.name, timeout, &in_flight, left.len())));
            }
        }
    }

    /// The runs that are in flight from an earlier backfill; prints those that will not be started although they failed.
    fn adopt(&self, plan: &[PlannedRun]) -> BTreeSet<String> {
        let mut in_flight = BTreeSet::new();
        for planned in plan {
            match &planned.existing {
                Some(SlotState::InFlight(_)) => {
                    in_flight.insert(planned.name.clone());
                }
                Some(state @ (SlotState::RanBefore | SlotState::Failed(_))) => {
                    self.printer.progress(format!("{}: {}", planned.name, state.describe()));
                }
                Some(SlotState::Waiting | SlotState::Succeeded) | None => {}
            }
        }
        in_flight
    }

    fn is_still_in_flight(&self, run: &str, state: Option<&SlotState>) -> bool {
        let in_flight = state.is_some_and(SlotState::is_in_flight);
        if !in_flight {
            let state = state.map_or_else(|| "deleted".to_owned(), SlotState::describe);
            self.printer.progress(format!("{run}: {state}"));
        }
        in_flight
    }

    /// False if it exists already, as somebody else has asked for it since.
    async fn create(&self, planned: &PlannedRun) -> Result<bool> {
        match runs::api(self.cluster).create(&PostParams::default(), &self.object(planned)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(e) => {
                let what = format!("create WorkflowRun {}/{}", self.cluster.namespace(), planned.name);
                Err(Failure::from_kube(&what, e))
            }
        }
    }

    fn object(&self, planned: &PlannedRun) -> WorkflowRun {
        let trigger = Trigger {
            kind: TriggerKind::Backfill,
            initiator: self.initiator.to_owned(),
            scheduled_time: Some(Time(planned.slot)),
            parent: None,
        };
        let namespace = self.cluster.namespace();
        new_run(&self.schedule.workflow, namespace, &planned.name, planned.period.clone(), trigger)
    }
}

fn timed_out(workflow: &str, timeout: Duration, in_flight: &BTreeSet<String>, left: usize) -> String {
    let mut named: Vec<_> = in_flight.iter().take(MAX_NAMED).cloned().collect();
    if in_flight.len() > MAX_NAMED {
        named.push(format!("{} more", in_flight.len() - MAX_NAMED));
    }
    let named = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
    format!(
        "backfill of workflow `{workflow}` unfinished after {}s, in flight: {named}; {left} slots not started; rerun to resume",
        timeout.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backfill_that_timed_out_says_what_is_missing() {
        let runs = |n: usize| (0..n).map(|i| format!("nav-{i}")).collect();
        let minute = Duration::from_mins(1);
        let text = timed_out("nav", minute, &runs(1), 3);
        assert!(text.contains("after 60s, in flight: nav-0; 3 slots not started"), "{text}");
        assert!(timed_out("nav", minute, &runs(7), 0).contains("nav-4, 2 more"));
    }
}
