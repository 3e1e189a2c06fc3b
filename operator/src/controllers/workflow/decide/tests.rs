use proptest::prelude::*;

use super::super::fixtures::{at, month, rules, run};
use super::super::precreate::{self, Precreation};
use super::*;
use crate::cache::Ending;

fn past<'a>(observed: &str, runs: &'a [RunSummary]) -> Past<'a> {
    Past { observed: at(observed), last_run: None, last_missed: None, queued: &[], runs, stuck: None }
}

fn skipped(count: usize, latest: &str, reason: SlotReason) -> Vec<Skipped> {
    vec![Skipped { count, ..Skipped::one(at(latest), reason) }]
}

fn started(decision: &Decision) -> Vec<String> {
    decision.start.iter().map(|due| due.slot.to_string()).collect()
}

fn waiting(decision: &Decision) -> Vec<(String, SlotReason)> {
    decision.queued.iter().map(|queued| (queued.slot.to_string(), queued.reason)).collect()
}

#[test]
fn a_slot_is_started_when_it_is_due_and_the_next_one_is_told() {
    let rules = rules("0 8 5 * *");
    let past = past("2026-10-20T00:00:00Z", &[]);
    let before = decide(&rules, &past, &month, at("2026-11-05T07:59:59Z"));
    let next = Some(at("2026-11-05T08:00:00Z"));
    assert_eq!(before, Decision { next_slot: next, wake: next, ..Decision::default() });
    let due = decide(&rules, &past, &month, at("2026-11-05T08:00:00Z"));
    assert_eq!(started(&due), ["2026-11-05T08:00:00Z"]);
    assert_eq!(due.next_slot, Some(at("2026-12-05T08:00:00Z")));
    assert!(due.skipped.is_empty());
}

#[test]
fn jitter_starts_later_and_changes_nothing_else() {
    let rules = Rules { jitter: SignedDuration::from_secs(90), ..rules("0 8 5 * *") };
    let past = past("2026-10-20T00:00:00Z", &[]);
    let before = decide(&rules, &past, &month, at("2026-11-05T08:01:29Z"));
    assert_eq!((started(&before).len(), before.next_slot), (0, Some(at("2026-11-05T08:01:30Z"))));
    let due = decide(&rules, &past, &month, at("2026-11-05T08:01:30Z"));
    assert_eq!((started(&due), due.start[0].period.as_str()), (vec!["2026-11-05T08:00:00Z".to_owned()], "2026-11"));
    // Who cannot start it looks again when it is given up, and no sooner.
    assert_eq!(due.start[0].until, at("2026-11-06T08:01:30Z"));
    let given_up = decide(&rules, &past, &month, at("2026-11-06T08:01:31Z"));
    assert_eq!(given_up.skipped, skipped(1, "2026-11-05T08:00:00Z", SlotReason::DeadlineExceeded));
}

#[test]
fn nothing_of_before_the_schedule_was_seen_is_started() {
    let decision = decide(&rules("0 8 * * *"), &past("2026-11-05T08:30:00Z", &[]), &month, at("2026-11-05T09:00:00Z"));
    assert!(decision.start.is_empty() && decision.skipped.is_empty());
}

#[test]
fn of_missed_slots_as_many_are_started_as_the_policy_says() {
    let past = past("2026-11-05T00:30:00Z", &[]);
    let now = at("2026-11-05T05:10:00Z");
    let latest = decide(&rules("0 * * * *"), &past, &month, now);
    assert_eq!(started(&latest), ["2026-11-05T05:00:00Z"]);
    assert_eq!(latest.skipped, skipped(4, "2026-11-05T04:00:00Z", SlotReason::LaterSlotDue));

    let three = Rules { missed: Missed::Latest(3), concurrency: Concurrency::Allow, ..rules("0 * * * *") };
    let three = decide(&three, &past, &month, now);
    assert_eq!(started(&three), ["2026-11-05T03:00:00Z", "2026-11-05T04:00:00Z", "2026-11-05T05:00:00Z"]);
    assert_eq!(three.skipped, skipped(2, "2026-11-05T02:00:00Z", SlotReason::LaterSlotDue));

    let deadline = SignedDuration::from_mins(80);
    let all = Rules { missed: Missed::Latest(9), concurrency: Concurrency::Allow, deadline, ..rules("0 * * * *") };
    let all = decide(&all, &past, &month, now);
    assert_eq!(started(&all), ["2026-11-05T04:00:00Z", "2026-11-05T05:00:00Z"]);
    assert_eq!(all.skipped, skipped(3, "2026-11-05T03:00:00Z", SlotReason::DeadlineExceeded));
}

