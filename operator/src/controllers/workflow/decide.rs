//! Which runs a Workflow's schedule asks for now, which slots wait, which give none, and when to decide again. Pure.
//!
//! A slot counts only if it is later than the moment the schedule, its zone, its calendar or its suspension last changed, so
//! that an edit never starts anything of the past. Slots are taken in order; each is started, queued or skipped, once. What
//! was decided and not written to the status before a crash is decided again from the same slots, with the same outcome.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use ntro_crds::SlotReason;
use ntro_schedule::slots::Slots;

use super::history::{self, Keep};
use crate::cache::{RunSummary, Standing};

/// How late a run may start if the spec does not say.
pub(super) const DEFAULT_DEADLINE: SignedDuration = SignedDuration::from_hours(24);
/// A slot that is older was missed: nothing could be started when it was due.
const ON_TIME: SignedDuration = SignedDuration::from_secs(120);

/// What to do with slots that passed unserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    /// Start none.
    Skip,
    /// Start so many, the latest ones, oldest first.
    Latest(usize),
}

/// What to do while a run of the period is unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Concurrency {
    /// Start another one.
    Allow,
    /// Skip the slot.
    Forbid,
    /// Cancel it, and start when nothing of it is left.
    Replace,
    /// Wait for it; at most so many slots wait.
    Queue(usize),
}

/// The schedule of a Workflow and its rules, checked.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// When runs are due; none without a schedule.
    pub slots: Slots,
    /// How much later than its slot each run starts.
    pub jitter: SignedDuration,
    /// How long before they are due the objects of runs may be made.
    pub lead: SignedDuration,
    /// Nothing is started.
    pub suspended: bool,
    /// How late a run may start.
    pub deadline: SignedDuration,
    /// What to do with slots that passed unserved.
    pub missed: Missed,
    /// What to do while a run of the period is unfinished.
    pub concurrency: Concurrency,
    /// Which ended runs are kept.
    pub keep: Keep,
}

/// What is known of the past.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past<'a> {
    /// No slot before this time is due.
    pub observed: Timestamp,
    /// The slot of the latest scheduled run.
    pub last_run: Option<Timestamp>,
    /// The latest slot that gave no run.
    pub last_missed: Option<Timestamp>,
    /// Slots that wait.
    pub queued: &'a [Timestamp],
    /// The runs of the Workflow.
    pub runs: &'a [RunSummary],
    /// A slot whose run could not be started: it and all later ones are left as they were, for another reconcile.
    pub stuck: Option<Timestamp>,
}

/// A slot to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    /// Its time.
    pub slot: Timestamp,
    /// The accounting period it is for.
    pub period: String,
    /// Until when it may still be started.
    pub until: Timestamp,
    /// It waited for its turn: that it starts late says nothing about the cluster.
    pub waited: bool,
}

/// A slot that waits for runs of its period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queued {
    /// Its time.
    pub slot: Timestamp,
    pub period: String,
    /// A run it waits for.
    pub held_by: String,
    /// Why, in one word.
    pub reason: SlotReason,
}

/// Slots that give no run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Skipped {
    /// How many.
    pub count: usize,
    /// The latest of them.
    pub latest: Timestamp,
    /// Why, in one word.
    pub reason: SlotReason,
    /// The period of the latest, where the reason is about a period.
    pub period: Option<String>,
    /// The run that was in the way of the latest, if one was.
    pub held_by: Option<String>,
}

impl Skipped {
    /// A single slot.
    pub(super) fn one(slot: Timestamp, reason: SlotReason) -> Self {
        Self { count: 1, latest: slot, reason, period: None, held_by: None }
    }
}

/// What follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// The runs to start, oldest slot first.
    pub start: Vec<Due>,
    /// The slots that wait, oldest first.
    pub queued: Vec<Queued>,
    /// Runs to cancel, by name.
    pub replace: BTreeSet<String>,
    /// The latest slot whose run is there already: only the status does not know.
    pub served: Option<Timestamp>,
    /// Slots that give no run.
    pub skipped: Vec<Skipped>,
    /// When the next run is due.
    pub next_slot: Option<Timestamp>,
    /// When to decide again at the latest.
    pub wake: Option<Timestamp>,
    /// Runs to delete, by name.
    pub prune: Vec<String>,
}

/// What a slot waits for whose period another one was given in the same reconcile.
pub(super) const EARLIER_SLOT: &str = "the run of an earlier slot";

