//! A store that fails: whichever commit of a run's life fails, made or not, the run goes on when the store works again, nothing
//! is lost or doubled, and no other run waits for it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use ntro_journal::protocol::{
    AppendRequest, Entry, EntryBody, LogLine, LogRequest, LogStream, PodEntry, ReleaseCause, Sha256Digest, entries,
};
use ntro_journal::store::{
    BegunPurge, ClaimKey, Commit, Draft, EndedRun, Inserted, OpenRun, PurgeStep, RunInsert, RunRow, SKELETON_COST,
    SqliteStore, Store, StoreError, StoredLine, ViewKey,
};
use ntro_journal::{
    CreateRun, Hold, Journal, JournalError, JournalSettings, PurgeRecord, PurgedRun, Retention, RunPart, Session,
    Skeleton, TestClock,
};
use uuid::Uuid;

use common::{pod, run_created};

/// Whether a commit that fails was made all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    NotCommitted,
    /// The answer was lost.
    Committed,
}

/// Counts commits, and fails those from `first` on as often as `times` says.
struct Failing {
    store: SqliteStore,
    commits: AtomicU64,
    /// The same for the writes of purges.
    purges: AtomicU64,
    first_purge: AtomicU64,
    first: AtomicU64,
    times: AtomicU64,
    failure: Failure,
}

impl Failing {
    async fn over(dir: &std::path::Path, failure: Failure) -> Arc<Self> {
        let store = SqliteStore::open(dir).await.unwrap();
        let never = || AtomicU64::new(u64::MAX);
        let zero = || AtomicU64::new(0);
        Arc::new(Self {
            store,
            commits: zero(),
            purges: zero(),
            first_purge: never(),
            first: never(),
            times: zero(),
            failure,
        })
    }

    fn fail(&self, first: u64, times: u64) {
        self.times.store(times, Ordering::SeqCst);
        self.first.store(first, Ordering::SeqCst);
    }

    /// A write of a purge, which fails if it is its turn.
    async fn purging<T>(&self, write: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if self.purges.fetch_add(1, Ordering::SeqCst) != self.first_purge.load(Ordering::SeqCst) {
            return write.await;
        }
        if self.failure == Failure::Committed {
            write.await?;
        }
        Err(failed())
    }

    fn committed(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }
}

fn failed() -> StoreError {
    StoreError::Io(std::io::Error::from(std::io::ErrorKind::StorageFull))
}

