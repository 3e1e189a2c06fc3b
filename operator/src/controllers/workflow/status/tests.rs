use std::sync::LazyLock;

use ntro_crds::SlotReason;

use super::super::events;
use super::*;
use crate::cache::Standing;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

static RESOLVED: LazyLock<Resolved> =
    LazyLock::new(|| Resolved { version: "1.0.0".to_owned(), digest: format!("sha256:{}", "a".repeat(64)) });
static OBSERVED: LazyLock<ScheduleObserved> =
    LazyLock::new(|| ScheduleObserved { hash: "hash".to_owned(), time: Time(at(1)) });

fn problem(class: Class, reason: Reason) -> Problem {
    Problem::new(class, reason, "why")
}

fn input(runs: &[RunSummary]) -> StatusInput<'_> {
    StatusInput {
        generation: Some(1),
        requested_at: None,
        schedule_observed: &OBSERVED,
        schedule: None,
        runnable: Ok(&RESOLVED),
        suspended: false,
        next_slot: None,
        served: None,
        skipped: &[],
        queued: &[],
        runs,
        now: at(1000),
    }
}

fn run(name: &str, ending: Option<Ending>, completed: Option<i64>) -> RunSummary {
    RunSummary {
        name: name.to_owned(),
        workflow_uid: None,
        period: None,
        ours: true,
        slot: None,
        by_schedule: false,
        precreated: false,
        begun: true,
        standing: Standing::UnderWay,
        held: false,
        created: Some(at(1)),
        ending,
        completed: completed.map(at),
    }
}

fn condition<'a>(status: &'a WorkflowStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind)
}

#[test]
fn the_same_pass_twice_gives_the_same_status() {
    let runs = [run("a", None, None), run("b", Some(Ending::Failed), Some(50))];
    let first = next(None, &input(&runs));
    let later = StatusInput { now: at(9000), ..input(&runs) };
    assert_eq!(next(Some(&first), &later), first);
    assert!(events::events(Some(&first), &first, &[]).is_empty());
    assert!(can_wait(&first, &first));
}

#[test]
fn a_failed_run_leaves_the_workflow_ready() {
    let runs = [run("a", Some(Ending::Succeeded), Some(40)), run("b", Some(Ending::Failed), Some(50))];
    let status = next(None, &input(&runs));
    assert_eq!(condition(&status, conditions::READY).unwrap().status, "True");
    assert_eq!(condition(&status, conditions::LAST_RUN_SUCCEEDED).unwrap().reason, "RunFailed");
    assert_eq!((status.last_successful_time, status.last_failure_time), (Some(Time(at(40))), Some(Time(at(50)))));
    assert_eq!(status.active, None);
}

#[test]
fn what_pruned_runs_said_is_kept() {
    let ended = [run("a", Some(Ending::Succeeded), Some(40))];
    let before = next(None, &input(&ended));
    let after = next(Some(&before), &input(&[]));
    assert_eq!(after.last_successful_time, before.last_successful_time);
    assert!(condition(&after, conditions::LAST_RUN_SUCCEEDED).is_some());
}

#[test]
fn invalid_stalls_and_waiting_reconciles() {
    let invalid = problem(Class::Invalid, Reason::ConfigInvalid);
    let config = StatusInput { runnable: Err(&invalid), ..input(&[]) };
    let status = next(None, &config);
    assert_eq!(condition(&status, conditions::STALLED).unwrap().reason, "ConfigInvalid");
    assert_eq!(condition(&status, conditions::CONFIG_VALID).unwrap().status, "False");
    let after = std::time::Duration::from_mins(1);
    let missing = problem(Class::Waiting { after }, Reason::RunbookMissing);
    let waiting = StatusInput { runnable: Err(&missing), ..input(&[]) };
    let status = next(Some(&status), &waiting);
    assert!(condition(&status, conditions::STALLED).is_none());
    assert_eq!(condition(&status, conditions::RECONCILING).unwrap().reason, "RunbookMissing");
    assert_eq!(condition(&status, conditions::READY).unwrap().status, "False");
}

#[test]
fn missed_slots_add_up_and_each_is_told_once() {
    let missed = |count, latest, reason| Skipped { count, ..Skipped::one(at(latest), reason) };
    let three = [missed(3, 600, SlotReason::DeadlineExceeded)];
    let before = next(None, &StatusInput { skipped: &three, ..input(&[]) });
    let both = [missed(1, 660, SlotReason::QueueFull), missed(1, 540, SlotReason::DeadlineExceeded)];
    let after = next(Some(&before), &StatusInput { skipped: &both, ..input(&[]) });
    let known = after.missed.clone().unwrap();
    assert_eq!((known.count, known.time, known.reason.as_str()), (5, Time(at(660)), SlotReason::QueueFull.as_str()));
    assert_eq!(events::events(Some(&before), &after, &both).len(), 2);
    assert!(!can_wait(&before, &after));
    let old = [missed(1, 100, SlotReason::QueueFull)];
    let older = next(Some(&after), &StatusInput { skipped: &old, ..input(&[]) });
    assert_eq!(older.missed.unwrap().time, Time(at(660)), "the latest stays the latest");
}

#[test]
fn slots_that_wait_are_shown_and_told_once() {
    let slot =
        |second, reason| Queued { slot: at(second), period: "2026-10".into(), held_by: "nav-abcde".into(), reason };
    let waiting = [slot(600, SlotReason::RunWaiting)];
    let one = next(None, &StatusInput { queued: &waiting, ..input(&[]) });
    let events = events::events(None, &one, &[]);
    assert!(
        events.iter().any(|event| event.reason == "Queued" && event.note.contains("is waiting for a gate")),
        "{events:?}"
    );
    let two = [slot(600, SlotReason::RunUnfinished), slot(660, SlotReason::RunUnfinished)];
    let two = next(Some(&one), &StatusInput { queued: &two, ..input(&[]) });
    assert_eq!(events::events(Some(&one), &two, &[]).len(), 1);
    assert_eq!(next(Some(&two), &input(&[])).queued, None);
}
