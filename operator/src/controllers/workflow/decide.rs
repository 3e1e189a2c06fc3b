//! Which run a Workflow's schedule asks for now, which slots gave none, which runs are old, and when to look again. Pure.
//!
//! Only the latest slot that was not served is ever started. A slot counts only if it is later than the moment the schedule,
//! its zone or its suspension last changed, so that an edit never starts anything of the past.

use jiff::{SignedDuration, Timestamp};
use ntro_crds::workflow::{ConcurrencyPolicy, MissedRunPolicy};
use ntro_schedule::cron::Schedule;

use super::facts::{Ending, RunFact};

/// How late a run may start if the spec does not say.
pub const DEFAULT_DEADLINE: SignedDuration = SignedDuration::from_hours(24);
/// How many runs of each ending are kept if the spec does not say.
pub const DEFAULT_HISTORY: usize = 12;
/// A slot that is older was missed: nothing could be started when it was due.
const ON_TIME: SignedDuration = SignedDuration::from_secs(120);
/// Slots counted one by one; more are not worth the time.
const COUNT_MAX: i64 = 1000;

/// The schedule of a Workflow and its rules, checked.
#[derive(Debug, Clone)]
pub struct Rules {
    /// When runs are due; empty without a schedule.
    pub schedules: Vec<Schedule>,
    /// Nothing is started.
    pub suspended: bool,
    /// How late a run may start.
    pub deadline: SignedDuration,
    /// What to do with slots that passed unserved.
    pub missed: MissedRunPolicy,
    /// What to do while a run of the period is unfinished.
    pub concurrency: ConcurrencyPolicy,
    /// How many succeeded scheduled runs are kept.
    pub keep_succeeded: usize,
    /// How many other ended scheduled runs are kept.
    pub keep_failed: usize,
}

/// What is known of the past.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// No slot before this time is due.
    pub observed: Timestamp,
    /// The slot of the latest scheduled run.
    pub last_run: Option<Timestamp>,
    /// The latest slot that gave no run.
    pub last_missed: Option<Timestamp>,
    /// The runs of the Workflow.
    pub runs: &'a [RunFact],
}

/// A slot to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its time.
    pub slot: Timestamp,
    /// The accounting period it is for.
    pub period: String,
    /// Until when it may still be started.
    pub until: Timestamp,
}

/// Slots that give no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// How many.
    pub count: i64,
    /// The latest of them.
    pub latest: Timestamp,
    /// Why, in one word.
    pub reason: &'static str,
}

/// What follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// The run to start.
    pub start: Option<Due>,
    /// A slot whose run is there already: only the status does not know.
    pub served: Option<Timestamp>,
    /// Slots that give no run.
    pub skipped: Option<Skipped>,
    /// When the next slot is due.
    pub next_slot: Option<Timestamp>,
    /// Runs to delete, by name.
    pub prune: Vec<String>,
}

/// Reasons for which a slot gives no run.
pub mod reason {
    /// Nothing could be started in time.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// A later slot was due as well when something could be started again.
    pub const SUPERSEDED: &str = "LaterSlotDue";
    /// The policy says to leave missed slots alone.
    pub const POLICY_SKIP: &str = "MissedRunPolicySkip";
    /// A run of the same period is unfinished.
    pub const FORBIDDEN: &str = "RunUnfinished";
    /// The slot's name was used by a run that is none of this Workflow's.
    pub const NAME_TAKEN: &str = "NameTaken";
}

/// Decides. `period_of` gives the accounting period of a slot.
pub fn decide(rules: &Rules, past: &Past<'_>, period_of: &dyn Fn(Timestamp) -> String, now: Timestamp) -> Decision {
    let mut decision = Decision { prune: prune(rules, past.runs), ..Decision::default() };
    if rules.suspended {
        return decision;
    }
    decision.next_slot = rules.schedules.iter().filter_map(|schedule| schedule.next_after(now)).min();
    // A slot whose run exists was served, even if nobody lived to say so.
    let ran = past.runs.iter().filter(|run| run.ours).filter_map(|run| run.slot).chain(past.last_run).max();
    decision.served = ran.filter(|slot| past.last_run.is_none_or(|known| *slot > known));
    let base = ran.into_iter().chain(past.last_missed).fold(past.observed, Timestamp::max);
    let latest = rules.schedules.iter().filter_map(|schedule| schedule.last_due(base, now)).max();
    if let Some(slot) = latest {
        judge(rules, past, period_of(slot), (base, slot, now), &mut decision);
    }
    decision
}

fn judge(
    rules: &Rules,
    past: &Past<'_>,
    period: String,
    (base, slot, now): (Timestamp, Timestamp, Timestamp),
    decision: &mut Decision,
) {
    let (older, latest_older) = count(rules, base, slot);
    let all = |reason| Skipped { count: older + 1, latest: slot, reason };
    let late = now.duration_since(slot);
    let hinders = |run: &&RunFact| !run.ended() && run.period.as_deref() == Some(period.as_str());
    if late > rules.deadline {
        decision.skipped = Some(all(reason::DEADLINE_EXCEEDED));
    } else if rules.missed == MissedRunPolicy::Skip && late > ON_TIME {
        decision.skipped = Some(all(reason::POLICY_SKIP));
    } else if rules.concurrency == ConcurrencyPolicy::Forbid && past.runs.iter().any(|run| hinders(&run)) {
        decision.skipped = Some(all(reason::FORBIDDEN));
    } else {
        decision.skipped = latest_older.map(|latest| Skipped { count: older, latest, reason: reason::SUPERSEDED });
        let until = slot.checked_add(rules.deadline).unwrap_or(Timestamp::MAX);
        decision.start = Some(Due { slot, period, until });
    }
}

/// How many slots lie between `base` and `slot`, both excluded, and the latest of them.
fn count(rules: &Rules, base: Timestamp, slot: Timestamp) -> (i64, Option<Timestamp>) {
    let (mut count, mut at, mut latest) = (0, base, None);
    while count < COUNT_MAX {
        match rules.schedules.iter().filter_map(|schedule| schedule.next_after(at)).min() {
            Some(next) if next < slot => (count, at, latest) = (count + 1, next, Some(next)),
            _ => break,
        }
    }
    if count == COUNT_MAX {
        // The count is a bound then, the latest one is exact.
        let before = slot.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(slot);
        latest = rules.schedules.iter().filter_map(|schedule| schedule.last_due(at, before)).max().or(latest);
    }
    (count, latest)
}

/// Ended runs that the schedule made, beyond what is kept, oldest first.
fn prune(rules: &Rules, runs: &[RunFact]) -> Vec<String> {
    let beyond = |keep: usize, wanted: &dyn Fn(&Ending) -> bool| {
        let mut ended: Vec<_> = runs
            .iter()
            .filter(|run| run.ours && run.slot.is_some() && run.ending.as_ref().is_some_and(wanted))
            .collect();
        ended.sort_by(|a, b| (a.slot, &a.name).cmp(&(b.slot, &b.name)));
        let surplus = ended.len().saturating_sub(keep);
        ended.into_iter().take(surplus).map(|run| run.name.clone()).collect::<Vec<_>>()
    };
    let mut names = beyond(rules.keep_succeeded, &|ending| *ending == Ending::Succeeded);
    names.extend(beyond(rules.keep_failed, &|ending| *ending != Ending::Succeeded));
    names
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
