//! What is purged of a run when its tenant's retention is over, what stays of it, and what keeps it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::SignedDuration;
use ntro_journal::protocol::{
    ChainHash, LogLine, LogRequest, LogStream, Payload, PodEntry, PollRequest, ReleaseCause, entries,
};
use ntro_journal::store::SKELETON_COST;
use ntro_journal::{
    CreateRun, Hold, Inserted, Journal, JournalError, JournalSettings, Retention, RunPart, Session, TestClock, verify,
};
use serde_json::Value;
use uuid::Uuid;

use common::{append, export, pod, put_blob, run_created};

const RETENTION: Retention = Retention { journal_days: 365, log_days: 30 };

struct World {
    journal: Journal,
    clock: Arc<TestClock>,
    dir: tempfile::TempDir,
}

fn wanted(run_id: Uuid) -> CreateRun {
    let run = entries::RunCreated { slot: Some("2026-10".to_owned()), ..run_created(run_id, "nav") };
    CreateRun { run, request_hash: "h".to_owned() }
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::at("2026-10-05T08:00:00Z".parse().unwrap()));
        let journal = Journal::open(JournalSettings::new(dir.path()), clock.clone()).await.unwrap();
        Self { journal, clock, dir }
    }

    async fn running(&self) -> (Uuid, Session) {
        let run_id = Uuid::new_v4();
        self.journal.create_run(wanted(run_id)).await.unwrap();
        self.journal.job_recorded(run_id, 1, "job", "job", "t").await.unwrap();
        let reply = self.journal.attach(run_id, pod("job")).await.unwrap();
        (run_id, self.journal.session(&reply.session).unwrap())
    }

    /// A run with a blob, a log and a draft, that has ended and whose pod is heard no more.
    async fn ended(&self) -> (Uuid, Session) {
        let (run, session) = self.running().await;
        let blob = put_blob(&self.journal, &session, b"private").await.unwrap();
        let line = |n| LogLine { n, stream: LogStream::Stdout, time: "t".to_owned(), text: "private".to_owned() };
        let lines = (0..300).map(line).collect();
        self.journal.log(&session, LogRequest { epoch: session.epoch, lines }).await.unwrap();
        self.journal.put_draft(run, "key", "\"private\"".to_owned()).await.unwrap();
        let result = Payload::Blob { blob, size: 7 };
        let end = PodEntry::RunCompleted(entries::RunCompleted { command: 0, seen_upto: 0, result });
        let released = entries::PodReleased { epoch: None, cause: ReleaseCause::Finished };
        append(&self.journal, &session, vec![end, PodEntry::Released(released)]).await.unwrap();
        self.clock.advance(SignedDuration::from_mins(3));
        assert_eq!(self.journal.collect_blobs(None).await.unwrap().0, 0);
        (run, session)
    }

    fn pass(&self, days: i64) {
        self.clock.advance(SignedDuration::from_hours(24 * days));
    }

    /// What is due now by the default retention.
    async fn due(&self, part: RunPart) -> Vec<Uuid> {
        let due = self.journal.expired("acme", part, &RETENTION, None).await.unwrap();
        due.into_iter().map(|run| run.run_id).collect()
    }

    async fn purge(&self, run: Uuid) -> Option<RunPart> {
        self.journal.purge(run, &RETENTION).await.unwrap()
    }

    async fn log(&self, run: Uuid) -> Result<usize, JournalError> {
        Ok(self.journal.read_log(run, None, 1000, Duration::ZERO).await?.len())
    }
}

fn hold(object_uid: &str) -> Hold {
    Hold { reason: "audit of 2026".to_owned(), object_uid: object_uid.to_owned() }
}

