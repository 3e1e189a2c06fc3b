//! Runs whose objects are created a little before their slot, so that at the slot itself only their Jobs are to be created:
//! when thousands are due at once, that is half of the work. Pure.
//!
//! Such an object promises nothing. It has no journal, nobody but its Workflow's reconcile begins it, and that decides about
//! the slot when it is due, as if there were no object. What the schedule does not give any more is deleted.

use jiff::{SignedDuration, Timestamp};
use ntro_schedule::jitter;

use super::decide::{Concurrency, Decision, Rules};
use crate::cache::RunSummary;

/// An object is created no later before its slot than this: later it helps nobody.
const LATEST: SignedDuration = SignedDuration::from_secs(2);
/// Objects of one slot are created within this time, each at its own moment, so that they do not keep the API server busy.
const SPREAD: SignedDuration = SignedDuration::from_secs(30);
/// The last of them so long before their slot.
const BEFORE: SignedDuration = SignedDuration::from_secs(15);

/// What is to be done about objects of slots to come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Precreation {
    /// The slot whose object is to be created, and its period.
    pub create: Option<(Timestamp, String)>,
    /// Objects to delete, by name: their slot will not be served, or not by them.
    pub delete: Vec<String>,
    /// When to decide again at the latest.
    pub wake: Option<Timestamp>,
}

impl Precreation {
    /// Nothing is created, and what was is deleted.
    pub(super) fn none_of(precreated: &[RunSummary]) -> Self {
        Self { delete: precreated.iter().map(|run| run.name.clone()).collect(), ..Self::default() }
    }
}

/// How long before its runs are due a Workflow creates their objects. `seed` is its `namespace/name`.
pub(super) fn lead(seed: &str) -> SignedDuration {
    BEFORE.saturating_add(jitter::of(&format!("{seed}\nahead"), SPREAD))
}

/// Decides. `precreated` are the runs with an object that have not begun, `runs` the other ones.
pub(super) fn decide(
    rules: &Rules,
    runs: &[RunSummary],
    precreated: &[RunSummary],
    decision: &Decision,
    period_of: &dyn Fn(Timestamp) -> String,
    now: Timestamp,
) -> Precreation {
    let mut precreation = Precreation::default();
    let next = decision.next_slot.filter(|_| !rules.suspended);
    let next = next.and_then(|due| Some((due, due.checked_sub(rules.jitter).ok()?)));
    let wanted = |run: &&RunSummary| {
        let slot = run.slot.filter(|_| run.ours);
        let comes = slot.is_some() && slot == next.map(|(_, slot)| slot);
        (comes || decision.start.iter().any(|due| Some(due.slot) == slot))
            && slot.is_some_and(|slot| run.period.as_deref() == Some(period_of(slot).as_str()))
    };
    precreation.delete = precreated.iter().filter(|run| !wanted(run)).map(|run| run.name.clone()).collect();
    let Some((due, slot)) = next else { return precreation };
    let exists = |run: &RunSummary| run.slot == Some(slot);
    if runs.iter().any(exists) || precreated.iter().any(exists) {
        return precreation;
    }
    let from = due.saturating_sub(rules.lead).unwrap_or(due);
    if now < from {
        precreation.wake = Some(from);
    } else if due.duration_since(now) >= LATEST {
        let period = period_of(slot);
        let of_period = |run: &RunSummary| run.period.as_ref() == Some(&period);
        let in_the_way = runs.iter().any(|run| !run.ended() && of_period(run))
            || decision.start.iter().any(|due| due.period == period)
            || decision.queued.iter().any(|queued| queued.period == period);
        if rules.concurrency == Concurrency::Allow || !in_the_way {
            precreation.create = Some((slot, period));
        }
    }
    precreation
}

#[cfg(test)]
mod tests;