/// Decides. `period_of` gives the accounting period of a slot.
pub(super) fn decide(
    rules: &Rules,
    past: &Past<'_>,
    period_of: &dyn Fn(Timestamp) -> String,
    now: Timestamp,
) -> Decision {
    let mut decision = Decision::default();
    let (prune, expiry) = history::prune(&rules.keep, past.runs, now);
    decision.prune = prune;
    decision.wake = expiry;
    // A slot whose run has begun is served, whoever asked for it and whether or not the status says so.
    let ran: BTreeSet<_> = past.runs.iter().filter(|run| run.serves_its_slot()).filter_map(|run| run.slot).collect();
    let fired = past.runs.iter().filter(|run| run.ours && run.by_schedule).filter_map(|run| run.slot).max();
    decision.served = fired.filter(|slot| past.last_run.is_none_or(|known| *slot > known));
    if rules.suspended {
        let dropped = past.queued.iter().copied();
        dropped.for_each(|slot| decision.skip(Skipped::one(slot, SlotReason::ScheduleChanged)));
        return decision;
    }
    // The schedule's own clock runs late by the jitter.
    let clock = now.saturating_sub(rules.jitter).unwrap_or(Timestamp::MIN);
    let known = past.queued.iter().copied().chain(fired).chain(past.last_run).chain(past.last_missed);
    let base = known.fold(past.observed, Timestamp::max);
    // What was judged is not due again, though the clock be set back; nor is what came before the schedule was seen.
    let next = rules.slots.next_after(clock.max(base));
    decision.next_slot = next.map(|slot| slot.saturating_add(rules.jitter).unwrap_or(Timestamp::MAX));
    decision.wake = earliest(decision.wake, decision.next_slot);
    let mut deciding = Deciding { rules, past, period_of, clock, decision, taken: BTreeSet::new() };
    deciding.waiting(&ran);
    deciding.newly_due(base, &ran);
    deciding.decision
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

impl Decision {
    fn skip(&mut self, new: Skipped) {
        match self.skipped.iter_mut().find(|skipped| skipped.reason == new.reason) {
            Some(skipped) => {
                let count = skipped.count + new.count;
                if new.latest >= skipped.latest {
                    *skipped = new;
                }
                skipped.count = count;
            }
            None => self.skipped.push(new),
        }
    }
}

struct Deciding<'a> {
    rules: &'a Rules,
    past: &'a Past<'a>,
    period_of: &'a dyn Fn(Timestamp) -> String,
    clock: Timestamp,
    decision: Decision,
    /// Periods for which a run is to start or a slot waits.
    taken: BTreeSet<String>,
}

