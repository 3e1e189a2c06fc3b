//! The next status of a Workflow. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use ntro_crds::Reason;
use ntro_crds::conditions::{self, Readiness};
use ntro_crds::runbook::Resolved;
use ntro_crds::workflow::{ActiveRun, MissedSlots, QueuedSlot, ScheduleObserved};
use ntro_crds::{WorkflowStatus, labels};

use super::apply::Applied;
use super::decide::{Queued, Skipped};
use super::observe::Observed;
use super::validate::Validated;
use crate::cache::{Ending, RunSummary};
use crate::clock::whole_seconds;
use crate::error::{Class, Problem};

/// Most entries of `status.active`.
const MAX_ACTIVE: usize = 64;

/// What a status says.
#[derive(Debug, Clone)]
pub(super) struct StatusInput<'a> {
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Value of the annotation that asks for a reconcile now.
    pub requested_at: Option<&'a str>,
    /// Since when the schedule holds.
    pub schedule_observed: &'a ScheduleObserved,
    /// What is wrong with the schedule, if there is one.
    pub schedule: Option<Result<(), &'a Problem>>,
    /// The version the next run would take, or why none could be started.
    pub runnable: Result<&'a Resolved, &'a Problem>,
    /// The schedule is suspended.
    pub suspended: bool,
    /// When the next slot is due.
    pub next_slot: Option<Timestamp>,
    /// The latest slot that was served.
    pub served: Option<Timestamp>,
    /// Slots that gave no run.
    pub skipped: &'a [Skipped],
    /// Slots that wait.
    pub queued: &'a [Queued],
    /// All runs, launched ones included.
    pub runs: &'a [RunSummary],
    pub now: Timestamp,
}

impl<'a> StatusInput<'a> {
    /// A status can only be made from what was applied.
    pub(super) fn of(observed: &'a Observed, validated: &'a Validated, applied: &'a Applied) -> Self {
        let workflow = &observed.workflow;
        let requested_at =
            workflow.metadata.annotations.as_ref().and_then(|all| all.get(labels::RECONCILE_REQUESTED_AT));
        Self {
            generation: workflow.metadata.generation,
            requested_at: requested_at.map(String::as_str),
            schedule_observed: &applied.schedule,
            schedule: match &validated.rules {
                Ok(_) => validated.scheduled.then_some(Ok(())),
                Err(problem) => Some(Err(problem)),
            },
            runnable: validated.runnable.as_ref(),
            suspended: workflow.spec.suspend == Some(true),
            next_slot: applied.decision.next_slot,
            served: applied.served,
            skipped: &applied.skipped,
            queued: &applied.decision.queued,
            runs: &applied.runs,
            now: observed.now,
        }
    }
}

/// The next status. What cannot be told from the runs that are left stays as it was.
pub(super) fn next(previous: Option<&WorkflowStatus>, input: &StatusInput<'_>) -> WorkflowStatus {
    let mut status = previous.cloned().unwrap_or_default();
    status.observed_generation = input.generation;
    if let Some(requested) = input.requested_at {
        status.last_handled_reconcile_at = Some(requested.to_owned());
    }
    if let Ok(resolved) = input.runnable {
        status.runbook = Some(resolved.clone());
    }
    status.schedule_observed = Some(input.schedule_observed.clone());
    status.next_schedule_time = input.next_slot.map(whole_seconds);
    let last_run = status.last_schedule_time.as_ref().map(|time| time.0);
    status.last_schedule_time = input.served.max(last_run).map(whole_seconds);
    status.missed = missed(status.missed, input.skipped);
    status.queued = queued(input.queued);
    status.active = active(input.runs);
    status.last_successful_time = latest(status.last_successful_time, input.runs, Ending::Succeeded);
    status.last_failure_time = latest(status.last_failure_time, input.runs, Ending::Failed);
    let mut list = status.conditions.take().unwrap_or_default();
    set_conditions(&mut list, input);
    status.conditions = Some(list);
    status
}

fn missed(before: Option<MissedSlots>, skipped: &[Skipped]) -> Option<MissedSlots> {
    let Some(last) = skipped.iter().max_by_key(|skipped| skipped.latest) else { return before };
    let count = skipped.iter().map(|skipped| i64::try_from(skipped.count).unwrap_or(i64::MAX));
    let count = count.fold(before.as_ref().map_or(0, |before| before.count), i64::saturating_add);
    // A slot that waited and was given up may be older than one that was skipped before.
    let later = before.filter(|before| before.time.0 > last.latest);
    Some(later.map_or_else(
        || MissedSlots { count, time: whole_seconds(last.latest), reason: last.reason.as_str().to_owned() },
        |later| MissedSlots { count, ..later },
    ))
}

