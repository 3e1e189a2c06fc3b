//! The next status of a Workflow, and which events the change is worth. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::runtime::events::EventType;
use ntro_crds::WorkflowStatus;
use ntro_crds::conditions::{self, Readiness};
use ntro_crds::runbook::Resolved;
use ntro_crds::workflow::{ActiveRun, Missed, QueuedSlot, ScheduleObserved};

use super::decide::{EARLIER_SLOT, Queued, Skipped, reason};
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
    pub skipped: Vec<Skipped>,
    /// Slots that wait.
    pub queued: Vec<Queued>,
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
    let last_run = status.last_schedule_time.as_ref().map(|time| time.0);
    status.last_schedule_time = found.served.max(last_run).map(time);
    status.missed = missed(status.missed, &found.skipped);
    status.queued = queued(&found.queued);
    status.active = active(found.runs);
    status.last_successful_time = latest(status.last_successful_time, found.runs, Ending::Succeeded);
    status.last_failure_time = latest(status.last_failure_time, found.runs, Ending::Failed);
    let mut list = status.conditions.take().unwrap_or_default();
    set_conditions(&mut list, found);
    status.conditions = Some(list);
    status
}

fn missed(before: Option<Missed>, skipped: &[Skipped]) -> Option<Missed> {
    let Some(last) = skipped.iter().max_by_key(|skipped| skipped.latest) else { return before };
    let count = skipped.iter().map(|skipped| i64::try_from(skipped.count).unwrap_or(i64::MAX));
    let count = count.fold(before.as_ref().map_or(0, |before| before.count), i64::saturating_add);
    // A slot that waited and was given up may be older than one that was skipped before.
    let later = before.filter(|before| before.time.0 > last.latest);
    Some(later.map_or_else(
        || Missed { count, time: time(last.latest), reason: last.reason.to_owned() },
        |later| Missed { count, ..later },
    ))
}

fn queued(slots: &[Queued]) -> Option<Vec<QueuedSlot>> {
    let list: Vec<_> = slots
        .iter()
        .map(|queued| QueuedSlot {
            time: time(queued.slot),
            period: queued.period.clone(),
            behind: queued.behind.clone(),
            reason: queued.reason.to_owned(),
        })
        .collect();
    (!list.is_empty()).then_some(list)
}

/// Whether a change of the status can wait until the runs that are due were started: it tells of runs only.
pub fn can_wait(before: &WorkflowStatus, next: &WorkflowStatus) -> bool {
    let others = |status: &WorkflowStatus| {
        let conditions: Vec<_> =
            status.conditions.iter().flatten().map(|c| (c.type_.clone(), c.status.clone())).collect();
        let requested = status.last_handled_reconcile_at.clone();
        (conditions, status.observed_generation, requested, status.schedule_observed.clone(), status.missed.clone())
    };
    others(before) == others(next) && before.queued == next.queued
}

fn active(runs: &[RunFact]) -> Option<Vec<ActiveRun>> {
    let mut open: Vec<_> = runs.iter().filter(|run| !run.ended()).collect();
    open.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    let list = open.into_iter().take(MAX_ACTIVE);
    let list: Vec<_> = list.map(|run| ActiveRun { name: run.name.clone(), period: run.period.clone() }).collect();
    (!list.is_empty()).then_some(list)
}

fn latest(before: Option<Time>, runs: &[RunFact], ending: Ending) -> Option<Time> {
    let ended = runs.iter().filter(|run| run.ours && run.ending == Some(ending)).filter_map(|run| run.completed);
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
    run.ours && run.ending.is_some_and(|ending| ending != Ending::AlreadyRan)
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
    if found.schedule.is_some() && found.next_slot.is_none() {
        let message = format!("version {version} can be run; the schedule has no slots any more: see notAfter");
        return (Readiness::Ready, "ScheduleEnded", message);
    }
    (Readiness::Ready, "Available", format!("version {version} can be run"))
}

/// A reason in words; `behind` is the run it is about.
fn explained(reason: &str, behind: Option<&str>) -> String {
    let run = match behind {
        None | Some(EARLIER_SLOT) => format!("{EARLIER_SLOT} of the same period"),
        Some(run) => format!("run {run} of the same period"),
    };
    match reason {
        reason::DEADLINE_EXCEEDED => "it could not be started within startingDeadlineSeconds".to_owned(),
        reason::SUPERSEDED => "a later slot was due as well".to_owned(),
        reason::POLICY_SKIP => "it was missed, and missedRunPolicy is Skip".to_owned(),
        reason::UNFINISHED => format!("{run} is unfinished"),
        reason::WAITING => format!("{run} waits for a person at a gate, or for something else outside"),
        reason::BLOCKED => format!("{run} is blocked until a person retries or cancels it"),
        reason::REPLACING => format!("{run} is being cancelled"),
        reason::NOT_STARTED => "it could not be started yet, the condition Ready says why".to_owned(),
        reason::CLOCK_SET_BACK => "it was due, and the clock has been set back since".to_owned(),
        reason::QUEUE_FULL => format!("{run} is unfinished, and as many slots wait as maxQueuedRuns allows"),
        reason::SCHEDULE_CHANGED => "the schedule was edited, or suspended, while it waited".to_owned(),
        reason::NAME_TAKEN => "a run that is none of this Workflow has its name".to_owned(),
        other => other.to_owned(),
    }
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
    /// It is about a slot: never one with another of the same reason, which was about another slot.
    pub by_itself: bool,
}

/// What the change of a status is worth telling: slots that gave no run, slots that wait, and a Ready that changed.
pub fn events(previous: Option<&WorkflowStatus>, next: &WorkflowStatus, skipped: &[Skipped]) -> Vec<Told> {
    let mut told = Vec::new();
    for Skipped { count, latest, reason, period, behind } in skipped {
        let slots = if *count == 1 { "slot".to_owned() } else { format!("{count} slots up to") };
        let period = period.as_ref().map(|period| format!(" for {period}")).unwrap_or_default();
        let note = format!("{slots} {latest}{period} gave no run: {}", explained(reason, behind.as_deref()));
        told.push(Told { kind: EventType::Warning, reason: (*reason).to_owned(), note, by_itself: true });
    }
    let known = previous.and_then(|p| p.queued.as_deref()).unwrap_or_default();
    let new = next.queued.iter().flatten().filter(|slot| known.iter().all(|known| known.time != slot.time));
    for QueuedSlot { time, period, behind, reason } in new {
        let note = format!("slot {} for {period} waits: {}", time.0, explained(reason, Some(behind)));
        told.push(Told { kind: EventType::Normal, reason: "Queued".to_owned(), note, by_itself: true });
    }
    let ready = |status: &WorkflowStatus| {
        let condition = status.conditions.iter().flatten().find(|c| c.type_ == conditions::READY).cloned();
        condition.map(|c| (c.status, c.reason, c.message))
    };
    let (before, after) = (previous.and_then(ready), ready(next));
    if let Some((status, reason, note)) =
        after.filter(|after| before.as_ref().map(|b| (&b.0, &b.1)) != Some((&after.0, &after.1)))
    {
        // What only waits for something else is no cause for worry.
        let stalled = next.conditions.iter().flatten().any(|c| c.type_ == conditions::STALLED);
        let kind = if status == "True" || !stalled { EventType::Normal } else { EventType::Warning };
        told.push(Told { kind, reason, note, by_itself: false });
    }
    told
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