impl Deciding<'_> {
    /// Slots that were queued by an earlier reconcile.
    fn waiting(&mut self, ran: &BTreeSet<Timestamp>) {
        let mut slots = self.past.queued.to_vec();
        slots.sort_unstable();
        for slot in slots {
            if slot <= self.past.observed {
                self.decision.skip(Skipped::one(slot, SlotReason::ScheduleChanged));
            } else if ran.contains(&slot) {
                // It has its run: nothing waits.
            } else if slot > self.clock {
                self.wait(slot, SlotReason::ClockSetBack);
            } else if self.past.stuck.is_some_and(|stuck| slot >= stuck) {
                self.wait(slot, SlotReason::NotStarted);
            } else {
                self.slot(slot);
            }
        }
    }

    /// Slots nobody has looked at yet.
    fn newly_due(&mut self, base: Timestamp, ran: &BTreeSet<Timestamp>) {
        let stuck = self.past.stuck.unwrap_or(Timestamp::MAX);
        if stuck <= base {
            return;
        }
        let max = if let Missed::Latest(max) = self.rules.missed { max } else { 1 };
        let (due, older) = self.rules.slots.due(base, self.clock, max);
        let Some(first) = due.first().copied() else { return };
        if older > 0 {
            let before = first.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(first);
            let latest = self.rules.slots.last_due(base, before).unwrap_or(base);
            let why = if self.rules.missed == Missed::Skip {
                SlotReason::MissedRunPolicySkip
            } else {
                SlotReason::LaterSlotDue
            };
            // Somebody may have asked for some of them meanwhile.
            let served = ran.iter().filter(|slot| **slot > base && **slot < first && self.rules.slots.has(**slot));
            let count = older.saturating_sub(served.count());
            if count > 0 {
                self.decision.skip(Skipped { count, ..Skipped::one(latest, why) });
            }
        }
        for slot in due.into_iter().filter(|slot| !ran.contains(slot)).take_while(|slot| *slot < stuck) {
            let late = self.clock.duration_since(slot);
            if self.rules.missed == Missed::Skip && late > ON_TIME && late <= self.rules.deadline {
                self.decision.skip(Skipped::one(slot, SlotReason::MissedRunPolicySkip));
            } else {
                self.slot(slot);
            }
        }
    }

    /// Starts, queues or skips one slot. All earlier ones were judged before.
    fn slot(&mut self, slot: Timestamp) {
        if self.clock.duration_since(slot) > self.rules.deadline {
            self.decision.skip(Skipped::one(slot, SlotReason::DeadlineExceeded));
            return;
        }
        let period = (self.period_of)(slot);
        // Somebody asked for this very slot and has not been served yet: it is theirs, unless they take it back.
        if let Some(asked) = self.past.runs.iter().find(|run| run.asks_for(slot)) {
            self.queue(slot, period, asked.name.clone(), SlotReason::RunUnfinished);
            return;
        }
        let runs = self.past.runs;
        let in_the_way: Vec<_> =
            runs.iter().filter(|run| !run.ended() && run.period.as_deref() == Some(period.as_str())).collect();
        let free = in_the_way.is_empty() && !self.taken.contains(&period);
        if free || self.rules.concurrency == Concurrency::Allow {
            let until = self.rules.deadline.saturating_add(self.rules.jitter);
            let until = slot.saturating_add(until).unwrap_or(Timestamp::MAX);
            let waited = self.past.queued.contains(&slot);
            self.taken.insert(period.clone());
            self.decision.start.push(Due { slot, period, until, waited });
        } else {
            self.behind(slot, period, &in_the_way);
        }
    }

    /// Queues or skips a slot whose period is taken, by runs `in_the_way` or by an earlier slot.
    fn behind(&mut self, slot: Timestamp, period: String, in_the_way: &[&RunSummary]) {
        // What waits for a person hinders longest: that is what people must hear of.
        let held_by = in_the_way.iter().rev().max_by_key(|run| run.standing);
        let why = match held_by.map(|run| run.standing) {
            Some(Standing::Blocked) => SlotReason::RunBlocked,
            Some(Standing::Waiting) => SlotReason::RunWaiting,
            Some(Standing::UnderWay) | None => SlotReason::RunUnfinished,
        };
        let run = held_by.map(|run| run.name.clone());
        let skipped =
            |reason| Skipped { period: Some(period.clone()), held_by: run.clone(), ..Skipped::one(slot, reason) };
        let held_by = run.clone().unwrap_or_else(|| EARLIER_SLOT.to_owned());
        match self.rules.concurrency {
            Concurrency::Allow | Concurrency::Forbid => self.decision.skip(skipped(why)),
            Concurrency::Queue(max) if self.decision.queued.len() >= max => {
                self.decision.skip(skipped(SlotReason::QueueFull));
            }
            Concurrency::Queue(_) => self.queue(slot, period, held_by, why),
            Concurrency::Replace => {
                if self.displace_earlier(&period) {
                    self.slot(slot);
                    return;
                }
                // What a former Workflow of this name began is not ours to cancel: the slot waits for it.
                let why = if in_the_way.iter().any(|run| run.ours) { SlotReason::Replacing } else { why };
                let ours = in_the_way.iter().filter(|run| run.ours);
                self.decision.replace.extend(ours.map(|run| run.name.clone()));
                self.queue(slot, period, held_by, why);
            }
        }
    }

    /// A later slot of a period takes the place of an earlier one that has not begun. `true` if that one was to start now.
    fn displace_earlier(&mut self, period: &str) -> bool {
        let (start, queued) = (&mut self.decision.start, &mut self.decision.queued);
        let starting = start.iter().position(|due| due.period == period).map(|earlier| start.remove(earlier).slot);
        let waiting = || queued.iter().position(|queued| queued.period == period).map(|at| queued.remove(at).slot);
        let Some(earlier) = starting.or_else(waiting) else { return false };
        self.decision.skip(Skipped::one(earlier, SlotReason::LaterSlotDue));
        if starting.is_some() {
            self.taken.remove(period);
        }
        starting.is_some()
    }

    /// Lets a slot wait that waits for no run.
    fn wait(&mut self, slot: Timestamp, reason: SlotReason) {
        let period = (self.period_of)(slot);
        self.queue(slot, period, "-".to_owned(), reason);
    }

    fn queue(&mut self, slot: Timestamp, period: String, held_by: String, reason: SlotReason) {
        let tolerance =
            self.rules.deadline.saturating_add(self.rules.jitter).saturating_add(SignedDuration::from_secs(1));
        let again = if slot > self.clock { self.rules.jitter } else { tolerance };
        let again = slot.saturating_add(again).unwrap_or(Timestamp::MAX);
        self.decision.wake = earliest(self.decision.wake, Some(again));
        // What is queued holds back the later slots of its period.
        self.taken.insert(period.clone());
        self.decision.queued.push(Queued { slot, period, held_by, reason });
    }
}

#[cfg(test)]
mod tests;
