use super::super::decide::{self as slots, Past};
use super::super::fixtures::{self, at, month, rules};
use super::*;
use crate::cache::Ending;

const SLOT: &str = "2026-11-05T08:00:00Z";

/// The run of a slot.
fn run(slot: &str, period: &str, ending: Option<Ending>) -> RunSummary {
    fixtures::run(slot, Some(slot), period, ending)
}

fn look(rules: &Rules, runs: &[RunSummary], made: &[RunSummary], now: &str) -> Precreation {
    let past = Past {
        observed: at("2026-11-04T12:00:00Z"),
        last_run: None,
        last_missed: None,
        queued: &[],
        runs,
        stuck: None,
    };
    let decision = slots::decide(rules, &past, &month, at(now));
    decide(rules, runs, made, &decision, &month, at(now))
}

#[test]
fn the_object_is_made_within_the_lead_and_once() {
    let daily = rules("0 8 * * *");
    let early = look(&daily, &[], &[], "2026-11-05T07:59:00Z");
    assert_eq!((early.create, early.wake), (None, Some(at("2026-11-05T07:59:30Z"))));
    let in_time = look(&daily, &[], &[], "2026-11-05T07:59:30Z");
    assert_eq!(in_time.create, Some((at(SLOT), "2026-11".to_owned())));
    assert_eq!(look(&daily, &[], &[run(SLOT, "2026-11", None)], "2026-11-05T07:59:31Z"), Precreation::default());
    let tomorrow = Precreation { wake: Some(at("2026-11-06T07:59:30Z")), ..Precreation::default() };
    assert_eq!(look(&daily, &[run(SLOT, "2026-11", None)], &[], "2026-11-05T07:59:31Z"), tomorrow);
    assert_eq!(look(&daily, &[], &[], "2026-11-05T07:59:59Z").create, None, "too late to help");
    let jittered = Rules { jitter: SignedDuration::from_mins(5), ..daily };
    assert_eq!(look(&jittered, &[], &[], "2026-11-05T08:04:29Z").wake, Some(at("2026-11-05T08:04:30Z")));
    assert_eq!(look(&jittered, &[], &[], "2026-11-05T08:04:30Z").create, Some((at(SLOT), "2026-11".to_owned())));
}

#[test]
fn nothing_is_made_for_a_slot_that_will_hardly_be_served() {
    let (daily, now) = (rules("0 8 * * *"), "2026-11-05T07:59:45Z");
    let unfinished = [run("2026-11-03T08:00:00Z", "2026-11", None)];
    assert_eq!(look(&daily, &unfinished, &[], now).create, None);
    let ended = [run("2026-11-03T08:00:00Z", "2026-11", Some(Ending::Failed))];
    assert!(look(&daily, &ended, &[], now).create.is_some());
    let of_another_period = [run("2026-10-31T08:00:00Z", "2026-10", None)];
    assert!(look(&daily, &of_another_period, &[], now).create.is_some());
    let allow = Rules { concurrency: Concurrency::Allow, ..rules("0 8 * * *") };
    assert!(look(&allow, &unfinished, &[], now).create.is_some());
    assert_eq!(look(&Rules { suspended: true, ..daily }, &[], &[], now), Precreation::default());
}

#[test]
fn nothing_is_made_for_a_slot_that_was_served_before_the_clock_was_set_back() {
    let (daily, now) = (rules("0 8 * * *"), at("2026-11-05T07:59:45Z"));
    for (last_run, last_missed) in [(Some(at(SLOT)), None), (None, Some(at(SLOT)))] {
        let past =
            Past { observed: at("2026-11-04T12:00:00Z"), last_run, last_missed, queued: &[], runs: &[], stuck: None };
        let decision = slots::decide(&daily, &past, &month, now);
        assert_eq!(decide(&daily, &[], &[], &decision, &month, now).create, None);
    }
}

#[test]
fn what_the_schedule_does_not_give_any_more_is_deleted() {
    let (daily, now) = (rules("0 8 * * *"), "2026-11-05T07:59:45Z");
    let made = [run(SLOT, "2026-11", None)];
    let names = [SLOT.to_owned()];
    let table = [
        ("suspended", Rules { suspended: true, ..daily.clone() }, made.clone(), now),
        ("another schedule", rules("0 9 * * *"), made.clone(), now),
        ("another period", daily.clone(), [run(SLOT, "2026-10", None)], now),
        ("another Workflow", daily.clone(), [RunSummary { ours: false, ..made[0].clone() }], now),
        ("missed", daily.clone(), made.clone(), "2026-11-06T08:00:01Z"),
    ];
    for (why, rules, made, now) in table {
        assert_eq!(look(&rules, &[], &made, now).delete, names, "{why}");
    }
    // What is due, or comes, stays: at its slot, and while nothing can be started.
    for now in [now, SLOT, "2026-11-05T08:30:00Z"] {
        assert!(look(&daily, &[], &made, now).delete.is_empty(), "{now}");
    }
    // A run that came in its way meanwhile has the slot skipped, and its object goes.
    let started_by_hand =
        [RunSummary { by_schedule: false, slot: None, ..run("2026-11-03T08:00:00Z", "2026-11", None) }];
    assert_eq!(look(&daily, &started_by_hand, &made, SLOT).delete, names);
}

#[test]
fn objects_of_one_slot_are_made_at_different_moments() {
    let leads: std::collections::BTreeSet<_> = (0..200).map(|n| lead(&format!("acme/spv{n}"))).collect();
    assert!(leads.len() > 25 && leads.iter().all(|lead| (BEFORE..BEFORE + SPREAD).contains(lead)), "{leads:?}");
}
