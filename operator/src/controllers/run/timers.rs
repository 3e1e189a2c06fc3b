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
    use ntro_journal::protocol::{AppendRequest, PodEntry, ReleaseCause, entries};
    use ntro_journal::{AttachPod, CreateRun, RunState};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::testing::runs::{run_created, versions};
    use crate::testing::{Asked, api_server, context};

    /// A run that sleeps for ten seconds and has no pod.
    async fn sleeping(context: &Context, namespace: &str) -> Uuid {
        let (journal, run_id) = (&context.journal, Uuid::new_v4());
        let run = run_created(run_id, namespace, "nav");
        journal.create_run(CreateRun { run, request_hash: "h".to_owned() }).await.unwrap();
        journal.job_recorded(run_id, 1, "job", "job", "t").await.unwrap();
        let pod = AttachPod {
            pod_name: "pod".to_owned(),
            pod_uid: "pod".to_owned(),
            job_uid: "job".to_owned(),
            versions: versions(),
            published: None,
        };
        let attached = journal.attach(run_id, pod).await.unwrap();
        let session = journal.session(&attached.session).unwrap();
        let entries = vec![
            PodEntry::TimerStarted(entries::TimerStarted { command: 0, seen_upto: 0, duration_ms: 10_000 }),
            PodEntry::Parked(entries::Parked { seen_upto: 0, waiting_for: Vec::new() }),
            PodEntry::Released(entries::PodReleased { epoch: None, cause: ReleaseCause::Parked }),
        ];
        let head = attached.entries.len() as u64 - 1;
        journal
            .append(&session, AppendRequest { epoch: attached.epoch, head, head_hash: None, entries })
            .await
            .unwrap();
        run_id
    }

    #[tokio::test]
    async fn timers_wait_where_the_user_actions_cannot_be_read_and_nowhere_else() {
        let answer = |asked: &Asked| {
            let known = asked.path.contains("/namespaces/beta/useractions");
            known.then(
                || json!({ "apiVersion": "ntro.dev/v1alpha1", "kind": "UserActionList", "metadata": {}, "items": [] }),
            )
        };
        let (client, mut asked) = api_server(answer);
        let dir = tempfile::tempdir().unwrap();
        let (context, clock) = context(dir.path(), client).await;
        let (acme, beta) = (sleeping(&context, "acme").await, sleeping(&context, "beta").await);
        let woken = async |run| {
            context.journal.state(run).await.as_deref().is_ok_and(|state: &RunState| state.wanted().is_some())
        };
        tick(&context, false).await.unwrap();
        assert!(asked.try_recv().is_err(), "nothing is due, nobody is asked");
        clock.advance(SignedDuration::from_secs(10));
        tick(&context, false).await.unwrap();
        assert!(!woken(acme).await, "an approval in time may be among the actions that could not be read");
        assert!(woken(beta).await, "another tenant's trouble");
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
