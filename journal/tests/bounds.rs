//! Every byte of a run is counted, and what has reached its bound is a named state of that run, and no other's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::sync::Arc;

use jiff::SignedDuration;
use ntro_journal::machine::ActivityState;
use ntro_journal::protocol::{
    BlockCode, EntryBody, LOG_LINE_COST, LogLine, LogRequest, LogStream, Payload, Pin, PodEntry, PollRequest,
    RunTenant, entries,
};
use ntro_journal::{
    CreateRun, DraftRef, Journal, JournalError, JournalSettings, PAGE_BYTES, Session, SystemClock, TenantLimits,
    TestClock,
};
use serde_json::json;
use uuid::Uuid;

use common::{get_blob, pieces, pod, put_blob, run_created};

struct World {
    journal: Journal,
    clock: Arc<TestClock>,
    dir: tempfile::TempDir,
}

impl World {
    async fn with(change: impl FnOnce(&mut JournalSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::at("2026-10-05T08:00:00Z".parse().unwrap()));
        let mut settings = JournalSettings::new(dir.path());
        change(&mut settings);
        Self { journal: Journal::open(settings, clock.clone()).await.unwrap(), clock, dir }
    }

    async fn running(&self, name: &str) -> (Uuid, Session) {
        self.running_of("acme", name).await
    }

    async fn running_of(&self, tenant: &str, name: &str) -> (Uuid, Session) {
        let run_id = Uuid::new_v4();
        let pin = json!({"activities": {"none": {"effect": "none"}}}).as_object().unwrap().clone();
        let (namespace, namespace_uid) = (tenant.to_owned(), tenant.to_owned());
        let tenant = RunTenant { slug: tenant.to_owned(), namespace_uid };
        let run = entries::RunCreated { pin: Pin(pin), namespace, tenant, ..run_created(run_id, name) };
        self.journal.create_run(CreateRun { run, request_hash: "h".to_owned() }).await.unwrap();
        let job = format!("job-of-{name}");
        self.journal.job_recorded(run_id, 1, &job, &job, "t").await.unwrap();
        let reply = self.journal.attach(run_id, pod(&job)).await.unwrap();
        (run_id, self.journal.session(&reply.session).unwrap())
    }

    async fn append(&self, session: &Session, entries: Vec<PodEntry>) -> Result<(), JournalError> {
        common::append(&self.journal, session, entries).await
    }

    /// An activity with a result of `size` bytes: a command and a completion.
    async fn activity(&self, session: &Session, size: usize) -> Result<u64, JournalError> {
        let command = self.journal.state(session.run_id).await?.next_command;
        self.append(session, vec![scheduled(command), started(command), completed(command, size)])
            .await
            .map(|()| command)
    }

    async fn log(&self, session: &Session, lines: std::ops::Range<u64>, text: &str) -> Result<(), JournalError> {
        let line = |n| LogLine { n, stream: LogStream::Stdout, time: "t".to_owned(), text: text.to_owned() };
        let lines = lines.map(line).collect();
        self.journal.log(session, LogRequest { epoch: session.epoch, lines }).await
    }
}

fn scheduled(command: u64) -> PodEntry {
    PodEntry::ActivityScheduled(entries::ActivityScheduled {
        command,
        seen_upto: 0,
        activity: "none".to_owned(),
        step: None,
        args: Payload::inline("[]"),
        timeout_ms: None,
    })
}

fn started(target: u64) -> PodEntry {
    PodEntry::ActivityStarted(entries::ActivityStarted { target, attempt: 1, cause: None })
}

fn completed(target: u64, size: usize) -> PodEntry {
    let result = Payload::inline(format!("\"{}\"", "x".repeat(size)));
    PodEntry::ActivityCompleted(entries::ActivityCompleted { target, attempt: 1, result, outputs: Vec::new() })
}