#[test]
fn counting_older_slots_once_is_enough() {
    let past = Past { last_missed: Some(at("2026-11-05T04:00:00Z")), ..past("2026-11-05T00:30:00Z", &[]) };
    let decision = decide(&rules("0 * * * *"), &past, &month, at("2026-11-05T05:10:00Z"));
    assert_eq!((started(&decision).len(), decision.skipped.len()), (1, 0));
}

#[test]
fn a_slot_later_than_its_deadline_is_missed() {
    let rules = Rules { deadline: SignedDuration::from_secs(300), ..rules("0 8 * * *") };
    let past = past("2026-11-01T00:00:00Z", &[]);
    let decision = decide(&rules, &past, &month, at("2026-11-01T08:05:01Z"));
    assert!(decision.start.is_empty());
    assert_eq!(decision.skipped, skipped(1, "2026-11-01T08:00:00Z", SlotReason::DeadlineExceeded));
    assert_eq!(decide(&rules, &past, &month, at("2026-11-01T08:05:00Z")).start.len(), 1);
}

#[test]
fn skip_leaves_missed_slots_alone_but_not_those_on_time() {
    let rules = Rules { missed: Missed::Skip, ..rules("0 8 * * *") };
    let past = past("2026-11-01T00:00:00Z", &[]);
    assert_eq!(decide(&rules, &past, &month, at("2026-11-01T08:00:30Z")).start.len(), 1);
    let late = decide(&rules, &past, &month, at("2026-11-01T09:00:00Z"));
    assert_eq!(
        (late.start.len(), late.skipped),
        (0, skipped(1, "2026-11-01T08:00:00Z", SlotReason::MissedRunPolicySkip))
    );
    let long = decide(&rules, &past, &month, at("2026-11-04T07:00:00Z"));
    assert_eq!(
        (long.start.len(), long.skipped),
        (0, skipped(3, "2026-11-03T08:00:00Z", SlotReason::MissedRunPolicySkip))
    );
}

#[test]
fn what_cannot_be_started_holds_back_the_later_ones_and_is_not_lost() {
    let all = Rules { missed: Missed::Latest(9), concurrency: Concurrency::Queue(9), ..rules("0 * * * *") };
    let before = past("2026-11-05T05:30:00Z", &[]);
    let now = at("2026-11-05T08:10:00Z");
    let first = decide(&all, &before, &month, now);
    assert_eq!((started(&first), waiting(&first).len()), (vec!["2026-11-05T06:00:00Z".to_owned()], 2));
    let stuck = decide(&all, &Past { stuck: Some(first.start[0].slot), ..before }, &month, now);
    assert_eq!((started(&stuck).len(), waiting(&stuck).len(), stuck.next_slot), (0, 0, first.next_slot));
    // One that waited for its turn goes on waiting.
    let queued = [at("2026-11-05T06:00:00Z"), at("2026-11-05T07:00:00Z")];
    let before = Past { queued: &queued, last_missed: Some(at("2026-11-05T07:30:00Z")), ..before };
    let stuck = decide(&all, &Past { stuck: Some(queued[0]), ..before }, &month, now);
    let slots: Vec<_> = stuck.queued.iter().map(|queued| (queued.slot, queued.reason)).collect();
    assert_eq!(slots, [(queued[0], SlotReason::NotStarted), (queued[1], SlotReason::NotStarted)]);
    assert!(stuck.skipped.is_empty() && stuck.start.is_empty());
}