#[async_trait]
impl Store for Failing {
    async fn claimed(&self, namespace: &str, key: ClaimKey<'_>) -> Result<Option<Uuid>, StoreError> {
        self.store.claimed(namespace, key).await
    }
    async fn create(&self, run: RunInsert<'_>) -> Result<Inserted, StoreError> {
        self.store.create(run).await
    }
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        let n = self.commits.fetch_add(1, Ordering::SeqCst);
        let first = self.first.load(Ordering::SeqCst);
        if n < first || n - first >= self.times.load(Ordering::SeqCst) {
            return self.store.commit(commit).await;
        }
        if self.failure == Failure::Committed {
            self.store.commit(commit).await?;
        }
        Err(failed())
    }
    async fn run(&self, run_id: Uuid) -> Result<Option<RunRow>, StoreError> {
        self.store.run(run_id).await
    }
    async fn open_runs(&self) -> Result<Vec<OpenRun>, StoreError> {
        self.store.open_runs().await
    }
    async fn entries(&self, run_id: Uuid, from: u64, bytes: u64) -> Result<Vec<Entry>, StoreError> {
        self.store.entries(run_id, from, bytes).await
    }
    async fn count_blob(
        &self,
        namespace: &str,
        run_id: Uuid,
        blob: Sha256Digest,
        size: u64,
    ) -> Result<Option<u64>, StoreError> {
        self.store.count_blob(namespace, run_id, blob, size).await
    }
    async fn blobs(&self, run_id: Uuid) -> Result<Vec<(Sha256Digest, u64)>, StoreError> {
        self.store.blobs(run_id).await
    }
    async fn forget_blobs(&self, run_id: Uuid, blobs: &[Sha256Digest]) -> Result<(), StoreError> {
        self.purging(self.store.forget_blobs(run_id, blobs)).await
    }
    async fn uncollected(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        self.store.uncollected(after, limit).await
    }
    async fn set_collected(&self, run_id: Uuid) -> Result<(), StoreError> {
        self.store.set_collected(run_id).await
    }
    async fn usage(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.store.usage().await
    }
    async fn draft_bytes(&self, run_id: Uuid) -> Result<u64, StoreError> {
        self.store.draft_bytes(run_id).await
    }
    async fn append_log(&self, run_id: Uuid, epoch: u64, lines: &[LogLine]) -> Result<u64, StoreError> {
        self.store.append_log(run_id, epoch, lines).await
    }
    async fn read_log(&self, id: Uuid, after: Option<(u64, u64)>, limit: u32) -> Result<Vec<StoredLine>, StoreError> {
        self.store.read_log(id, after, limit).await
    }
    async fn log_bytes(&self, run_id: Uuid) -> Result<u64, StoreError> {
        self.store.log_bytes(run_id).await
    }
    async fn expired(
        &self,
        namespace: &str,
        part: RunPart,
        until: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        limit: u32,
    ) -> Result<Vec<EndedRun>, StoreError> {
        self.store.expired(namespace, part, until, after, limit).await
    }
    async fn set_hold(&self, run_id: Uuid, hold: Option<&Hold>) -> Result<(), StoreError> {
        self.store.set_hold(run_id, hold).await
    }
    async fn begin_purge(&self, run_id: Uuid, record: &PurgeRecord) -> Result<bool, StoreError> {
        self.purging(self.store.begin_purge(run_id, record)).await
    }
    async fn begun_purges(&self, limit: u32) -> Result<Vec<BegunPurge>, StoreError> {
        self.store.begun_purges(limit).await
    }
    async fn purge_rows(&self, run_id: Uuid, rows: u32) -> Result<PurgeStep, StoreError> {
        self.purging(self.store.purge_rows(run_id, rows)).await
    }
    async fn end_purge(&self, run_id: Uuid) -> Result<(), StoreError> {
        self.purging(self.store.end_purge(run_id)).await
    }
    async fn purged(&self, run_id: Uuid) -> Result<Option<PurgedRun>, StoreError> {
        self.store.purged(run_id).await
    }
    async fn skeletons(&self, run_id: Uuid, from: u64, limit: u32) -> Result<Vec<Skeleton>, StoreError> {
        self.store.skeletons(run_id, from, limit).await
    }
    async fn put_draft(&self, draft: &Draft) -> Result<(), StoreError> {
        self.store.put_draft(draft).await
    }
    async fn draft(&self, run_id: Uuid, key_hash: &str, digest: &str) -> Result<Option<Draft>, StoreError> {
        self.store.draft(run_id, key_hash, digest).await
    }
    async fn draft_sent_by(&self, run_id: Uuid, actor: &str, digest: &str) -> Result<Option<String>, StoreError> {
        self.store.draft_sent_by(run_id, actor, digest).await
    }
    async fn view_key(&self, namespace: &str, key_hash: &str) -> Result<Option<ViewKey>, StoreError> {
        self.store.view_key(namespace, key_hash).await
    }
    async fn expire(&self, now: Timestamp) -> Result<bool, StoreError> {
        self.store.expire(now).await
    }
    async fn put_fact(&self, namespace: &str, key: &str, value: &str) -> Result<(), StoreError> {
        self.store.put_fact(namespace, key, value).await
    }
    async fn fact(&self, namespace: &str, key: &str) -> Result<Option<String>, StoreError> {
        self.store.fact(namespace, key).await
    }
    async fn facts(&self, namespace: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.store.facts(namespace).await
    }
    async fn setting_or(&self, key: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.store.setting_or(key, value).await
    }
}