#[tokio::test]
async fn a_journal_of_many_bytes_blocks_its_run_and_no_other() {
    let world = World::with(|settings| settings.limits.entry_bytes_max = 100_000).await;
    let (large, session) = world.running("large").await;
    let (small, other) = world.running("small").await;
    let mut said = 0;
    let refused = loop {
        match world.activity(&session, 3000).await {
            Ok(_) => said += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.reason(), "TooLarge");
    assert!((20..40).contains(&said), "it was stopped by bytes, after {said} activities");
    let state = world.journal.state(large).await.unwrap();
    assert_eq!(state.blocked.as_ref().unwrap().code, BlockCode::TooLarge);
    assert!(state.bytes < 100_000 + 8000, "it stopped at the bound: {}", state.bytes);
    world.activity(&other, 3000).await.unwrap();
    assert!(world.journal.state(small).await.unwrap().blocked.is_none());
}

#[tokio::test]
async fn what_was_begun_may_end_in_a_full_journal() {
    let world = World::with(|settings| settings.limits.entry_bytes_max = 20_000).await;
    let (run, session) = world.running("nav").await;
    let command = world.journal.state(run).await.unwrap().next_command;
    world.append(&session, vec![scheduled(command), started(command)]).await.unwrap();
    while world.activity(&session, 3000).await.is_ok() {}
    world.append(&session, vec![completed(command, 3000)]).await.unwrap();
    let state = world.journal.state(run).await.unwrap();
    assert_eq!(state.activities[&command].state, ActivityState::Completed, "an effect that is done is never lost");
}

#[tokio::test]
async fn a_journal_is_told_and_read_in_pages() {
    let world = World::with(|_| {}).await;
    let (run, session) = world.running("nav").await;
    let mut bytes = 0;
    while bytes < 2 * PAGE_BYTES {
        world.activity(&session, 4000).await.unwrap();
        bytes += 4000;
    }
    let state = world.journal.state(run).await.unwrap();
    let reply = world.journal.attach(run, pod("job-of-nav")).await.unwrap();
    let size = |entries: &[ntro_journal::protocol::Entry]| {
        entries.iter().map(|entry| serde_json::to_vec(entry).unwrap().len() as u64).sum::<u64>()
    };
    let (mut all, mut more, mut pages) = (reply.entries, reply.more, 1);
    assert!(more && size(&all) <= PAGE_BYTES);
    while more {
        let head = all.last().unwrap().seq;
        let page = PollRequest { epoch: session.epoch, head, head_hash: None, wait_ms: 0 };
        let page = world.journal.poll(&session, page).await.unwrap();
        assert!(size(&page.entries) <= PAGE_BYTES);
        all.extend(page.entries);
        (more, pages) = (page.more, pages + 1);
    }
    assert_eq!((all.len() as u64, all.last().unwrap().hash), (state.length, state.head));
    assert!(pages > 2);
    assert_eq!(world.journal.entry(run, 7).await.unwrap().unwrap(), all[7]);
    drop(world.journal);
    let journal =
        Journal::open(JournalSettings::new(world.dir.path()), Arc::new(SystemClock::default())).await.unwrap();
    assert_eq!(*journal.state(run).await.unwrap(), *state, "folded page by page it is the same");
}

#[tokio::test]
async fn blobs_are_bounded_by_run() {
    let world = World::with(|settings| settings.limits.blobs_max = 3 * 4096).await;
    let (_, session) = world.running("nav").await;
    let (_, other) = world.running("other").await;
    for text in ["1", "2", "3", "1"] {
        put_blob(&world.journal, &session, text.as_bytes()).await.unwrap();
    }
    let refused = put_blob(&world.journal, &session, b"4").await.unwrap_err();
    assert_eq!(refused.reason(), "TooLarge");
    assert!(refused.to_string().contains("12288"), "it says how many bytes: {refused}");
    put_blob(&world.journal, &other, b"4").await.unwrap();
    put_blob(&world.journal, &session, b"1").await.unwrap();
}

#[tokio::test]
async fn an_upload_that_was_cut_off_may_be_tried_again_and_a_wrong_size_is_no_way_around() {
    let world = World::with(|settings| settings.limits.blobs_max = 2 * 4096).await;
    let (_, session) = world.running("nav").await;
    let (large, kept) = (vec![7; 6000], world.journal.kept("acme"));
    let digest = ntro_journal::protocol::Sha256Digest::of(&large);
    let put = async |size: u64, bytes: &[u8]| world.journal.put_blob(&session, digest, size, pieces(bytes)).await;
    assert_eq!(put(1, &large).await.unwrap_err().reason(), "BlobMismatch");
    assert_eq!(world.journal.kept("acme"), kept + 4096);
    assert_eq!(put(6000, &large[..10]).await.unwrap_err().reason(), "BlobMismatch", "the connection broke");
    assert_eq!(world.journal.kept("acme"), kept + 8192, "counted with the size that it was said to have at most");
    put(6000, &large).await.unwrap();
    assert_eq!(world.journal.kept("acme"), kept + 8192);
    assert_eq!(put_blob(&world.journal, &session, b"one more").await.unwrap_err().reason(), "TooLarge");
}

#[tokio::test]
async fn a_run_that_is_there_already_leaves_no_blob_of_its_second_input() {
    let world = World::with(|_| {}).await;
    let create = async || {
        let input = Payload::inline(format!("\"{}\"", "x".repeat(5000)));
        let run = entries::RunCreated { input, ..run_created(Uuid::new_v4(), "nav") };
        world.journal.create_run(CreateRun { run, request_hash: "h".to_owned() }).await.unwrap()
    };
    create().await;
    let kept = world.journal.kept("acme");
    create().await;
    assert_eq!(world.journal.kept("acme"), kept);
}

#[tokio::test]
async fn the_same_draft_and_the_same_line_sent_again_are_counted_once() {
    let world = World::with(|_| {}).await;
    let (run, session) = world.running("nav").await;
    world.journal.put_draft(run, "key", "{}".to_owned()).await.unwrap();
    world.log(&session, 0..3, "a line").await.unwrap();
    let kept = world.journal.kept("acme");
    world.journal.put_draft(run, "key", "{}".to_owned()).await.unwrap();
    world.log(&session, 0..3, "a line").await.unwrap();
    assert_eq!(world.journal.kept("acme"), kept);
}

#[tokio::test]
async fn what_is_left_of_the_volume_is_for_entries() {
    let world = World::with(|settings| settings.limits.reserve = u64::MAX).await;
    let (run, session) = world.running("nav").await;
    let refused = put_blob(&world.journal, &session, b"1").await.unwrap_err();
    assert!(refused.wire().is_none(), "the pod waits and asks again: {refused}");
    world.log(&session, 0..3, "a line").await.unwrap();
    assert!(world.journal.read_log(run, None, 10, std::time::Duration::ZERO).await.unwrap().is_empty());
    world.activity(&session, 100).await.unwrap();
}

#[tokio::test]
async fn a_namespace_that_keeps_all_it_may_takes_no_more_blobs_and_drafts() {
    let world = World::with(|settings| settings.limits.tenant_max = 20_000).await;
    let (run, session) = world.running("nav").await;
    assert!(!world.journal.is_full("acme"));
    while !world.journal.is_full("acme") {
        world.activity(&session, 1000).await.unwrap();
    }
    assert_eq!(put_blob(&world.journal, &session, b"1").await.unwrap_err().reason(), "TooLarge");
    let draft = world.journal.put_draft(run, "key", "{}".to_owned()).await;
    assert_eq!(draft.unwrap_err().reason(), "TooLarge");
    world.activity(&session, 1000).await.unwrap();
    assert!(!world.journal.is_full("beta"), "no other namespace is");
    let kept = world.journal.kept("acme");
    drop(world.journal);
    let journal =
        Journal::open(JournalSettings::new(world.dir.path()), Arc::new(SystemClock::default())).await.unwrap();
    assert_eq!(journal.kept("acme"), kept, "counted anew it is the same");
}

#[tokio::test]
async fn a_tenants_own_bounds_hold_for_its_runs_and_for_no_others() {
    let world = World::with(|_| {}).await;
    let (run, session) = world.running_of("acme", "nav").await;
    let (_, other) = world.running_of("beta", "nav").await;
    let own = TenantLimits {
        entry_bytes_max: Some(20_000),
        blobs_max: Some(2 * 4096),
        log_max: Some(3 * LOG_LINE_COST),
        tenant_max: None,
    };
    world.journal.set_limits("acme", own);
    let fill = async |session: &Session| {
        let (mut blobs, mut activities) = (0, 0);
        for text in ["1", "2", "3"] {
            blobs += usize::from(put_blob(&world.journal, session, text.as_bytes()).await.is_ok());
        }
        world.log(session, 0..5, "").await.unwrap();
        let lines = world.journal.read_log(session.run_id, None, 10, std::time::Duration::ZERO).await.unwrap();
        for _ in 0..10 {
            activities += usize::from(world.activity(session, 3000).await.is_ok());
        }
        (blobs, lines.len(), activities)
    };
    let (blobs, lines, activities) = fill(&session).await;
    assert_eq!((blobs, lines), (2, 3));
    assert!((3..8).contains(&activities), "it was stopped by bytes, after {activities} activities");
    let state = world.journal.state(run).await.unwrap();
    assert_eq!(state.blocked.as_ref().unwrap().code, BlockCode::TooLarge);
    assert!(world.journal.limits("acme").nearly_full(&state) && !world.journal.limits("beta").nearly_full(&state));
    assert_eq!(fill(&other).await, (3, 5, 10));
}

#[tokio::test]
async fn a_tenant_may_have_less_than_the_journals_bounds_and_never_more() {
    let world = World::with(|settings| settings.limits.tenant_max = 20_000).await;
    let (_, session) = world.running("nav").await;
    let bound = |bytes| world.journal.set_limits("acme", TenantLimits { tenant_max: bytes, ..TenantLimits::default() });
    bound(Some(10_000));
    while !world.journal.is_full("acme") {
        world.activity(&session, 1000).await.unwrap();
    }
    assert!((10_000..15_000).contains(&world.journal.kept("acme")));
    let refused = put_blob(&world.journal, &session, b"1").await.unwrap_err();
    assert!(refused.to_string().contains("10000"), "it says which bound: {refused}");
    bound(None);
    put_blob(&world.journal, &session, b"1").await.unwrap();
    bound(Some(u64::MAX));
    assert_eq!(world.journal.limits("acme"), world.journal.settings().limits);
    while world.journal.kept("acme") < 20_000 {
        world.activity(&session, 1000).await.unwrap();
    }
    assert_eq!(put_blob(&world.journal, &session, b"2").await.unwrap_err().reason(), "TooLarge");
}

#[tokio::test]
async fn drafts_are_bounded_by_run_until_they_are_used_up_or_expire() {
    let world = World::with(|settings| settings.limits.drafts_max = 100).await;
    let (run, _) = world.running("nav").await;
    let text = |n: u32| format!("\"{}{n}\"", "x".repeat(40));
    world.journal.put_draft(run, "key", text(1)).await.unwrap();
    let two = world.journal.put_draft(run, "key", text(2)).await.unwrap();
    assert_eq!(world.journal.put_draft(run, "key", text(3)).await.unwrap_err().reason(), "TooLarge");
    let before = world.journal.kept("acme");
    world.clock.advance(SignedDuration::from_hours(2));
    world.journal.expire(world.journal.now()).await.unwrap();
    assert_eq!(world.journal.kept("acme"), before - 86, "what was thrown away is no longer counted");
    let gone = DraftRef { key_hash: "key".to_owned(), digest: two };
    assert_eq!(world.journal.draft_text(run, &gone, world.journal.now()).await.unwrap(), None);
    world.journal.put_draft(run, "key", text(3)).await.unwrap();
}

#[tokio::test]
async fn empty_log_lines_are_bounded_too() {
    let world = World::with(|settings| settings.limits.log_max = 10 * LOG_LINE_COST).await;
    let (run, session) = world.running("nav").await;
    let before = world.journal.kept("acme");
    world.log(&session, 0..25, "").await.unwrap();
    world.log(&session, 25..30, "").await.unwrap();
    let lines = world.journal.read_log(run, None, 100, std::time::Duration::ZERO).await.unwrap();
    assert_eq!(lines.len(), 10);
    assert_eq!(world.journal.kept("acme"), before + 10 * LOG_LINE_COST);
}

#[tokio::test]
async fn a_pod_whose_segment_is_over_is_heard_for_two_minutes() {
    let world = World::with(|_| {}).await;
    let (run, session) = world.running("nav").await;
    let (first, second) = (vec![scheduled(0), started(0)], vec![scheduled(1), started(1)]);
    world.append(&session, first).await.unwrap();
    world.append(&session, second).await.unwrap();
    world.journal.job_gone(run, 1).await.unwrap();
    let late = async |entries: Vec<PodEntry>| {
        world.append(&session, entries).await.unwrap_err();
        let all = world.journal.entries(run, 0).await.unwrap();
        all.iter().filter(|entry| matches!(entry.body, EntryBody::LateCompletion(_))).count()
    };
    put_blob(&world.journal, &session, b"a result").await.unwrap();
    world.log(&session, 0..1, "last words").await.unwrap();
    assert_eq!(late(vec![completed(0, 10)]).await, 1);
    assert_eq!(late(vec![completed(0, 10), completed(0, 11)]).await, 1, "an attempt has one end");
    assert_eq!(late(vec![completed(7, 10)]).await, 1, "what was never begun has none");
    world.clock.advance(SignedDuration::from_secs(121));
    assert_eq!(late(vec![completed(1, 10)]).await, 1, "what comes after that is not kept");
    assert_eq!(put_blob(&world.journal, &session, b"another").await.unwrap_err().reason(), "Fenced");
    assert_eq!(world.log(&session, 1..2, "more").await.unwrap_err().reason(), "Fenced");
}

#[tokio::test]
async fn blobs_that_no_entry_names_are_collected_when_the_run_is_over() {
    let world = World::with(|_| {}).await;
    let (run, session) = world.running("nav").await;
    let named = put_blob(&world.journal, &session, b"named").await.unwrap();
    let nameless = put_blob(&world.journal, &session, b"nameless").await.unwrap();
    world.append(&session, vec![scheduled(0), started(0)]).await.unwrap();
    let result = Payload::Blob { blob: named, size: 5 };
    let done = entries::ActivityCompleted { target: 0, attempt: 1, result, outputs: Vec::new() };
    world.append(&session, vec![PodEntry::ActivityCompleted(done)]).await.unwrap();
    let piece = world.dir.path().join(format!("blobs/acme/{run}/sha256/{}#1", nameless.hex()));
    std::fs::write(&piece, "cut off").unwrap();
    world.journal.cancel(run, "act", "bob").await.unwrap();
    assert_eq!(world.journal.collect_blobs(None).await.unwrap().0, 0, "it has not ended");
    world.journal.job_gone(run, 1).await.unwrap();
    assert_eq!(world.journal.collect_blobs(None).await.unwrap().0, 0, "its pod is heard yet");
    let before = world.journal.kept("acme");
    world.clock.advance(SignedDuration::from_secs(121));
    assert_eq!(world.journal.collect_blobs(None).await.unwrap().0, 1);
    assert_eq!(get_blob(&world.journal, run, named).await.unwrap(), b"named");
    assert_eq!(get_blob(&world.journal, run, nameless).await.unwrap_err().reason(), "BlobMissing");
    assert!(!piece.exists());
    assert_eq!(world.journal.kept("acme"), before - 4096);
    assert_eq!(world.journal.collect_blobs(None).await.unwrap().0, 0, "it is done once");
}