#[test]
fn the_next_slot_is_one_that_will_be_started() {
    let late = Rules { jitter: SignedDuration::from_mins(30), ..rules("0 8 * * *") };
    // Seen at 08:10: today's slot is of before, though its jitter ends at 08:30.
    let decision = decide(&late, &past("2026-11-05T08:10:00Z", &[]), &month, at("2026-11-05T08:15:00Z"));
    assert_eq!(decision.next_slot, Some(at("2026-11-06T08:30:00Z")));
    let back = Past { last_missed: Some(at("2026-11-05T08:00:00Z")), ..past("2026-11-04T00:00:00Z", &[]) };
    let decision = decide(&rules("0 8 * * *"), &back, &month, at("2026-11-05T07:00:00Z"));
    assert_eq!(decision.next_slot, Some(at("2026-11-06T08:00:00Z")));
}

#[test]
fn forbid_looks_at_the_period_only_and_at_every_unfinished_run_of_it() {
    let now = at("2026-11-05T08:00:01Z");
    let at_a_gate = RunSummary { standing: Standing::Waiting, ..run("nav-manual", None, "2026-11", None) };
    let table = [
        (run("nav-manual", None, "2026-11", None), Some(SlotReason::RunUnfinished)),
        (at_a_gate, Some(SlotReason::RunWaiting)),
        (
            RunSummary { standing: Standing::Blocked, ..run("nav-manual", None, "2026-11", None) },
            Some(SlotReason::RunBlocked),
        ),
        (run("nav-manual", None, "2026-10", None), None),
        (run("nav-20261104t0800z", Some("2026-11-04T08:00:00Z"), "2026-11", None), Some(SlotReason::RunUnfinished)),
        (run("nav-20261104t0800z", Some("2026-11-04T08:00:00Z"), "2026-11", Some(Ending::Failed)), None),
        (run("nav-old", None, "2026-11", Some(Ending::AlreadyRan)), None),
    ];
    for (other, why) in table {
        let runs = [other, run("nav-other", None, "2026-09", None)];
        let decision = decide(&rules("0 8 * * *"), &past("2026-11-05T00:00:00Z", &runs), &month, now);
        assert_eq!(decision.start.is_empty(), why.is_some(), "{runs:?}");
        let expected = why.map(|reason| Skipped {
            period: Some("2026-11".to_owned()),
            held_by: Some(runs[0].name.clone()),
            ..Skipped::one(at("2026-11-05T08:00:00Z"), reason)
        });
        assert_eq!(decision.skipped.first(), expected.as_ref());
        let allow = Rules { concurrency: Concurrency::Allow, ..rules("0 8 * * *") };
        assert_eq!(decide(&allow, &past("2026-11-05T00:00:00Z", &runs), &month, now).start.len(), 1);
    }
}

#[test]
fn queued_slots_wait_for_their_period_in_order_and_up_to_a_bound() {
    let rules = Rules { concurrency: Concurrency::Queue(2), ..rules("0 * * * *") };
    let at_a_gate = RunSummary { standing: Standing::Waiting, ..run("nav-manual", None, "2026-11", None) };
    let runs = [at_a_gate];
    let first = decide(&rules, &past("2026-11-05T07:30:00Z", &runs), &month, at("2026-11-05T08:00:00Z"));
    assert_eq!(waiting(&first), [("2026-11-05T08:00:00Z".to_owned(), SlotReason::RunWaiting)]);
    let queued = [at("2026-11-05T08:00:00Z"), at("2026-11-05T09:00:00Z")];
    let full = Past { queued: &queued, ..past("2026-11-05T07:30:00Z", &runs) };
    let full = decide(&rules, &full, &month, at("2026-11-05T10:00:00Z"));
    assert_eq!((full.queued.len(), full.skipped[0].reason), (2, SlotReason::QueueFull));
    assert_eq!((full.skipped[0].count, full.skipped[0].latest), (1, at("2026-11-05T10:00:00Z")));
    // The hindrance is gone: the oldest starts, the next one waits for it.
    let free =
        Past { queued: &queued, last_missed: Some(at("2026-11-05T10:00:00Z")), ..past("2026-11-05T07:30:00Z", &[]) };
    let free = decide(&rules, &free, &month, at("2026-11-05T10:10:00Z"));
    assert_eq!(started(&free), ["2026-11-05T08:00:00Z"]);
    assert_eq!(waiting(&free), [("2026-11-05T09:00:00Z".to_owned(), SlotReason::RunUnfinished)]);
    // Whose deadline passes while it waits is missed, and that is looked at in time.
    assert!(free.wake.unwrap() <= at("2026-11-06T09:00:02Z"));
    let late = Past { queued: &queued, ..past("2026-11-05T07:30:00Z", &runs) };
    let late = decide(&Rules { slots: Slots::default(), ..rules }, &late, &month, at("2026-11-06T08:30:00Z"));
    assert_eq!(late.skipped, skipped(1, "2026-11-05T08:00:00Z", SlotReason::DeadlineExceeded));
    assert_eq!(waiting(&late).len(), 1);
}