struct World {
    journal: Journal,
    clock: Arc<TestClock>,
    store: Arc<Failing>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(failure: Failure) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::at("2026-10-05T08:00:00Z".parse().unwrap()));
        let store = Failing::over(dir.path(), failure).await;
        let journal = Journal::over(JournalSettings::new(dir.path()), clock.clone(), store.clone()).await.unwrap();
        Self { journal, clock, store, _dir: dir }
    }

    async fn create(&self, name: &str) -> Uuid {
        let run_id = Uuid::new_v4();
        let run = CreateRun { run: run_created(run_id, name), request_hash: "h".to_owned() };
        assert_eq!(self.journal.create_run(run).await.unwrap(), Inserted::Created(run_id));
        self.journal.state(run_id).await.unwrap();
        run_id
    }

    /// What a pod does with a run that sleeps once, each request until it is answered.
    async fn sleep_in_pod(&self, run: Uuid) {
        let Some(wanted) = self.journal.state(run).await.unwrap().wanted().cloned() else { return };
        let job = format!("job{}", wanted.segment);
        again(async || self.journal.job_recorded(run, wanted.segment, &job, &job, "t").await).await;
        let reply = again(async || self.journal.attach(run, pod(&job)).await).await;
        let session = self.journal.session(&reply.session).unwrap();
        let head = reply.entries.len() as u64 - 1;
        let timer = entries::TimerStarted { command: 0, seen_upto: 0, duration_ms: 10_000 };
        let parked = entries::Parked { seen_upto: 0, waiting_for: Vec::new() };
        let released = entries::PodReleased { epoch: Some(session.epoch), cause: ReleaseCause::Parked };
        let entries = vec![PodEntry::TimerStarted(timer), PodEntry::Parked(parked), PodEntry::Released(released)];
        again(async || self.append(&session, head, entries.clone()).await).await;
    }

    async fn append(&self, session: &Session, head: u64, entries: Vec<PodEntry>) -> Result<(), JournalError> {
        self.journal
            .append(session, AppendRequest { epoch: session.epoch, head, head_hash: None, entries })
            .await
            .map(drop)
    }

    /// Sleeps and ticks as the operator does, for so long by the clock.
    async fn pass(&self, seconds: i64) {
        let end = self.journal.now() + SignedDuration::from_secs(seconds);
        while self.journal.now() < end {
            let next = self.journal.next_due().unwrap_or(end).clamp(self.journal.now(), end);
            let step = next.duration_since(self.journal.now()).max(SignedDuration::from_millis(50));
            self.clock.advance(step);
            let now = self.journal.now();
            self.journal.tick(|_| Some(now)).await;
        }
    }

    async fn fired(&self, run: Uuid) -> usize {
        let entries = self.journal.entries(run, 0).await.unwrap();
        entries.iter().filter(|entry| matches!(entry.body, EntryBody::TimerFired(_))).count()
    }
}

/// Asks again until it is answered.
async fn again<T>(ask: impl AsyncFn() -> Result<T, JournalError>) -> T {
    let mut last = None;
    for _ in 0..10 {
        match ask().await {
            Ok(reply) => return reply,
            Err(error) => last = Some(error),
        }
    }
    panic!("{last:?}")
}

