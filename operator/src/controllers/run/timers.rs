//! Lets the journal do what time asks for: timers, silent pods, graces that are over. Sleeps until the next of them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::user_actions::answer_all;
use crate::context::Context;
use crate::error::{Backoff, Problem, left};

/// Longest sleep: old drafts and keys are forgotten then.
const LONGEST: Duration = Duration::from_mins(10);
/// Shortest sleep, so that a busy journal does not keep this loop spinning.
const SHORTEST: Duration = Duration::from_millis(50);
/// Changes of the journal within this time are seen together: each look is at every unfinished run.
const TOGETHER: Duration = Duration::from_millis(250);

/// Ticks until told to stop.
pub async fn run(context: Context, shutdown: CancellationToken) {
    let journal = &context.journal;
    let mut feed = journal.subscribe();
    let mut clock_jump = context.clock_jump.subscribe();
    let mut failures = 0;
    let mut expired = journal.now();
    loop {
        let now = journal.now();
        let mut due = journal.next_due();
        let stale = sleep_until(Some(expired), now) == SHORTEST;
        if stale {
            set_aside(&context);
        }
        if stale || due.is_some_and(|due| due <= now) {
            match tick(&context).await {
                Ok(()) => (failures, expired) = (0, now.saturating_add(longest()).unwrap_or(Timestamp::MAX)),
                Err(problem) => {
                    failures += 1;
                    tracing::error!(
                        reason = problem.reason.as_str(),
                        error = problem.message,
                        "could not advance the journal's timers"
                    );
                }
            }
            due = journal.next_due();
        }
        let wait = match failures {
            0 => sleep_until(due, now),
            failures => Backoff::DEFAULT.delay(failures, rand::random()),
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            _ = clock_jump.changed() => {}
            _ = feed.recv(), if failures == 0 => {
                tokio::time::sleep(TOGETHER).await;
                feed = feed.resubscribe();
            }
        }
    }
}

/// Runs of tenants that are gone take no memory and are not looked at. Before the first list no tenant is known.
fn set_aside(context: &Context) {
    if !context.tenants.all().is_empty() {
        // Asked run by run: who is served since a moment ago has its runs read again, and they must not be forgotten after that.
        context.journal.set_aside(|namespace| context.tenants.get(namespace).is_some());
    }
}

/// Answers the user actions taken until now, then lets time do its part. If they cannot be, no timer fires, but silent pods are
/// released.
async fn tick(context: &Context) -> Result<(), Problem> {
    let answered = answer_all(context).await;
    let known_upto = answered.as_ref().copied().unwrap_or(Timestamp::MIN);
    context.journal.tick(known_upto).await?;
    answered.map(|_| ())
}

fn longest() -> SignedDuration {
    SignedDuration::try_from(LONGEST).unwrap_or(SignedDuration::MAX)
}

/// How long to sleep.
fn sleep_until(due: Option<Timestamp>, now: Timestamp) -> Duration {
    let left = due.map_or(LONGEST, |due| left(due, now));
    left.clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sleeps_until_the_next_instant_and_never_spins() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert_eq!(sleep_until(None, at(0)), LONGEST);
        assert_eq!(sleep_until(Some(at(30)), at(0)), Duration::from_secs(30));
        assert_eq!(sleep_until(Some(at(0)), at(30)), SHORTEST);
        assert_eq!(sleep_until(Some(at(1_000_000)), at(0)), LONGEST);
    }
}