#[test]
fn other_periods_are_not_kept_waiting_by_a_queue() {
    let rules = Rules { concurrency: Concurrency::Queue(9), ..rules("0 8 1 * *") };
    let runs = [run("nav-manual", None, "2026-11", None)];
    let queued = [at("2026-11-01T08:00:00Z")];
    let past = Past { queued: &queued, ..past("2026-10-05T00:00:00Z", &runs) };
    let long = Rules { deadline: SignedDuration::from_hours(24 * 60), ..rules };
    let decision = decide(&long, &past, &month, at("2026-12-01T08:00:00Z"));
    assert_eq!(started(&decision), ["2026-12-01T08:00:00Z"]);
    assert_eq!(waiting(&decision), [("2026-11-01T08:00:00Z".to_owned(), SlotReason::RunUnfinished)]);
}

#[test]
fn what_waits_when_the_schedule_is_edited_or_suspended_never_starts() {
    let queued = [at("2026-11-05T08:00:00Z")];
    let edited = Past { queued: &queued, ..past("2026-11-05T08:30:00Z", &[]) };
    let rules = Rules { concurrency: Concurrency::Queue(9), ..rules("0 * * * *") };
    let decision = decide(&rules, &edited, &month, at("2026-11-05T08:40:00Z"));
    assert_eq!((decision.start.len(), decision.queued.len()), (0, 0));
    assert_eq!(decision.skipped, skipped(1, "2026-11-05T08:00:00Z", SlotReason::ScheduleChanged));
    let suspended = Rules { suspended: true, ..rules };
    let decision = decide(&suspended, &edited, &month, at("2026-11-05T08:40:00Z"));
    assert_eq!(decision.skipped, skipped(1, "2026-11-05T08:00:00Z", SlotReason::ScheduleChanged));
}

#[test]
fn replace_cancels_waits_until_nothing_is_left_and_starts_the_newest() {
    let rules = Rules { concurrency: Concurrency::Replace, ..rules("0 * * * *") };
    let runs = [run("nav-20261105t0700z", Some("2026-11-05T07:00:00Z"), "2026-11", None)];
    let now = at("2026-11-05T08:00:00Z");
    let first = decide(&rules, &past("2026-11-05T06:30:00Z", &runs), &month, now);
    assert_eq!(first.replace.iter().collect::<Vec<_>>(), ["nav-20261105t0700z"]);
    assert_eq!((started(&first).len(), waiting(&first)), (0, vec![(now.to_string(), SlotReason::Replacing)]));
    // An hour later the old one is still not gone: the newer slot takes the place of the one that waits.
    let queued = [now];
    let later = Past { queued: &queued, ..past("2026-11-05T06:30:00Z", &runs) };
    let later = decide(&rules, &later, &month, at("2026-11-05T09:00:00Z"));
    assert_eq!(waiting(&later), [("2026-11-05T09:00:00Z".to_owned(), SlotReason::Replacing)]);
    assert_eq!(later.skipped, skipped(1, "2026-11-05T08:00:00Z", SlotReason::LaterSlotDue));
    let gone = [RunSummary { ending: Some(Ending::Cancelled), ..runs[0].clone() }];
    let queued = [at("2026-11-05T09:00:00Z")];
    let free = Past { queued: &queued, ..past("2026-11-05T06:30:00Z", &gone) };
    let free = decide(&rules, &free, &month, at("2026-11-05T09:10:00Z"));
    assert_eq!((started(&free), free.replace.len()), (vec!["2026-11-05T09:00:00Z".to_owned()], 0));
}