#[tokio::test]
async fn whichever_commit_fails_a_timer_fires_once_and_no_other_run_waits() {
    for failure in [Failure::NotCommitted, Failure::Committed] {
        let all = {
            let world = World::new(failure).await;
            let run = world.create("nav").await;
            world.sleep_in_pod(run).await;
            world.pass(60).await;
            assert_eq!(world.fired(run).await, 1);
            world.store.committed()
        };
        assert!(all >= 4, "{all} commits");
        // The two runs of each world make twice as many.
        for first in 0..2 * all {
            for times in [1, 3] {
                let world = World::new(failure).await;
                let (run, other) = (world.create("nav").await, world.create("other").await);
                world.store.fail(first, times);
                world.sleep_in_pod(run).await;
                world.sleep_in_pod(other).await;
                world.pass(60).await;
                let fired = (world.fired(run).await, world.fired(other).await);
                assert_eq!(fired, (1, 1), "{failure:?} from commit {first}, {times} times");
                for run in [run, other] {
                    assert!(world.journal.state(run).await.unwrap().wanted().is_some(), "it goes on");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_written_keeps_no_other_ones_timer_waiting() {
    let world = World::new(Failure::NotCommitted).await;
    let (run, other) = (world.create("nav").await, world.create("other").await);
    world.sleep_in_pod(run).await;
    world.sleep_in_pod(other).await;
    // The first of the two that is looked at, whichever that is, fails twice.
    world.store.fail(world.store.committed(), 2);
    world.clock.advance(SignedDuration::from_secs(10));
    let now = world.journal.now();
    assert_eq!(world.journal.tick(|_| Some(now)).await.len(), 2, "both fail");
    world.store.fail(world.store.committed(), 1);
    world.clock.advance(SignedDuration::from_secs(1));
    let now = world.journal.now();
    assert_eq!(world.journal.tick(|_| Some(now)).await.len(), 1, "one fails");
    assert_eq!(world.fired(run).await + world.fired(other).await, 1, "the other one fires");
    let due = world.journal.next_due().unwrap();
    assert!(due > now && due <= now + SignedDuration::from_secs(2), "the failed one is tried again, not at once");
    world.pass(3).await;
    assert_eq!((world.fired(run).await, world.fired(other).await), (1, 1));
}

/// Log lines of a run: more than are deleted in one step.
const LINES: u64 = 600;

/// A run that was cancelled long ago, with a log and blobs, all collected.
async fn ended_long_ago(world: &World) -> Uuid {
    let run = world.create("nav").await;
    world.journal.job_recorded(run, 1, "job", "job", "t").await.unwrap();
    let reply = world.journal.attach(run, pod("job")).await.unwrap();
    let session = world.journal.session(&reply.session).unwrap();
    let line = |n| LogLine { n, stream: LogStream::Stdout, time: "t".to_owned(), text: "private".to_owned() };
    let lines = (0..LINES).map(line).collect();
    world.journal.log(&session, LogRequest { epoch: session.epoch, lines }).await.unwrap();
    for bytes in [b"one", b"two"] {
        common::put_blob(&world.journal, &session, bytes).await.unwrap();
    }
    world.journal.cancel(run, "act", "bob").await.unwrap();
    world.journal.job_gone(run, 1).await.unwrap();
    // As if an entry named the blobs, so that they are there to be purged.
    world.store.set_collected(run).await.unwrap();
    world.clock.advance(SignedDuration::from_hours(24 * 400));
    run
}

/// What is kept of the tenant, by the account in memory and by the store.
async fn kept(world: &World) -> (u64, u64) {
    let usage = world.store.usage().await.unwrap();
    (world.journal.kept("acme"), usage.iter().map(|(_, bytes)| bytes).sum())
}

#[tokio::test]
async fn whichever_write_of_a_purge_fails_it_is_carried_out_and_counted_once() {
    let retention = Retention::default();
    for failure in [Failure::NotCommitted, Failure::Committed] {
        let all = {
            let world = World::new(failure).await;
            let run = ended_long_ago(&world).await;
            assert_eq!(world.journal.purge(run, &retention).await.unwrap(), Some(RunPart::Journal));
            world.store.purges.load(Ordering::SeqCst)
        };
        assert!(all >= 6, "{all} writes");
        for first in 0..all {
            let world = World::new(failure).await;
            let run = ended_long_ago(&world).await;
            let length = world.journal.state(run).await.unwrap().length;
            world.store.first_purge.store(first, Ordering::SeqCst);
            let what = format!("{failure:?} at write {first}");
            world.journal.purge(run, &retention).await.unwrap_err();
            match world.journal.state(run).await {
                Ok(_) => assert!(first == 0 && failure == Failure::NotCommitted, "{what}: it can be read"),
                Err(error) => assert_eq!(error.reason(), "Purged", "{what}"),
            }
            // As the operator does: what was begun goes on, then what is due begins.
            while world.journal.continue_purges().await.unwrap() > 0 {}
            for due in world.journal.expired("acme", RunPart::Journal, &retention, None).await.unwrap() {
                world.journal.purge(due.run_id, &retention).await.unwrap();
            }
            assert_eq!(world.journal.state(run).await.unwrap_err().reason(), "Purged", "{what}");
            assert_eq!(world.journal.skeletons(run, 0).await.unwrap().len() as u64, length, "{what}");
            assert!(world.store.blobs(run).await.unwrap().is_empty(), "{what}");
            assert!(world.store.read_log(run, None, 9).await.unwrap().is_empty(), "{what}");
            // An answer that was lost leaves the account in memory too high until a restart, never too low.
            let (account, stored) = kept(&world).await;
            assert_eq!(stored, length * SKELETON_COST, "{what}");
            assert!(account >= stored, "{what}: {account} < {stored}");
            assert!(account == stored || failure == Failure::Committed, "{what}: {account} > {stored}");
        }
    }
}
