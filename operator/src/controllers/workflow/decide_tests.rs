use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn rules(schedule: &str) -> Rules {
    Rules {
        schedules: vec![Schedule::parse(schedule, None).unwrap()],
        suspended: false,
        deadline: DEFAULT_DEADLINE,
        missed: MissedRunPolicy::RunLatest,
        concurrency: ConcurrencyPolicy::Forbid,
        keep_succeeded: DEFAULT_HISTORY,
        keep_failed: DEFAULT_HISTORY,
    }
}

fn past<'a>(observed: &str, runs: &'a [RunFact]) -> Past<'a> {
    Past { observed: at(observed), last_run: None, last_missed: None, runs }
}

fn month(slot: Timestamp) -> String {
    slot.strftime("%Y-%m").to_string()
}

fn run(name: &str, slot: Option<&str>, period: &str, ending: Option<Ending>) -> RunFact {
    RunFact {
        name: name.to_owned(),
        period: Some(period.to_owned()),
        ours: slot.is_some(),
        slot: slot.map(at),
        created: slot.map(at),
        ending,
        completed: None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what is optional")]
fn skipped(count: i64, latest: &str, reason: &'static str) -> Option<Skipped> {
    Some(Skipped { count, latest: at(latest), reason })
}

#[test]
fn a_slot_is_started_when_it_is_due_and_the_next_one_is_told() {
    let rules = rules("0 8 5 * *");
    let past = past("2026-10-20T00:00:00Z", &[]);
    let before = decide(&rules, &past, &month, at("2026-11-05T07:59:59Z"));
    assert_eq!(before, Decision { next_slot: Some(at("2026-11-05T08:00:00Z")), ..Decision::default() });
    let due = decide(&rules, &past, &month, at("2026-11-05T08:00:00Z"));
    assert_eq!(due.start.unwrap().slot, at("2026-11-05T08:00:00Z"));
    assert_eq!(due.next_slot, Some(at("2026-12-05T08:00:00Z")));
    assert_eq!(due.skipped, None);
}

#[test]
fn nothing_of_before_the_schedule_was_seen_is_started() {
    let decision = decide(&rules("0 8 * * *"), &past("2026-11-05T08:30:00Z", &[]), &month, at("2026-11-05T09:00:00Z"));
    assert_eq!((decision.start, decision.skipped), (None, None));
}

#[test]
fn only_the_latest_of_missed_slots_is_started_and_the_others_are_counted() {
    let rules = rules("0 * * * *");
    let past = past("2026-11-05T00:30:00Z", &[]);
    let decision = decide(&rules, &past, &month, at("2026-11-05T05:10:00Z"));
    assert_eq!(decision.start.unwrap().slot, at("2026-11-05T05:00:00Z"));
    assert_eq!(decision.skipped, skipped(4, "2026-11-05T04:00:00Z", reason::SUPERSEDED));
}

#[test]
fn counting_older_slots_once_is_enough() {
    let rules = rules("0 * * * *");
    let past = Past { last_missed: Some(at("2026-11-05T04:00:00Z")), ..past("2026-11-05T00:30:00Z", &[]) };
    let decision = decide(&rules, &past, &month, at("2026-11-05T05:10:00Z"));
    assert!(decision.start.is_some());
    assert_eq!(decision.skipped, None);
}

#[test]
fn a_slot_later_than_its_deadline_is_missed() {
    let rules = Rules { deadline: SignedDuration::from_secs(300), ..rules("0 8 * * *") };
    let past = past("2026-11-01T00:00:00Z", &[]);
    let decision = decide(&rules, &past, &month, at("2026-11-01T08:05:01Z"));
    assert_eq!(decision.start, None);
    assert_eq!(decision.skipped, skipped(1, "2026-11-01T08:00:00Z", reason::DEADLINE_EXCEEDED));
    assert!(decide(&rules, &past, &month, at("2026-11-01T08:05:00Z")).start.is_some());
}

#[test]
fn skip_leaves_missed_slots_alone_but_not_those_on_time() {
    let rules = Rules { missed: MissedRunPolicy::Skip, ..rules("0 8 * * *") };
    let past = past("2026-11-01T00:00:00Z", &[]);
    assert!(decide(&rules, &past, &month, at("2026-11-01T08:00:30Z")).start.is_some());
    let late = decide(&rules, &past, &month, at("2026-11-01T09:00:00Z"));
    assert_eq!((late.start, late.skipped), (None, skipped(1, "2026-11-01T08:00:00Z", reason::POLICY_SKIP)));
}

#[test]
fn forbid_looks_at_the_period_only_and_at_every_unfinished_run_of_it() {
    let now = at("2026-11-05T08:00:01Z");
    let table = [
        (run("nav-manual", None, "2026-11", None), false),
        (run("nav-manual", None, "2026-10", None), true),
        (run("nav-20261104t0800z", Some("2026-11-04T08:00:00Z"), "2026-11", None), false),
        (run("nav-20261104t0800z", Some("2026-11-04T08:00:00Z"), "2026-11", Some(Ending::Failed)), true),
        (run("nav-old", None, "2026-11", Some(Ending::AlreadyRan)), true),
    ];
    for (other, starts) in table {
        let runs = [other];
        let decision = decide(&rules("0 8 * * *"), &past("2026-11-05T00:00:00Z", &runs), &month, now);
        assert_eq!(decision.start.is_some(), starts, "{runs:?}");
        assert_eq!(decision.skipped.map(|s| s.reason), (!starts).then_some(reason::FORBIDDEN));
        let allow = Rules { concurrency: ConcurrencyPolicy::Allow, ..rules("0 8 * * *") };
        assert!(decide(&allow, &past("2026-11-05T00:00:00Z", &runs), &month, now).start.is_some());
    }
}

#[test]
fn a_run_that_is_there_already_is_not_started_again() {
    let runs = [run("nav-20261105t0800z", Some("2026-11-05T08:00:00Z"), "2026-11", None)];
    let decision =
        decide(&rules("0 8 * * *"), &past("2026-11-05T00:00:00Z", &runs), &month, at("2026-11-05T08:00:02Z"));
    assert_eq!((decision.start, decision.served), (None, Some(at("2026-11-05T08:00:00Z"))));
}

#[test]
fn a_suspended_workflow_has_no_slots() {
    let rules = Rules { suspended: true, ..rules("* * * * *") };
    let decision = decide(&rules, &past("2026-11-01T00:00:00Z", &[]), &month, at("2026-11-05T08:00:00Z"));
    assert_eq!(decision, Decision::default());
}

#[test]
fn a_slot_of_two_schedules_is_one() {
    let mut rules = rules("0 8 * * *");
    rules.schedules.push(Schedule::parse("0 8 5 * *", None).unwrap());
    let decision = decide(&rules, &past("2026-11-05T00:00:00Z", &[]), &month, at("2026-11-05T08:00:00Z"));
    assert_eq!(decision.start.unwrap().slot, at("2026-11-05T08:00:00Z"));
    assert_eq!(decision.skipped, None);
}

#[test]
fn a_long_absence_is_counted_up_to_a_bound_and_ends_at_the_right_slot() {
    let rules = rules("* * * * *");
    let decision = decide(&rules, &past("2026-01-01T00:00:00Z", &[]), &month, at("2026-11-05T08:00:30Z"));
    assert_eq!(decision.start.unwrap().slot, at("2026-11-05T08:00:00Z"));
    assert_eq!(decision.skipped, skipped(COUNT_MAX, "2026-11-05T07:59:00Z", reason::SUPERSEDED));
}

#[test]
fn only_ended_runs_of_the_schedule_are_pruned_oldest_first() {
    let rules = Rules { keep_succeeded: 1, keep_failed: 0, ..rules("0 8 * * *") };
    let runs = [
        run("c", Some("2026-11-03T08:00:00Z"), "2026-11", Some(Ending::Succeeded)),
        run("a", Some("2026-11-01T08:00:00Z"), "2026-11", Some(Ending::Succeeded)),
        run("b", Some("2026-11-02T08:00:00Z"), "2026-11", Some(Ending::Cancelled)),
        run("manual", None, "2026-11", Some(Ending::Succeeded)),
        run("open", Some("2026-11-01T07:00:00Z"), "2026-11", None),
    ];
    let decision = decide(&rules, &past("2026-11-05T00:00:00Z", &runs), &month, at("2026-11-05T01:00:00Z"));
    assert_eq!(decision.prune, ["a", "b"]);
}

proptest! {
    /// Whatever the times at which the operator looks, no slot gets two runs, none is both started and counted as missed, and every
    /// slot is either.
    #[test]
    fn every_slot_is_served_at_most_once(gaps in prop::collection::vec(1_i64..400, 1..60), lost_status in prop::collection::vec(any::<bool>(), 60)) {
        let rules = Rules { deadline: SignedDuration::from_mins(90), concurrency: ConcurrencyPolicy::Allow, ..rules("*/30 * * * *") };
        let start = at("2026-11-05T00:10:00Z");
        let (mut now, mut last_run, mut missed, mut missed_count) = (start, None, None, 0_i64);
        let mut runs: Vec<RunFact> = Vec::new();
        for (gap, lost) in gaps.iter().zip(lost_status) {
            now = now.checked_add(SignedDuration::from_mins(*gap)).unwrap();
            let past = Past { observed: start, last_run, last_missed: missed, runs: &runs };
            let decision = decide(&rules, &past, &month, now);
            let started = decision.start.as_ref().map(|due| due.slot);
            if let Some(slot) = started {
                prop_assert!(runs.iter().all(|run| run.slot != Some(slot)), "started twice");
                prop_assert!(slot > start && slot <= now && now.duration_since(slot) <= rules.deadline);
                let name = slot.to_string();
                runs.push(RunFact { slot: Some(slot), ours: true, ..run(&name, Some(&name), "p", None) });
            }
            if lost {
                continue; // died before the status was written
            }
            last_run = started.max(decision.served).max(last_run);
            if let Some(skipped) = decision.skipped {
                missed = Some(skipped.latest);
                missed_count += skipped.count;
            }
        }
        let passed = (now.as_second() / 1800) - (start.as_second() / 1800);
        prop_assert!(i64::try_from(runs.len()).unwrap() + missed_count <= passed);
    }
}
