//! The next status of a Workflow, and which events the change is worth. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::runtime::events::EventType;
use ntro_crds::WorkflowStatus;
use ntro_crds::conditions::{self, Readiness};
use ntro_crds::runbook::Resolved;
use ntro_crds::workflow::{ActiveRun, Missed, ScheduleObserved};

use super::decide::Skipped;
use super::facts::{Ending, RunFact};
use crate::error::{Class, Problem};

/// Most entries of `status.active`.
const MAX_ACTIVE: usize = 64;

/// What a pass found.
#[derive(Debug, Clone)]
pub struct Found<'a> {
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Value of the annotation that asks for a pass now.
    pub requested_at: Option<&'a str>,
    /// Since when the schedule holds; `None` without a schedule.
    pub observed: Option<ScheduleObserved>,
    /// What is wrong with the schedule, if it has one.
    pub schedule: Option<Result<(), Problem>>,
    /// The version the next run would take, or why none could be started.
    pub runnable: Result<Resolved, Problem>,
    /// The schedule is suspended.
    pub suspended: bool,
    /// When the next slot is due.
    pub next_slot: Option<Timestamp>,
    /// The slot served in this pass.
    pub served: Option<Timestamp>,
    /// Slots given up in this pass.
    pub skipped: Option<Skipped>,
    /// All runs, the one just started included.
    pub runs: &'a [RunFact],
    /// The current instant.
    pub now: Timestamp,
}

/// The next status. What cannot be told from the runs that are left stays as it was.
pub fn next(previous: Option<&WorkflowStatus>, found: &Found<'_>) -> WorkflowStatus {
    let mut status = previous.cloned().unwrap_or_default();
    status.observed_generation = found.generation;
    if let Some(requested) = found.requested_at {
        status.last_handled_reconcile_at = Some(requested.to_owned());
    }
    if let Ok(resolved) = &found.runnable {
        status.runbook = Some(resolved.clone());
    }
    status.schedule_observed.clone_from(&found.observed);
    status.next_schedule_time = found.next_slot.map(time);
    if let Some(slot) = found.served {
        status.last_schedule_time = Some(time(slot));
    }
    if let Some(skipped) = found.skipped {
        let before = status.missed.as_ref().map_or(0, |missed| missed.count);
        let count = before.saturating_add(skipped.count);
        status.missed = Some(Missed { count, time: time(skipped.latest), reason: skipped.reason.to_owned() });
    }
    status.active = active(found.runs);
    status.last_successful_time = latest(status.last_successful_time, found.runs, Ending::Succeeded);
    status.last_failure_time = latest(status.last_failure_time, found.runs, Ending::Failed);
    let mut list = status.conditions.take().unwrap_or_default();
    set_conditions(&mut list, found);
    status.conditions = Some(list);
    status
}

fn active(runs: &[RunFact]) -> Option<Vec<ActiveRun>> {
    let mut open: Vec<_> = runs.iter().filter(|run| !run.ended()).collect();
    open.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    let list = open.into_iter().take(MAX_ACTIVE);
    let list: Vec<_> = list.map(|run| ActiveRun { name: run.name.clone(), period: run.period.clone() }).collect();
    (!list.is_empty()).then_some(list)
}

fn latest(before: Option<Time>, runs: &[RunFact], ending: Ending) -> Option<Time> {
    let ended = runs.iter().filter(|run| run.ending == Some(ending)).filter_map(|run| run.completed);
    before.map(|time| time.0).into_iter().chain(ended).max().map(time)
}