#[test]
fn replace_leaves_alone_what_a_former_workflow_began() {
    let rules = Rules { concurrency: Concurrency::Replace, ..rules("0 * * * *") };
    let former = RunSummary { ours: false, standing: Standing::Waiting, ..run("nav-old", None, "2026-11", None) };
    let decision = decide(&rules, &past("2026-11-05T06:30:00Z", &[former]), &month, at("2026-11-05T07:00:00Z"));
    assert!(decision.replace.is_empty() && decision.start.is_empty());
    assert_eq!(waiting(&decision), [("2026-11-05T07:00:00Z".to_owned(), SlotReason::RunWaiting)]);
}

#[test]
fn a_slot_that_a_person_asked_for_waits_for_that_run_to_begin() {
    let slot = "2026-11-05T08:00:00Z";
    let asked =
        RunSummary { by_schedule: false, begun: false, ..run("nav-20261105t0800z", Some(slot), "2026-11", None) };
    for concurrency in [Concurrency::Allow, Concurrency::Forbid, Concurrency::Queue(1), Concurrency::Replace] {
        let rules = Rules { concurrency, ..rules("0 8 * * *") };
        let runs = [asked.clone()];
        let decision = decide(&rules, &past("2026-11-05T00:00:00Z", &runs), &month, at(slot));
        assert!(decision.start.is_empty() && decision.skipped.is_empty() && decision.replace.is_empty());
        assert_eq!(waiting(&decision), [(slot.to_owned(), SlotReason::RunUnfinished)], "{concurrency:?}");
        assert_eq!(decision.queued[0].held_by, asked.name);
        // It begins: the slot is served. It is taken back: the slot starts. It is refused to the end: the slot is counted.
        let queued = [at(slot)];
        let then = |runs: &[RunSummary], now: &str| {
            decide(&rules, &Past { queued: &queued, ..past("2026-11-05T00:00:00Z", runs) }, &month, at(now))
        };
        let begun = then(&[RunSummary { begun: true, ..asked.clone() }], slot);
        assert!(begun.start.is_empty() && begun.queued.is_empty() && begun.skipped.is_empty(), "{concurrency:?}");
        assert_eq!(started(&then(&[], slot)), [slot]);
        assert_eq!(then(&runs, "2026-11-06T08:00:01Z").skipped[0].reason, SlotReason::DeadlineExceeded);
    }
}

#[test]
fn what_was_asked_for_during_an_outage_is_not_counted_as_missed() {
    let runs = [run("nav-20261105t0300z", Some("2026-11-05T03:00:00Z"), "2026-11", Some(Ending::Succeeded))];
    let runs = runs.map(|run| RunSummary { by_schedule: false, ..run });
    let decision =
        decide(&rules("0 * * * *"), &past("2026-11-05T00:30:00Z", &runs), &month, at("2026-11-05T05:10:00Z"));
    assert_eq!(decision.skipped, skipped(3, "2026-11-05T04:00:00Z", SlotReason::LaterSlotDue));
}

#[test]
fn a_run_that_is_there_already_is_not_started_again() {
    let runs = [run("nav-20261105t0800z", Some("2026-11-05T08:00:00Z"), "2026-11", None)];
    let decision =
        decide(&rules("0 8 * * *"), &past("2026-11-05T00:00:00Z", &runs), &month, at("2026-11-05T08:00:02Z"));
    assert_eq!((decision.start.len(), decision.served), (0, Some(at("2026-11-05T08:00:00Z"))));
    // Nor one that a person asked for, and it moves no other slot.
    let backfill = [RunSummary { by_schedule: false, ..runs[0].clone() }];
    let deadline = SignedDuration::from_hours(48);
    let rules = Rules { concurrency: Concurrency::Allow, missed: Missed::Latest(5), deadline, ..rules("0 8 * * *") };
    let decision = decide(&rules, &past("2026-11-04T00:00:00Z", &backfill), &month, at("2026-11-05T08:00:02Z"));
    assert_eq!((started(&decision), decision.served), (vec!["2026-11-04T08:00:00Z".to_owned()], None));
}

