//! Lets the journal do what time asks for: timers, silent pods, graces that are over. Sleeps until the next of them.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::user_actions::answer_in;
use crate::context::Context;
use crate::error::{Backoff, Problem, chain, left};

/// Longest sleep: old drafts and keys are forgotten then.
const LONGEST: Duration = Duration::from_mins(10);
/// Shortest sleep, so that a busy journal does not keep this loop spinning.
const SHORTEST: Duration = Duration::from_millis(50);
/// Changes of the journal within this time are seen together: each look is at every unfinished run.
const TOGETHER: Duration = Duration::from_millis(250);

/// Ticks until told to stop.
pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
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
            match tick(&context, stale).await {
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

/// Runs of tenants that are gone, also those whose namespace was made again, take no memory and are not looked at. Before the
/// first list no tenant is known.
pub(super) fn set_aside(context: &Context) {
    if context.tenants.is_listed() {
        // Asked run by run: who is served since a moment ago has its runs read again, and they must not be forgotten after that.
        context.journal.set_aside(|namespace, tenant| context.tenants.serves(namespace, tenant));
    }
}

/// Answers the user actions taken until now on runs with a timer that is due, then lets time do its part. Where they cannot be
/// answered, or the run's tenant does not have its namespace now, no timer fires, but silent pods are released. With `expire`,
/// old drafts and keys are forgotten as well, once no user action without an answer can need them.
async fn tick(context: &Context, expire: bool) -> Result<(), Problem> {
    let journal = &context.journal;
    let namespaces: BTreeSet<String> = if expire {
        context.tenants.all().keys().cloned().collect()
    } else {
        journal.timers_due(journal.now()).into_iter().map(|state| state.namespace.clone()).collect()
    };
    let answered = answer_in(context, namespaces).await;
    for (run_id, error) in journal.tick(|state| answered.upto(state).filter(|_| context.serves(state))).await {
        let reason = error.reason();
        tracing::error!(%run_id, reason, error = %chain(&error), "could not advance a run's timers; it is tried again");
    }
    if let Some(upto) = answered.all_upto().filter(|_| expire) {
        journal.expire(upto).await?;
    }
    Ok(())
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
    use ntro_journal::RunState;
    use uuid::Uuid;

    use super::*;
    use crate::testing::runs::{gate, parked, timer};
    use crate::testing::{api_server, context, nobody_acted_in};

    /// A run that sleeps for ten seconds and has no pod.
    async fn sleeping(context: &Context, namespace: &str) -> Uuid {
        parked(&context.journal, namespace, vec![timer(0)]).await
    }

    async fn woken(context: &Context, run: Uuid) -> bool {
        context.journal.state(run).await.as_deref().is_ok_and(|state: &RunState| state.wanted().is_some())
    }

    #[tokio::test]
    async fn timers_wait_where_the_user_actions_cannot_be_read_and_nowhere_else() {
        let (client, mut asked) = api_server(|asked| nobody_acted_in("beta", asked));
        let dir = tempfile::tempdir().unwrap();
        let (context, clock) = context(dir.path(), client).await;
        let (acme, beta) = (sleeping(&context, "acme").await, sleeping(&context, "beta").await);
        tick(&context, false).await.unwrap();
        assert!(asked.try_recv().is_err(), "nothing is due, nobody is asked");
        clock.advance(SignedDuration::from_secs(10));
        tick(&context, false).await.unwrap();
        assert!(!woken(&context, acme).await, "an approval in time may be among the actions that could not be read");
        assert!(woken(&context, beta).await, "another tenant's trouble");
    }

    #[tokio::test]
    async fn a_gates_deadline_waits_for_the_api_servers_clock() {
        let (client, _asked) = api_server(|asked| nobody_acted_in("acme", asked));
        let dir = tempfile::tempdir().unwrap();
        let (context, clock) = context(dir.path(), client).await;
        let (due, server) = (context.clock.now() + SignedDuration::from_secs(10), &context.kube.server_time);
        let acme = parked(&context.journal, "acme", vec![gate(0, "review", Some(10_000)), timer(1)]).await;
        let sleeper = sleeping(&context, "acme").await;
        server.hear(context.clock.now());
        clock.set(SignedDuration::from_mins(10));
        tick(&context, false).await.unwrap();
        assert!(!woken(&context, acme).await, "our clock was set, and nothing has expired");
        let again = context.journal.next_due().unwrap().duration_since(context.clock.now());
        assert!(again > SignedDuration::from_secs(4), "it waits for as long as it must and does not spin: {again}");
        server.hear(due);
        clock.advance(SignedDuration::from_secs(10));
        tick(&context, false).await.unwrap();
        assert!(woken(&context, sleeper).await, "nobody is asked whether a sleep is over");
        assert!(!woken(&context, acme).await, "an approval in time may not be stored yet");
        server.hear(due + SignedDuration::from_secs(7));
        clock.advance(SignedDuration::from_secs(10));
        tick(&context, false).await.unwrap();
        assert!(woken(&context, acme).await);
    }

    #[test]
    fn it_sleeps_until_the_next_instant_and_never_spins() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert_eq!(sleep_until(None, at(0)), LONGEST);
        assert_eq!(sleep_until(Some(at(30)), at(0)), Duration::from_secs(30));
        assert_eq!(sleep_until(Some(at(0)), at(30)), SHORTEST);
        assert_eq!(sleep_until(Some(at(1_000_000)), at(0)), LONGEST);
    }
}