fn set_conditions(list: &mut Vec<Condition>, found: &Found<'_>) {
    let (generation, now) = (found.generation, found.now);
    let make = |kind: &str, status: bool, reason: &str, message: &str| {
        conditions::condition(kind, status, reason, message, generation, now)
    };
    match &found.schedule {
        None => conditions::remove(list, conditions::SCHEDULE_VALID),
        Some(Ok(())) => {
            conditions::upsert(list, make(conditions::SCHEDULE_VALID, true, "Valid", "the schedule can be read"));
        }
        Some(Err(problem)) => {
            conditions::upsert(list, make(conditions::SCHEDULE_VALID, false, problem.reason, &problem.message));
        }
    }
    match &found.runnable {
        Ok(version) => {
            let message = format!("the configuration fits config_schema of version {}", version.version);
            conditions::upsert(list, make(conditions::CONFIG_VALID, true, "Valid", &message));
        }
        Err(problem) if problem.reason == "ConfigInvalid" => {
            conditions::upsert(list, make(conditions::CONFIG_VALID, false, problem.reason, &problem.message));
        }
        // The configuration was not at fault: what was known of it stays.
        Err(_) => {}
    }
    if let Some(run) = found.runs.iter().filter(|run| counts(run)).max_by_key(|run| (run.completed, &run.name)) {
        let (succeeded, reason) = match run.ending {
            Some(Ending::Succeeded) => (true, "RunSucceeded"),
            Some(Ending::Cancelled) => (false, "RunCancelled"),
            _ => (false, "RunFailed"),
        };
        conditions::upsert(list, make(conditions::LAST_RUN_SUCCEEDED, succeeded, reason, &run.name));
    }
    let (readiness, reason, message) = readiness(found);
    conditions::set_readiness(list, &readiness, reason, &message, generation, now);
}

fn counts(run: &RunFact) -> bool {
    run.ending.is_some_and(|ending| ending != Ending::AlreadyRan)
}

/// A failed run does not make its Workflow unready: this speaks only of whether a run could be started.
fn readiness(found: &Found<'_>) -> (Readiness, &'static str, String) {
    let schedule = found.schedule.as_ref().and_then(|schedule| schedule.as_ref().err());
    if let Some(problem) = schedule.or(found.runnable.as_ref().err()) {
        let stalled = matches!(problem.class, Class::Invalid);
        let readiness = if stalled { Readiness::Stalled } else { Readiness::Reconciling };
        return (readiness, problem.reason, problem.message.clone());
    }
    let version = found.runnable.as_ref().map(|resolved| resolved.version.as_str()).unwrap_or_default();
    if found.suspended {
        return (Readiness::Ready, "Suspended", format!("version {version} can be run; the schedule is suspended"));
    }
    (Readiness::Ready, "Available", format!("version {version} can be run"))
}

fn time(at: Timestamp) -> Time {
    // Whole seconds, as the API server keeps them.
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// An event worth publishing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whether it is a warning.
    pub kind: EventType,
    /// Its reason.
    pub reason: String,
    /// One sentence.
    pub note: String,
}

/// What the change of a status is worth telling: a slot that gave no run, and a Ready that changed.
pub fn events(previous: Option<&WorkflowStatus>, next: &WorkflowStatus) -> Vec<Told> {
    let mut told = Vec::new();
    let missed = next.missed.as_ref().filter(|missed| previous.and_then(|p| p.missed.as_ref()) != Some(missed));
    if let Some(missed) = missed {
        let note = format!("slot {} gave no run: {}", missed.time.0, missed.reason);
        told.push(Told { kind: EventType::Warning, reason: missed.reason.clone(), note });
    }
    let ready = |status: &WorkflowStatus| {
        let condition = status.conditions.iter().flatten().find(|c| c.type_ == conditions::READY).cloned();
        condition.map(|c| (c.status, c.reason, c.message))
    };
    let (before, after) = (previous.and_then(ready), ready(next));
    if let Some((status, reason, note)) =
        after.filter(|after| before.as_ref().map(|b| (&b.0, &b.1)) != Some((&after.0, &after.1)))
    {
        let kind = if status == "True" { EventType::Normal } else { EventType::Warning };
        told.push(Told { kind, reason, note });
    }
    told
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