#[test]
fn a_suspended_workflow_has_no_slots() {
    let rules = Rules { suspended: true, ..rules("* * * * *") };
    let decision = decide(&rules, &past("2026-11-01T00:00:00Z", &[]), &month, at("2026-11-05T08:00:00Z"));
    assert_eq!(decision, Decision::default());
}

#[test]
fn a_long_absence_is_counted_up_to_a_bound_and_ends_at_the_right_slot() {
    let rules = rules("* * * * *");
    let decision = decide(&rules, &past("2026-01-01T00:00:00Z", &[]), &month, at("2026-11-05T08:00:30Z"));
    assert_eq!(started(&decision), ["2026-11-05T08:00:00Z"]);
    let bound = ntro_schedule::slots::COUNT_MAX;
    assert_eq!(decision.skipped, skipped(bound, "2026-11-05T07:59:00Z", SlotReason::LaterSlotDue));
}

#[test]
fn a_clock_that_is_set_back_starts_nothing_twice() {
    let runs = [run("nav-20261105t0800z", Some("2026-11-05T08:00:00Z"), "2026-11", Some(Ending::Succeeded))];
    for now in ["2026-11-05T08:00:00Z", "2026-11-05T07:59:59Z", "2026-11-04T12:00:00Z", "2025-01-01T00:00:00Z"] {
        let decision = decide(&rules("0 8 * * *"), &past("2026-11-03T09:00:00Z", &runs), &month, at(now));
        assert!(decision.start.is_empty(), "{now}");
    }
}

/// A world in which a Workflow lives: what the API server holds, and what a person sees of it.
struct World {
    rules: Rules,
    observed: Timestamp,
    now: Timestamp,
    runs: Vec<RunSummary>,
    /// Objects made before their slot.
    precreated: Vec<RunSummary>,
    last_run: Option<Timestamp>,
    last_missed: Option<Timestamp>,
    queued: Vec<Timestamp>,
    ever: BTreeSet<Timestamp>,
}

impl World {
    fn new(rules: Rules) -> Self {
        let start = at("2026-11-05T00:10:00Z");
        Self {
            rules,
            observed: start,
            now: start,
            runs: Vec::new(),
            precreated: Vec::new(),
            last_run: None,
            last_missed: None,
            queued: Vec::new(),
            ever: BTreeSet::new(),
        }
    }

    fn decide(&self, stuck: Option<Timestamp>) -> Decision {
        let past = Past {
            observed: self.observed,
            last_run: self.last_run,
            last_missed: self.last_missed,
            queued: &self.queued,
            runs: &self.runs,
            stuck,
        };
        decide(&self.rules, &past, &hour, self.now)
    }

    fn precreation(&self, decision: &Decision) -> Precreation {
        precreate::decide(&self.rules, &self.runs, &self.precreated, decision, &hour, self.now)
    }