fn queued(slots: &[Queued]) -> Option<Vec<QueuedSlot>> {
    let list: Vec<_> = slots
        .iter()
        .map(|queued| QueuedSlot {
            time: whole_seconds(queued.slot),
            period: queued.period.clone(),
            held_by: queued.held_by.clone(),
            reason: queued.reason.as_str().to_owned(),
        })
        .collect();
    (!list.is_empty()).then_some(list)
}

/// Whether a change of the status can wait until the runs that are due were started: it tells of runs only.
pub(super) fn can_wait(before: &WorkflowStatus, next: &WorkflowStatus) -> bool {
    let others = |status: &WorkflowStatus| {
        let conditions: Vec<_> =
            status.conditions.iter().flatten().map(|c| (c.type_.clone(), c.status.clone())).collect();
        let requested = status.last_handled_reconcile_at.clone();
        (conditions, status.observed_generation, requested, status.schedule_observed.clone(), status.missed.clone())
    };
    others(before) == others(next) && before.queued == next.queued
}

fn active(runs: &[RunSummary]) -> Option<Vec<ActiveRun>> {
    let mut open: Vec<_> = runs.iter().filter(|run| !run.ended()).collect();
    open.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    let list = open.into_iter().take(MAX_ACTIVE);
    let list: Vec<_> = list.map(|run| ActiveRun { name: run.name.clone(), period: run.period.clone() }).collect();
    (!list.is_empty()).then_some(list)
}

fn latest(before: Option<Time>, runs: &[RunSummary], ending: Ending) -> Option<Time> {
    let ended = runs.iter().filter(|run| run.ours && run.ending == Some(ending)).filter_map(|run| run.completed);
    before.map(|time| time.0).into_iter().chain(ended).max().map(whole_seconds)
}

fn set_conditions(list: &mut Vec<Condition>, input: &StatusInput<'_>) {
    let (generation, now) = (input.generation, input.now);
    let make = |kind: &str, status: bool, reason: Reason, message: &str| {
        conditions::condition(kind, status, reason, message, generation, now)
    };
    match input.schedule {
        None => conditions::remove(list, conditions::SCHEDULE_VALID),
        Some(Ok(())) => {
            conditions::upsert(list, make(conditions::SCHEDULE_VALID, true, Reason::Valid, "schedule is valid"));
        }
        Some(Err(problem)) => {
            conditions::upsert(list, make(conditions::SCHEDULE_VALID, false, problem.reason, &problem.message));
        }
    }
    match input.runnable {
        Ok(version) => {
            let message = format!("config matches config_schema of version {}", version.version);
            conditions::upsert(list, make(conditions::CONFIG_VALID, true, Reason::Valid, &message));
        }
        Err(problem) if problem.reason == Reason::ConfigInvalid => {
            conditions::upsert(list, make(conditions::CONFIG_VALID, false, problem.reason, &problem.message));
        }
        // The configuration was not at fault: what was known of it stays.
        Err(_) => {}
    }
    if let Some(run) = input.runs.iter().filter(|run| counts(run)).max_by_key(|run| (run.completed, &run.name)) {
        let (succeeded, reason) = match run.ending {
            Some(Ending::Succeeded) => (true, Reason::RunSucceeded),
            Some(Ending::Cancelled) => (false, Reason::RunCancelled),
            _ => (false, Reason::RunFailed),
        };
        conditions::upsert(list, make(conditions::LAST_RUN_SUCCEEDED, succeeded, reason, &run.name));
    }
    let (readiness, reason, message) = readiness(input);
    conditions::set_readiness(list, &readiness, reason, &message, generation, now);
}

fn counts(run: &RunSummary) -> bool {
    run.ours && run.ending.is_some_and(|ending| ending != Ending::AlreadyRan)
}

/// A failed run does not make its Workflow unready: this speaks only of whether a run could be started.
fn readiness(input: &StatusInput<'_>) -> (Readiness, Reason, String) {
    let schedule = input.schedule.and_then(Result::err);
    if let Some(problem) = schedule.or(input.runnable.err()) {
        let stalled = matches!(problem.class, Class::Invalid);
        let readiness = if stalled { Readiness::Stalled } else { Readiness::Reconciling };
        return (readiness, problem.reason, problem.message.clone());
    }
    let version = input.runnable.map(|resolved| resolved.version.as_str()).unwrap_or_default();
    if input.suspended {
        return (Readiness::Ready, Reason::Suspended, format!("ready to run version {version}; schedule is suspended"));
    }
    if input.schedule.is_some() && input.next_slot.is_none() {
        let message = format!("ready to run version {version}; schedule has no more slots: see notAfter");
        return (Readiness::Ready, Reason::ScheduleEnded, message);
    }
    (Readiness::Ready, Reason::Available, format!("ready to run version {version}"))
}

#[cfg(test)]
mod tests;
