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
        skipped: None,
        runs,
        now: at(1000),
    }
}

fn run(name: &str, ending: Option<Ending>, completed: Option<i64>) -> RunFact {
    RunFact {
        name: name.to_owned(),
        period: None,
        ours: true,
        slot: None,
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
    assert!(events(Some(&first), &first).is_empty());
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
fn missed_slots_add_up_and_are_told_once() {
    let skipped = Some(Skipped { count: 3, latest: at(600), reason: "DeadlineExceeded" });
    let first = next(None, &Found { skipped, ..found(&[]) });
    let second = next(
        Some(&first),
        &Found { skipped: skipped.map(|s| Skipped { count: 1, latest: at(660), ..s }), ..found(&[]) },
    );
    assert_eq!(second.missed.as_ref().unwrap().count, 4);
    assert_eq!(events(Some(&first), &second).len(), 1);
}