    /// One reconcile. Says what was decided, as far as it was done and is in the status.
    fn reconcile(&mut self, ends: Ends) -> Result<Decision, TestCaseError> {
        let mut decision = self.decide(None);
        let to_come = self.precreation(&decision);
        self.precreated.retain(|run| !to_come.delete.contains(&run.name));
        let before = self.runs.clone();
        let mut served = None;
        for (written, due) in decision.start.clone().iter().enumerate() {
            if ends == Ends::Dies(written) {
                return Ok(Decision::default());
            }
            if ends == Ends::Fails(written) {
                // Decided again from what was known before, but for the slot that could not be started.
                let after = std::mem::replace(&mut self.runs, before);
                decision = self.decide(Some(due.slot));
                self.runs = after;
                prop_assert!(decision.start.iter().all(|other| other.slot < due.slot), "{decision:?}");
                break;
            }
            prop_assert!(due.slot > self.observed, "a slot of before the last edit");
            let due_at = due.slot.checked_add(self.rules.jitter).unwrap();
            prop_assert!(due_at <= self.now && self.now.duration_since(due_at) <= self.rules.deadline);
            prop_assert!(self.ever.insert(due.slot), "{} started twice", due.slot);
            let same = |run: &&RunSummary| !run.ended() && run.period.as_deref() == Some(due.period.as_str());
            let allowed = self.rules.concurrency == Concurrency::Allow || !self.runs.iter().any(|run| same(&run));
            prop_assert!(allowed, "two unfinished runs of {}", due.period);
            let name = due.slot.to_string();
            self.precreated.retain(|run| run.name != name);
            self.runs.push(run(&name, Some(&name), &due.period, None));
            served = Some(due.slot);
        }
        if matches!(ends, Ends::Dies(_)) {
            return Ok(Decision::default());
        }
        if let Some((slot, period)) = to_come.create {
            prop_assert!(!self.ever.contains(&slot), "an object for {slot}, which was started");
            let name = slot.to_string();
            self.precreated.push(RunSummary { precreated: true, ..run(&name, Some(&name), &period, None) });
        }
        self.last_run = served.max(decision.served).max(self.last_run);
        self.last_missed = decision.skipped.iter().map(|skipped| skipped.latest).max().max(self.last_missed);
        self.queued = decision.queued.iter().map(|queued| queued.slot).collect();
        for run in self.runs.iter_mut().filter(|run| decision.replace.contains(&run.name)) {
            run.ending = Some(Ending::Cancelled);
        }
        Ok(decision)
    }
}

fn hour(slot: Timestamp) -> String {
    slot.strftime("%Y-%m-%dT%H").to_string()
}

/// How a reconcile ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Everything was done, and the status tells of it.
    Well,
    /// The run of so many starts could not be made; the status tells of the rest.
    Fails(usize),
    /// The operator died after so many starts, before it wrote the status.
    Dies(usize),
}

#[derive(Debug, Clone)]
enum Event {
    Later(i64),
    Back(i64),
    Edited,
    Ends(usize),
    Waits(usize),
    Dies(usize),
    Fails(usize),
    Pruned,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_i64..200).prop_map(Event::Later),
        1 => (1_i64..100).prop_map(Event::Back),
        1 => Just(Event::Edited),
        3 => (0_usize..8).prop_map(Event::Ends),
        1 => (0_usize..8).prop_map(Event::Waits),
        2 => (0_usize..4).prop_map(Event::Dies),
        2 => (0_usize..4).prop_map(Event::Fails),
        1 => Just(Event::Pruned),
    ]
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let missed = prop_oneof![Just(Missed::Skip), Just(Missed::Latest(1)), (2_usize..6).prop_map(Missed::Latest)];
    let concurrency = prop_oneof![
        Just(Concurrency::Allow),
        Just(Concurrency::Forbid),
        Just(Concurrency::Replace),
        (1_usize..4).prop_map(Concurrency::Queue),
    ];
    (missed, concurrency, 0_i64..600, 20_i64..400).prop_map(|(missed, concurrency, jitter, deadline)| Rules {
        missed,
        concurrency,
        jitter: SignedDuration::from_secs(jitter),
        deadline: SignedDuration::from_mins(deadline),
        lead: SignedDuration::from_mins(12),
        ..rules("*/20 * * * *")
    })
}

