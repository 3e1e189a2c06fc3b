use super::super::facts::Standing;
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn resolved() -> Resolved {
    Resolved { version: "1.0.0".to_owned(), digest: format!("sha256:{}", "a".repeat(64)) }
}

fn problem(class: Class, reason: &'static str) -> Problem {
    Problem { class, reason, message: "why".to_owned() }
}

fn found(runs: &[RunFact]) -> Found<'_> {
    Found {
        generation: Some(1),
        requested_at: None,
        observed: None,
        schedule: None,
        runnable: Ok(resolved()),
        suspended: false,
        next_slot: None,
        served: None,
        skipped: Vec::new(),
        queued: Vec::new(),
        runs,
        now: at(1000),
    }
}

fn run(name: &str, ending: Option<Ending>, completed: Option<i64>) -> RunFact {
    RunFact {
        name: name.to_owned(),
        workflow_uid: None,
        period: None,
        ours: true,
        slot: None,
        by_schedule: false,
        ahead: false,
        begun: true,
        standing: Standing::UnderWay,
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
    let first = next(None, &found(&runs));
    let later = Found { now: at(9000), ..found(&runs) };
    assert_eq!(next(Some(&first), &later), first);
    assert!(events(Some(&first), &first, &[]).is_empty());
    assert!(can_wait(&first, &first));
}

#[test]
fn a_failed_run_leaves_the_workflow_ready() {
    let runs = [run("a", Some(Ending::Succeeded), Some(40)), run("b", Some(Ending::Failed), Some(50))];
    let status = next(None, &found(&runs));
    assert_eq!(condition(&status, conditions::READY).unwrap().status, "True");
    assert_eq!(condition(&status, conditions::LAST_RUN_SUCCEEDED).unwrap().reason, "RunFailed");
    assert_eq!((status.last_successful_time, status.last_failure_time), (Some(Time(at(40))), Some(Time(at(50)))));
    assert_eq!(status.active, None);
}

#[test]
fn what_pruned_runs_said_is_kept() {
    let ended = [run("a", Some(Ending::Succeeded), Some(40))];
    let before = next(None, &found(&ended));
    let after = next(Some(&before), &found(&[]));
    assert_eq!(after.last_successful_time, before.last_successful_time);
    assert!(condition(&after, conditions::LAST_RUN_SUCCEEDED).is_some());
}

#[test]
fn invalid_stalls_and_waiting_reconciles() {
    let config = Found { runnable: Err(problem(Class::Invalid, "ConfigInvalid")), ..found(&[]) };
    let status = next(None, &config);
    assert_eq!(condition(&status, conditions::STALLED).unwrap().reason, "ConfigInvalid");
    assert_eq!(condition(&status, conditions::CONFIG_VALID).unwrap().status, "False");
    let after = std::time::Duration::from_mins(1);
    let waiting = Found { runnable: Err(problem(Class::Waiting { after }, "RunbookMissing")), ..found(&[]) };
    let status = next(Some(&status), &waiting);
    assert!(condition(&status, conditions::STALLED).is_none());
    assert_eq!(condition(&status, conditions::RECONCILING).unwrap().reason, "RunbookMissing");
    assert_eq!(condition(&status, conditions::READY).unwrap().status, "False");
}

#[test]
fn missed_slots_add_up_and_each_is_told_once() {
    let missed = |count, latest, reason| Skipped { count, ..Skipped::one(at(latest), reason) };
    let first = Found { skipped: vec![missed(3, 600, reason::DEADLINE_EXCEEDED)], ..found(&[]) };
    let before = next(None, &first);
    let both = vec![missed(1, 660, reason::QUEUE_FULL), missed(1, 540, reason::DEADLINE_EXCEEDED)];
    let after = next(Some(&before), &Found { skipped: both.clone(), ..found(&[]) });
    let known = after.missed.clone().unwrap();
    assert_eq!((known.count, known.time, known.reason.as_str()), (5, Time(at(660)), reason::QUEUE_FULL));
    assert_eq!(events(Some(&before), &after, &both).len(), 2);
    assert!(!can_wait(&before, &after));
    let older = next(Some(&after), &Found { skipped: vec![missed(1, 100, reason::QUEUE_FULL)], ..found(&[]) });
    assert_eq!(older.missed.unwrap().time, Time(at(660)), "the latest stays the latest");
}

#[test]
fn slots_that_wait_are_shown_and_told_once() {
    let slot =
        |second, reason| Queued { slot: at(second), period: "2026-10".into(), behind: "nav-abcde".into(), reason };
    let one = next(None, &Found { queued: vec![slot(600, reason::WAITING)], ..found(&[]) });
    let told = events(None, &one, &[]);
    assert!(told.iter().any(|told| told.reason == "Queued" && told.note.contains("waits for a person")), "{told:?}");
    let two = vec![slot(600, reason::UNFINISHED), slot(660, reason::UNFINISHED)];
    let two = next(Some(&one), &Found { queued: two, ..found(&[]) });
    assert_eq!(events(Some(&one), &two, &[]).len(), 1);
    assert_eq!(next(Some(&two), &found(&[])).queued, None);
}