#[tokio::test]
async fn the_log_goes_first_and_the_journal_stays() {
    let world = World::new().await;
    let (run, _) = world.ended().await;
    let before = (world.journal.kept("acme"), export(&world.journal, run).await);
    world.pass(29);
    assert_eq!((world.due(RunPart::Log).await, world.purge(run).await), (Vec::new(), None));
    assert_eq!(world.log(run).await.unwrap(), 300);
    world.pass(1);
    assert_eq!(world.due(RunPart::Log).await, [run]);
    assert!(world.due(RunPart::Journal).await.is_empty());
    assert_eq!(world.purge(run).await, Some(RunPart::Log));
    let error = world.log(run).await.unwrap_err();
    assert_eq!(error.reason(), "Purged");
    let said = error.to_string();
    assert!(
        said.contains("its log was purged at 2026-11-04T08:03:00Z: retention.logs of the tenant was 30d"),
        "{said}"
    );
    assert_eq!(world.journal.kept("acme"), before.0 - 300 * (7 + 64));
    assert_eq!(export(&world.journal, run).await, before.1, "the journal is as it was");
    assert_eq!(world.purge(run).await, None, "once");
}

#[tokio::test]
async fn of_a_purged_journal_stay_the_claims_the_length_the_hashes_and_the_head() {
    let world = World::new().await;
    let (run, session) = world.ended().await;
    let exported = export(&world.journal, run).await;
    let end = verify(&exported).unwrap();
    world.pass(365);
    assert_eq!(world.due(RunPart::Journal).await, [run]);
    assert_eq!(world.purge(run).await, Some(RunPart::Journal));
    let left = world.journal.purged(run).await.unwrap().unwrap();
    assert_eq!((left.length, left.hash, left.record.head.as_str()), (end.length, end.hash, end.head.as_str()));
    assert_eq!((left.record.phase.as_str(), left.record.days, left.name.as_str()), ("Succeeded", 365, "nav"));
    assert!(!left.is_behind(left.length, &end.head) && !left.is_behind(left.length - 1, "earlier"));
    assert!(left.is_behind(left.length, "other") && left.is_behind(left.length + 1, &end.head));
    // Who exported the journal before can show that each of its entries was one of the run's.
    let hash = |line: &str| serde_json::from_str::<Value>(line).unwrap()["hash"].as_str().unwrap().parse().unwrap();
    let hashes: Vec<ChainHash> = exported.lines().take(end.length.try_into().unwrap()).map(hash).collect();
    let skeletons = world.journal.skeletons(run, 0).await.unwrap();
    assert_eq!(skeletons.iter().map(|entry| entry.hash).collect::<Vec<_>>(), hashes);
    assert_eq!(hashes.last(), Some(&left.hash));

    assert_eq!(world.journal.kept("acme"), left.length * SKELETON_COST);
    assert!(!world.dir.path().join(format!("blobs/acme/{run}")).exists());
    assert_eq!(world.journal.create_run(wanted(Uuid::new_v4())).await.unwrap(), Inserted::AlreadyRan(run));
    assert_eq!(world.journal.run_by_name("acme", "nav").await.unwrap(), Some(run));
    assert!(world.due(RunPart::Journal).await.is_empty() && world.due(RunPart::Log).await.is_empty());
    let poll = PollRequest { epoch: 1, head: 1, head_hash: None, wait_ms: 0 };
    for error in [
        world.journal.state(run).await.unwrap_err(),
        world.log(run).await.unwrap_err(),
        world.journal.entries(run, 0).await.unwrap_err(),
        world.journal.audit_export(run).await.map(|_| ()).unwrap_err(),
        world.journal.attach(run, pod("job")).await.map(|_| ()).unwrap_err(),
        world.journal.poll(&session, poll).await.map(|_| ()).unwrap_err(),
        world.journal.cancel(run, "act", "bob").await.unwrap_err(),
        world.journal.put_draft(run, "key", "1".to_owned()).await.unwrap_err(),
    ] {
        assert_eq!(error.reason(), "Purged");
        assert_eq!(error.wire().unwrap().0, 410);
        assert!(error.to_string().contains("retention.journal of the tenant was 365d"), "{error}");
    }
    assert_eq!(world.purge(run).await, None, "once");
    assert!(
        world.journal.tick(|_| None).await.is_empty() && world.journal.next_due().is_none(),
        "time has no part in it"
    );
}