proptest! {
    /// Whatever happens between two looks, and wherever the operator dies: no slot gives two runs, none of before the last edit
    /// gives one, no period has two runs at a time unless that is allowed, and looking again without a change does nothing.
    /// Objects made before their slot change none of this, and none is left over.
    #[test]
    fn every_slot_is_served_at_most_once_and_decisions_settle(rules in any_rules(), events in prop::collection::vec(event(), 1..50)) {
        let mut world = World::new(rules);
        for event in events {
            match event {
                Event::Later(minutes) => world.now = world.now.checked_add(SignedDuration::from_mins(minutes)).unwrap(),
                Event::Back(minutes) => world.now = world.now.checked_sub(SignedDuration::from_mins(minutes)).unwrap(),
                Event::Edited => world.observed = world.observed.max(world.now),
                Event::Ends(n) => {
                    let open: Vec<_> = world.runs.iter_mut().filter(|run| !run.ended()).collect();
                    if let Some(run) = open.into_iter().nth(n) {
                        run.ending = Some(Ending::Succeeded);
                    }
                }
                Event::Waits(n) => world.runs.iter_mut().skip(n).take(1).for_each(|run| run.standing = Standing::Waiting),
                Event::Dies(n) => {
                    world.reconcile(Ends::Dies(n))?;
                    continue;
                }
                Event::Fails(n) => {
                    world.reconcile(Ends::Fails(n))?;
                    continue;
                }
                // A person deletes the objects of ended runs: the ledger still knows them, the status knows the latest.
                Event::Pruned => world.runs.retain(|run| !run.ended() || run.slot > world.last_run),
            }
            world.reconcile(Ends::Well)?;
            // Looking again changes nothing more than what a cancelled run lets go.
            world.reconcile(Ends::Well)?;
            world.reconcile(Ends::Well)?;
            let settled = world.decide(None);
            prop_assert!(settled.start.is_empty() && settled.skipped.is_empty() && settled.replace.is_empty(), "{settled:?}");
            let to_come = world.precreation(&settled);
            prop_assert!(to_come.create.is_none() && to_come.delete.is_empty(), "{to_come:?}");
            let not_to_come = world.precreated.iter().find(|run| run.slot < Some(world.now) && world.ever.contains(&run.slot.unwrap()));
            prop_assert!(not_to_come.is_none() && world.precreated.len() < 2, "{:?}", world.precreated);
            prop_assert_eq!(settled.queued.iter().map(|queued| queued.slot).collect::<Vec<_>>(), world.queued.clone());
        }
    }

    /// Whatever the policy, wherever the operator dies, whatever cannot be started for a while and however the clock is set:
    /// each slot gives a run, waits, or is counted, once.
    #[test]
    fn no_slot_is_lost(rules in any_rules(), events in prop::collection::vec(event(), 1..50)) {
        let mut world = World::new(rules);
        let (mut counted, mut latest) = (0, world.now);
        let mut count = |decision: &Decision| counted += decision.skipped.iter().map(|skipped| skipped.count).sum::<usize>();
        for event in events {
            let ends = match event {
                Event::Later(minutes) => {
                    world.now = world.now.checked_add(SignedDuration::from_mins(minutes)).unwrap();
                    Ends::Well
                }
                Event::Back(minutes) => {
                    world.now = world.now.checked_sub(SignedDuration::from_mins(minutes)).unwrap();
                    Ends::Well
                }
                Event::Ends(n) => {
                    world.runs.iter_mut().filter(|run| !run.ended()).skip(n).take(1).for_each(|run| run.ending = Some(Ending::Succeeded));
                    Ends::Well
                }
                Event::Waits(n) => {
                    world.runs.iter_mut().skip(n).take(1).for_each(|run| run.standing = Standing::Waiting);
                    Ends::Well
                }
                Event::Dies(n) => Ends::Dies(n),
                Event::Fails(n) => Ends::Fails(n),
                // What was due before an edit is no longer a slot; objects that are gone are the other property's.
                Event::Edited | Event::Pruned => continue,
            };
            latest = latest.max(world.now);
            count(&world.reconcile(ends)?);
        }
        world.now = latest;
        for _ in 0..3 {
            count(&world.reconcile(Ends::Well)?);
        }
        let slots = |until: Timestamp| until.as_second().div_euclid(1200);
        let passed = slots(latest.checked_sub(world.rules.jitter).unwrap()) - slots(world.observed);
        let told = world.ever.len() + counted + world.queued.len();
        prop_assert_eq!(i64::try_from(told).unwrap(), passed, "{} runs, {} counted, {:?} wait", world.ever.len(), counted, world.queued);
    }
}
