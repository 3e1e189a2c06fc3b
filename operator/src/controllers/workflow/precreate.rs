//! Runs whose objects are made a little before their slot, so that at the slot itself only their Jobs are to be made: when
//! thousands are due at once, that is half of the work. Pure.
//!
//! Such an object promises nothing. It has no journal, nobody but its Workflow's pass begins it, and that pass decides about
//! the slot when it is due, as if there were no object. What the schedule does not give any more is deleted.

use jiff::{SignedDuration, Timestamp};
use ntro_schedule::jitter;

use super::decide::{Concurrency, Decision, Rules};
use super::facts::RunFact;

/// An object is made no later before its slot than this: making it then helps nobody.
const LATEST: SignedDuration = SignedDuration::from_secs(2);
/// Objects of one slot are made within this time, each at its own moment, so that they do not keep the API server busy.
const SPREAD: SignedDuration = SignedDuration::from_secs(30);
/// The last of them so long before their slot.
const BEFORE: SignedDuration = SignedDuration::from_secs(15);

/// What is to be done about objects of slots to come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ahead {
    /// The slot whose object is to be made, and its period.
    pub make: Option<(Timestamp, String)>,
    /// Objects to delete, by name: their slot will not be served, or not by them.
    pub delete: Vec<String>,
    /// When to look again at the latest.
    pub wake: Option<Timestamp>,
}

/// How long before its runs are due a Workflow makes their objects. `seed` is its `namespace/name`.
pub fn lead(seed: &str) -> SignedDuration {
    BEFORE.saturating_add(jitter::of(&format!("{seed}\nahead"), SPREAD))
}

/// Decides. `made` are the objects that were made ahead and have not begun, `runs` the other ones.
pub fn ahead(
    rules: &Rules,
    runs: &[RunFact],
    made: &[RunFact],
    decision: &Decision,
    period_of: &dyn Fn(Timestamp) -> String,
    now: Timestamp,
) -> Ahead {
    let mut ahead = Ahead::default();
    let next = decision.next_slot.filter(|_| !rules.suspended);
    let next = next.and_then(|due| Some((due, due.checked_sub(rules.jitter).ok()?)));
    let wanted = |fact: &&RunFact| {
        let slot = fact.slot.filter(|_| fact.ours);
        let comes = slot.is_some() && slot == next.map(|(_, slot)| slot);
        (comes || decision.start.iter().any(|due| Some(due.slot) == slot))
            && slot.is_some_and(|slot| fact.period.as_deref() == Some(period_of(slot).as_str()))
    };
    ahead.delete = made.iter().filter(|fact| !wanted(fact)).map(|fact| fact.name.clone()).collect();
    let Some((due, slot)) = next else { return ahead };
    let there = |fact: &RunFact| fact.slot == Some(slot);
    if runs.iter().any(there) || made.iter().any(there) {
        return ahead;
    }
    let from = due.saturating_sub(rules.lead).unwrap_or(due);
    if now < from {
        ahead.wake = Some(from);
    } else if due.duration_since(now) >= LATEST {
        let period = period_of(slot);
        let of_period = |run: &RunFact| run.period.as_ref() == Some(&period);
        let in_the_way = runs.iter().any(|run| !run.ended() && of_period(run))
            || decision.start.iter().any(|due| due.period == period)
            || decision.queued.iter().any(|queued| queued.period == period);
        if rules.concurrency == Concurrency::Allow || !in_the_way {
            ahead.make = Some((slot, period));
        }
    }
    ahead
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