#[tokio::test]
async fn a_purged_run_is_the_same_after_a_restart() {
    let World { journal, clock, dir } = World::new().await;
    let world = World { journal, clock, dir };
    let (run, _) = world.ended().await;
    world.pass(365);
    world.purge(run).await;
    let (left, kept) = (world.journal.purged(run).await.unwrap(), world.journal.kept("acme"));
    let World { journal, clock, dir } = world;
    drop(journal);
    let journal = loop {
        match Journal::open(JournalSettings::new(dir.path()), clock.clone()).await {
            Ok(journal) => break journal,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!((journal.purged(run).await.unwrap(), journal.kept("acme")), (left, kept));
    assert_eq!(journal.create_run(wanted(Uuid::new_v4())).await.unwrap(), Inserted::AlreadyRan(run));
}

#[tokio::test]
async fn a_run_that_has_not_ended_is_never_purged() {
    let world = World::new().await;
    let (run, _) = world.running().await;
    world.pass(4000);
    assert!(world.due(RunPart::Journal).await.is_empty());
    assert_eq!(world.purge(run).await, None);
    world.journal.cancel(run, "act", "bob").await.unwrap();
    world.pass(4000);
    assert_eq!(world.purge(run).await, None, "its pod holds it");
    world.journal.job_gone(run, 1).await.unwrap();
    assert_eq!(world.purge(run).await, None, "and is heard for a while after that");
    world.pass(365);
    assert_eq!(world.purge(run).await, Some(RunPart::Journal));
}

#[tokio::test]
async fn what_is_held_stays_until_the_hold_is_lifted() {
    let world = World::new().await;
    let (run, _) = world.ended().await;
    world.journal.set_hold(run, Some(&hold("uid"))).await.unwrap();
    world.pass(4000);
    for part in [RunPart::Log, RunPart::Journal] {
        let due = world.journal.expired("acme", part, &RETENTION, None).await.unwrap();
        assert_eq!(due.iter().map(|run| run.held).collect::<Vec<_>>(), [true]);
    }
    assert_eq!(world.purge(run).await, None);
    assert_eq!(world.log(run).await.unwrap(), 300);
    assert_eq!(world.journal.hold(run).await.unwrap(), Some(hold("uid")));
    world.journal.set_hold(run, None).await.unwrap();
    assert_eq!(world.purge(run).await, Some(RunPart::Journal));
}

#[tokio::test]
async fn a_reader_under_way_hears_of_a_purge_and_takes_no_part_for_the_whole() {
    let world = World::new().await;
    let (run, _) = world.ended().await;
    world.pass(365);
    let pages = world.journal.audit_export(run).await.unwrap();
    let first = world.journal.read_log(run, None, 100, Duration::ZERO).await.unwrap();
    let last = first.last().map(|line| (line.epoch, line.line.n));
    world.purge(run).await;
    assert_eq!(pages.try_collect::<String>().await.unwrap_err().reason(), "Purged");
    assert_eq!(world.journal.read_log(run, last, 100, Duration::ZERO).await.unwrap_err().reason(), "Purged");
}

#[tokio::test]
async fn what_is_due_comes_in_pages_oldest_first() {
    let world = World::new().await;
    let mut runs = Vec::new();
    for n in 0..70 {
        let run_id = Uuid::new_v4();
        let run = CreateRun { run: run_created(run_id, &format!("run-{n}")), request_hash: "h".to_owned() };
        world.journal.create_run(run).await.unwrap();
        world.journal.cancel(run_id, "act", "bob").await.unwrap();
        world.clock.advance(SignedDuration::from_secs(1));
        runs.push(run_id);
    }
    let mut after = None;
    while let (_, Some(last)) = world.journal.collect_blobs(after).await.unwrap() {
        after = Some(last);
    }
    world.pass(365);
    let first = world.journal.expired("acme", RunPart::Journal, &RETENTION, None).await.unwrap();
    let second = world.journal.expired("acme", RunPart::Journal, &RETENTION, first.last()).await.unwrap();
    assert!(!second.is_empty());
    let found: Vec<_> = first.iter().chain(&second).map(|run| run.run_id).collect();
    assert_eq!(found, runs);
    let third = world.journal.expired("acme", RunPart::Journal, &RETENTION, second.last()).await.unwrap();
    assert!(third.is_empty());
}
