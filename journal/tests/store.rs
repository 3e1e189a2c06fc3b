//! What every store must do. A further store joins with one more test that calls [`conform`].
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use ntro_journal::machine::{self, Consequence, ENTRY_COST, RunState};
use ntro_journal::protocol::entries;
use ntro_journal::protocol::{
    Entry, LOG_LINE_COST, LogLine, LogStream, Payload, Phase, RunSecret, RunTenant, Sha256Digest,
};
use ntro_journal::store::{
    BLOB_BLOCK, ClaimKey, Commit, Draft, Inserted, RunInsert, RunRow, SKELETON_COST, SqliteStore, Store, StoreError,
    ViewKey,
};
use ntro_journal::{Hold, PurgeRecord, RunPart};
use uuid::Uuid;

use common::run_created;

fn now() -> Timestamp {
    "2026-10-05T08:00:00.123456Z".parse().unwrap()
}

fn made(run_id: Uuid, name: &str) -> (RunSecret, Consequence<()>) {
    let run = entries::RunCreated { input: Payload::inline("{\"text\":\"ü\\u0000\"}"), ..run_created(run_id, name) };
    let secret = RunSecret::random();
    (secret, machine::create(run, secret, now()).unwrap())
}

async fn create(
    store: &dyn Store,
    run_id: Uuid,
    name: &str,
    slot: Option<(&str, &str)>,
    request: &str,
) -> (Inserted, RunState) {
    let (secret, made) = made(run_id, name);
    let row = RunRow {
        run_id,
        secret: Some(secret),
        request_hash: request.to_owned(),
        length: made.state.length,
        head: made.state.head,
        ended_at: None,
        entry_bytes: made.state.bytes,
        hold: None,
        purged: Vec::new(),
    };
    let tenant = RunTenant { slug: "acme".to_owned(), namespace_uid: "acme".to_owned() };
    let insert = RunInsert { namespace: "acme", tenant: &tenant, name, slot, row, entries: &made.entries };
    (store.create(insert).await.unwrap(), made.state)
}

async fn commit(store: &dyn Store, state: &RunState, entries: &[Entry], expected: u64) -> Result<(), StoreError> {
    let ended_at = entries.iter().find(|entry| entry.body.is_terminal()).map(|entry| entry.time);
    store.commit(Commit { run_id: state.run_id, expected, entries, ended_at, ..Commit::default() }).await
}

/// Everything a store promises, on an empty one.
async fn conform(store: &dyn Store) {
    runs_are_created_once(store).await;
    appends_compare_the_length(store).await;
    entries_come_in_pages(store).await;
    logs_ignore_repeats(store).await;
    blobs_are_counted_once(store).await;
    drafts_and_views_end(store).await;
    what_is_purged_leaves_its_ledger_row_and_its_hashes(store).await;
    facts_and_settings_stay(store).await;
}

async fn runs_are_created_once(store: &dyn Store) {
    let (run, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let slot = Some(("w", "2026-10"));
    let conflict = Inserted::Conflict { run_id: run, terminal: false };
    let (created, state) = create(store, run, "nav-1", slot, "h").await;
    assert_eq!(created, Inserted::Created(run));
    assert_eq!(create(store, other, "nav-1", slot, "h").await.0, Inserted::Existing(run));
    assert_eq!(create(store, other, "nav-1", slot, "changed").await.0, conflict);
    assert_eq!(create(store, other, "nav-1", None, "h").await.0, Inserted::Existing(run), "the name is taken");
    assert_eq!(create(store, other, "nav-2", slot, "h").await.0, Inserted::Existing(run), "the slot is taken");
    assert_eq!(store.claimed("acme", ClaimKey::Name("nav-2")).await.unwrap(), None, "and nothing was noted");
    assert!(store.run(other).await.unwrap().is_none());
    let elsewhere = ClaimKey::Slot { workflow_uid: "w2", slot: "2026-10" };
    assert_eq!(store.claimed("acme", elsewhere).await.unwrap(), None);
    assert_eq!(store.claimed("beta", ClaimKey::Name("nav-1")).await.unwrap(), None);
    let open = store.open_runs().await.unwrap();
    assert_eq!((open.len(), open[0].run_id, open[0].tenant.namespace_uid.as_str()), (1, run, "acme"));

    let ended = machine::cancel(&state, "act", "ann", now());
    commit(store, &state, &ended.entries, state.length).await.unwrap();
    assert_eq!(create(store, other, "nav-1", slot, "h").await.0, Inserted::AlreadyRan(run));
    let conflict = Inserted::Conflict { run_id: run, terminal: true };
    assert_eq!(create(store, other, "nav-1", slot, "changed").await.0, conflict);
    assert!(store.open_runs().await.unwrap().is_empty());
}

async fn appends_compare_the_length(store: &dyn Store) {
    let run = Uuid::from_u128(10);
    let (_, state) = create(store, run, "append", None, "h").await;
    let next = machine::job_recorded(&state, 1, ("job", "uid", "t"), now());
    let raced = commit(store, &state, &next.entries, state.length - 1).await;
    assert!(matches!(raced, Err(StoreError::Raced(id)) if id == run));
    assert_eq!(store.entries(run, 0, u64::MAX).await.unwrap().len(), 2, "nothing of it is there");
    commit(store, &state, &next.entries, state.length).await.unwrap();
    let raced = commit(store, &state, &next.entries, state.length).await;
    assert!(matches!(raced, Err(StoreError::Raced(_))));
    let row = store.run(run).await.unwrap().unwrap();
    let entries = store.entries(run, 0, u64::MAX).await.unwrap();
    assert_eq!((row.length, row.head, row.ended_at), (3, entries[2].hash, None));
    assert_eq!(RunState::replay(row.secret.unwrap(), &entries).unwrap(), next.state);
    assert_eq!(store.entries(run, 2, u64::MAX).await.unwrap(), entries[2..]);
    assert!(store.entries(run, 3, u64::MAX).await.unwrap().is_empty());
    let unknown = Commit { run_id: Uuid::nil(), entries: &next.entries, ..Commit::default() };
    assert!(matches!(store.commit(unknown).await, Err(StoreError::Raced(_))));
}

async fn entries_come_in_pages(store: &dyn Store) {
    let run = Uuid::from_u128(15);
    let (_, state) = create(store, run, "pages", None, "h").await;
    let next = machine::job_recorded(&state, 1, ("job", "uid", "t"), now());
    let (entries, entry_bytes) = (&next.entries, next.state.bytes);
    let append = Commit { run_id: run, expected: state.length, entries, entry_bytes, ..Commit::default() };
    store.commit(append).await.unwrap();
    let all = store.entries(run, 0, u64::MAX).await.unwrap();
    let sizes: Vec<u64> = all.iter().map(|entry| entry.text().len() as u64).collect();
    assert_eq!(store.entries(run, 0, 0).await.unwrap(), all[..1], "one, however large");
    assert_eq!(store.entries(run, 0, sizes[0] + sizes[1]).await.unwrap(), all[..2]);
    assert_eq!(store.entries(run, 0, sizes[0] + sizes[1] - 1).await.unwrap(), all[..1]);
    assert_eq!(store.entries(run, 1, sizes[1] + sizes[2]).await.unwrap(), all[1..]);
    assert_eq!(next.state.bytes, sizes.iter().sum::<u64>() + 3 * ENTRY_COST, "the state knows what they take");
    assert_eq!(store.run(run).await.unwrap().unwrap().entry_bytes, next.state.bytes, "and the store what it was told");
}

async fn blobs_are_counted_once(store: &dyn Store) {
    let run = Uuid::from_u128(25);
    let (_, state) = create(store, run, "blobs", None, "h").await;
    let usage = |all: Vec<(String, u64)>| all.iter().find(|it| it.0 == "acme").unwrap().1;
    let before = usage(store.usage().await.unwrap());
    let (one, two) = (Sha256Digest::of(b"1"), Sha256Digest::of(b"2"));
    assert_eq!(store.count_blob("acme", run, one, 1).await.unwrap(), None);
    assert_eq!(store.count_blob("acme", run, two, 1).await.unwrap(), None);
    assert_eq!(store.count_blob("acme", run, two, BLOB_BLOCK + 1).await.unwrap(), Some(1), "the largest size counts");
    assert_eq!(store.count_blob("acme", run, two, 7).await.unwrap(), Some(BLOB_BLOCK + 1));
    let mut blobs = store.blobs(run).await.unwrap();
    blobs.sort_by_key(|(_, size)| *size);
    assert_eq!(blobs, [(one, 1), (two, BLOB_BLOCK + 1)]);
    assert_eq!(usage(store.usage().await.unwrap()), before + 3 * BLOB_BLOCK);
    store.forget_blobs(run, &[two]).await.unwrap();
    assert_eq!(usage(store.usage().await.unwrap()), before + BLOB_BLOCK);
    assert!(before >= state.bytes, "entries are counted as well");
}

async fn logs_ignore_repeats(store: &dyn Store) {
    let run = Uuid::from_u128(20);
    create(store, run, "logs", None, "h").await;
    let line = |n: u64, text: &str| LogLine {
        n,
        stream: [LogStream::Stdout, LogStream::Stderr, LogStream::Logging][usize::try_from(n % 3).unwrap()],
        time: "t".to_owned(),
        text: text.to_owned(),
    };
    store.append_log(run, 1, &[line(0, "a"), line(1, "ü")]).await.unwrap();
    store.append_log(run, 1, &[line(1, "other"), line(2, "c")]).await.unwrap();
    store.append_log(run, 2, &[line(0, "d")]).await.unwrap();
    let all = store.read_log(run, None, 100).await.unwrap();
    let texts: Vec<_> = all.iter().map(|it| (it.epoch, it.line.n, it.line.text.as_str())).collect();
    assert_eq!(texts, [(1, 0, "a"), (1, 1, "ü"), (1, 2, "c"), (2, 0, "d")]);
    assert_eq!(all[2].line, line(2, "c"));
    assert_eq!(store.read_log(run, Some((1, 1)), 1).await.unwrap(), all[2..3]);
    assert_eq!(store.read_log(run, Some((1, 2)), 9).await.unwrap(), all[3..]);
    assert_eq!(store.log_bytes(run).await.unwrap(), 5 + 4 * LOG_LINE_COST, "a repeated line is counted once");
    assert_eq!(store.log_bytes(Uuid::nil()).await.unwrap(), 0);
}

async fn drafts_and_views_end(store: &dyn Store) {
    let run = Uuid::from_u128(30);
    let (_, state) = create(store, run, "people", None, "h").await;
    let draft = Draft {
        namespace_uid: "acme".to_owned(),
        run_id: run,
        key_hash: "k".to_owned(),
        digest: "d".to_owned(),
        text: "{}".to_owned(),
        expires: now() + SignedDuration::from_hours(1),
    };
    let later = Draft { digest: "e".to_owned(), expires: now() + SignedDuration::from_hours(2), ..draft.clone() };
    store.put_draft(&draft).await.unwrap();
    store.put_draft(&draft).await.unwrap();
    store.put_draft(&later).await.unwrap();
    assert!(store.draft(run, "k", "d").await.unwrap() == Some(draft));
    assert!(store.draft(run, "other", "d").await.unwrap().is_none());
    let view = ViewKey {
        key_hash: "k".to_owned(),
        namespace_uid: "acme".to_owned(),
        run_id: run,
        actor: "vic".to_owned(),
        until: now() + SignedDuration::from_mins(10),
    };
    let opened = machine::view(&state, "act", "vic", view.until, now());
    let with = |expected| Commit {
        run_id: run,
        expected,
        entries: &opened.entries,
        entry_bytes: opened.state.bytes,
        ended_at: None,
        view: Some(&view),
        drafts: &[],
    };
    assert!(store.commit(with(7)).await.is_err());
    assert_eq!(store.view_key("acme", "k").await.unwrap(), None, "no key without its entry");
    store.commit(with(2)).await.unwrap();
    assert_eq!(store.view_key("acme", "k").await.unwrap(), Some(view));
    assert_eq!(store.view_key("beta", "k").await.unwrap(), None);
    assert_eq!(store.draft_sent_by(run, "vic", "d").await.unwrap().as_deref(), Some("k"));
    assert_eq!(store.draft_sent_by(run, "bob", "d").await.unwrap(), None);
    assert_eq!(store.draft_sent_by(Uuid::nil(), "vic", "d").await.unwrap(), None);
    let in_an_hour = now() + SignedDuration::from_hours(1);
    store.expire(in_an_hour).await.unwrap();
    assert!(store.draft(run, "k", "d").await.unwrap().is_none());
    assert_eq!(store.draft_sent_by(run, "vic", "e").await.unwrap().as_deref(), Some("k"), "it says who sent the rest");
    let read = machine::read(&opened.state, "vic", "log", now());
    let used = ["e".to_owned()];
    let commit = Commit { run_id: run, expected: 3, entries: &read.entries, drafts: &used, ..Commit::default() };
    store.commit(commit).await.unwrap();
    assert!(store.draft(run, "k", "e").await.unwrap().is_none(), "used up with the entry");
    store.expire(in_an_hour).await.unwrap();
    assert_eq!(store.view_key("acme", "k").await.unwrap(), None);
}

/// Takes the purge of a run to its end, `rows` rows at a time. Gives what it freed.
async fn purge(store: &dyn Store, run: Uuid, rows: u32) -> u64 {
    let mut freed = 0;
    loop {
        let step = store.purge_rows(run, rows).await.unwrap();
        freed += step.freed;
        if !step.more {
            store.end_purge(run).await.unwrap();
            return freed;
        }
    }
}

async fn what_is_purged_leaves_its_ledger_row_and_its_hashes(store: &dyn Store) {
    let (run, slot) = (Uuid::from_u128(35), Some(("w35", "2026-10")));
    let (_, state) = create(store, run, "purge", slot, "h").await;
    let line = |n| LogLine { n, stream: LogStream::Stdout, time: "t".to_owned(), text: "private".to_owned() };
    store.append_log(run, 1, &[line(0), line(1), line(2)]).await.unwrap();
    let record = |part| PurgeRecord {
        part,
        at: now(),
        days: 30,
        phase: Phase::Cancelled,
        head: "hmac".to_owned(),
        entry_bytes: state.bytes,
    };
    let (log, journal) = (record(RunPart::Log), record(RunPart::Journal));
    assert!(!store.begin_purge(run, &journal).await.unwrap(), "it has not ended");
    let ended = machine::cancel(&state, "act", "ann", now());
    let (entries, entry_bytes) = (&ended.entries, ended.state.bytes);
    let end = Commit { run_id: run, expected: 2, entries, entry_bytes, ended_at: Some(now()), ..Commit::default() };
    store.commit(end).await.unwrap();
    let all = store.entries(run, 0, u64::MAX).await.unwrap();
    let expired = async |part| store.expired("acme", part, now(), None, 9).await.unwrap();
    assert!(expired(RunPart::Log).await.is_empty(), "its blobs were not collected");
    store.set_collected(run).await.unwrap();
    let found = expired(RunPart::Journal).await.remove(0);
    assert_eq!((found.run_id, found.name.as_str(), found.ended_at, found.held), (run, "purge", now(), false));
    let after = Some((found.ended_at, run));
    assert!(store.expired("acme", RunPart::Journal, now(), after, 9).await.unwrap().is_empty(), "none after it");
    let earlier = now() - SignedDuration::from_micros(1);
    assert!(store.expired("acme", RunPart::Journal, earlier, None, 9).await.unwrap().is_empty(), "it ended later");
    assert!(store.expired("beta", RunPart::Journal, now(), None, 9).await.unwrap().is_empty());

    let hold = Hold { reason: "audit".to_owned(), object_uid: "uid".to_owned() };
    store.set_hold(run, Some(&hold)).await.unwrap();
    assert_eq!(store.run(run).await.unwrap().unwrap().hold, Some(hold));
    assert!(expired(RunPart::Log).await[0].held);
    for record in [&log, &journal] {
        assert!(!store.begin_purge(run, record).await.unwrap(), "it is held");
    }
    store.set_hold(run, None).await.unwrap();

    let usage = async || store.usage().await.unwrap().into_iter().find(|it| it.0 == "acme").unwrap().1;
    let before = usage().await;
    assert!(store.begin_purge(run, &log).await.unwrap());
    assert!(!store.begin_purge(run, &log).await.unwrap(), "once");
    assert_eq!(store.begun_purges(9).await.unwrap().len(), 1);
    assert_eq!(purge(store, run, 1).await, 3 * (7 + LOG_LINE_COST));
    assert_eq!(usage().await, before - 3 * (7 + LOG_LINE_COST));
    assert!(store.read_log(run, None, 9).await.unwrap().is_empty());
    assert_eq!(store.entries(run, 0, u64::MAX).await.unwrap(), all, "the journal stays");
    assert!(expired(RunPart::Log).await.is_empty() && expired(RunPart::Journal).await.len() == 1);
    assert_eq!(store.purged(run).await.unwrap(), None);

    let before = usage().await;
    assert!(store.begin_purge(run, &journal).await.unwrap());
    let late = machine::read(&ended.state, "ann", "log", now());
    let append =
        Commit { run_id: run, expected: 4, entries: &late.entries, ended_at: Some(now()), ..Commit::default() };
    assert!(matches!(store.commit(append).await, Err(StoreError::Raced(_))), "nothing is written any more");
    assert_eq!(purge(store, run, 2).await, before - usage().await);
    let row = store.run(run).await.unwrap().unwrap();
    assert_eq!((row.secret, row.length, row.head), (None, 4, all[3].hash));
    assert_eq!(row.entry_bytes, 4 * SKELETON_COST);
    assert_eq!(row.purged, [log, journal.clone()]);
    assert!(store.entries(run, 0, u64::MAX).await.unwrap().is_empty());
    let left = store.skeletons(run, 0, 9).await.unwrap();
    let hashes: Vec<_> = left.iter().map(|it| (it.seq, it.hash)).collect();
    assert_eq!(hashes, all.iter().map(|it| (it.seq, it.hash)).collect::<Vec<_>>());
    assert_eq!(left[0].kind, "runCreated");
    assert_eq!(store.skeletons(run, 1, 1).await.unwrap(), left[1..2]);
    let left = store.purged(run).await.unwrap().unwrap();
    assert_eq!((left.name.as_str(), left.length, left.hash, left.record), ("purge", 4, all[3].hash, journal));
    assert!(store.begun_purges(9).await.unwrap().is_empty() && expired(RunPart::Journal).await.is_empty());
    assert_eq!(create(store, Uuid::from_u128(36), "other", slot, "h").await.0, Inserted::AlreadyRan(run));
    let conflict = Inserted::Conflict { run_id: run, terminal: true };
    assert_eq!(create(store, Uuid::from_u128(36), "purge", None, "changed").await.0, conflict);
}

async fn facts_and_settings_stay(store: &dyn Store) {
    store.put_fact("acme", "policy", "1").await.unwrap();
    store.put_fact("acme", "policy", "2").await.unwrap();
    store.put_fact("acme", "binding", "3").await.unwrap();
    assert_eq!(store.fact("acme", "policy").await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.fact("beta", "policy").await.unwrap(), None);
    let all = [("binding", "3"), ("policy", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(store.facts("acme").await.unwrap(), all);
    assert_eq!(store.setting_or("key", b"one").await.unwrap(), b"one");
    assert_eq!(store.setting_or("key", b"two").await.unwrap(), b"one");
    many_at_once(store).await;
}

/// Writes that come together: each is done or refused by itself.
async fn many_at_once(store: &dyn Store) {
    let runs: Vec<_> = (0..40_u128).map(|n| (Uuid::from_u128(1000 + n), format!("many-{n}"))).collect();
    let creates = runs.iter().map(|(id, name)| create(store, *id, name, Some(("w", name)), "h"));
    let states: Vec<_> = futures::future::join_all(creates).await.into_iter().map(|(_, state)| state).collect();
    // Every third writer believes in another length of the journal.
    let outcomes: Vec<_> = states.iter().map(|state| machine::job_recorded(state, 1, ("j", "u", "h"), now())).collect();
    let commits = states.iter().zip(&outcomes).enumerate().map(|(n, (state, outcome))| {
        commit(store, state, &outcome.entries, if n % 3 == 0 { state.length + 7 } else { state.length })
    });
    for (n, result) in futures::future::join_all(commits).await.into_iter().enumerate() {
        let (before, after) = (&states[n], &outcomes[n].state);
        let kept = store.run(before.run_id).await.unwrap().unwrap();
        if n % 3 == 0 {
            assert!(matches!(result, Err(StoreError::Raced(id)) if id == before.run_id));
            assert_eq!(kept.length, before.length);
        } else {
            result.unwrap();
            assert_eq!(
                RunState::replay(kept.secret.unwrap(), &store.entries(before.run_id, 0, u64::MAX).await.unwrap())
                    .unwrap(),
                *after
            );
        }
    }
}

async fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir).await.unwrap()
}

#[tokio::test]
async fn sqlite_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conform(&open(dir.path()).await).await;
}

#[tokio::test]
async fn sqlite_keeps_everything_when_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let run = Uuid::from_u128(1);
    let store = open(dir.path()).await;
    let (_, state) = create(&store, run, "nav", None, "h").await;
    store.put_fact("acme", "policy", "1").await.unwrap();
    drop(store);
    let store = open(dir.path()).await;
    let row = store.run(run).await.unwrap().unwrap();
    let entries = store.entries(run, 0, u64::MAX).await.unwrap();
    assert_eq!(RunState::replay(row.secret.unwrap(), &entries).unwrap(), state);
    assert_eq!(store.fact("acme", "policy").await.unwrap().as_deref(), Some("1"));
}

/// Whether the text is found in one of the store's files.
fn is_in_files(dir: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(dir).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    files.into_iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[tokio::test]
async fn sqlite_leaves_nothing_of_what_was_purged_in_its_files() {
    use sqlx::{Connection, SqliteConnection};
    let (dir, run) = (tempfile::tempdir().unwrap(), Uuid::from_u128(1));
    let store = open(dir.path()).await;
    let (_, state) = create(&store, run, "nav", None, "h").await;
    let text = "what nobody may find";
    let line = LogLine { n: 0, stream: LogStream::Stdout, time: "t".to_owned(), text: text.to_owned() };
    store.append_log(run, 1, &[line]).await.unwrap();
    let ended = machine::cancel(&state, "act", text, now());
    commit(&store, &state, &ended.entries, 2).await.unwrap();
    store.set_collected(run).await.unwrap();
    assert!(is_in_files(dir.path(), text));
    let (at, phase) = (now(), Phase::Cancelled);
    let record = PurgeRecord { part: RunPart::Journal, at, days: 1, phase, head: String::new(), entry_bytes: 0 };
    assert!(store.begin_purge(run, &record).await.unwrap());
    purge(&store, run, 9).await;
    // What the log of writes still has is written over in time; here it is done at once.
    let url = format!("sqlite://{}", dir.path().join("journal.sqlite").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.unwrap();
    assert!(!is_in_files(dir.path(), text));
}

#[tokio::test]
async fn sqlite_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path()).await;
    let Err(error) = SqliteStore::open(dir.path()).await else { panic!("opened twice") };
    assert!(matches!(error, StoreError::InUse(_)));
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

/// The error with which a store of another format is refused.
async fn refusal_of_format(format: i64) -> StoreError {
    use sqlx::{Connection, SqliteConnection};
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).await);
    let url = format!("sqlite://{}", dir.path().join("journal.sqlite").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let pragma = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {format}"));
    sqlx::raw_sql(pragma).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let Err(error) = SqliteStore::open(dir.path()).await else { panic!("opened") };
    error
}

#[tokio::test]
async fn sqlite_of_another_format_is_refused_by_name() {
    let newer = refusal_of_format(99).await;
    assert!(matches!(newer, StoreError::FormatTooNew { found: 99, .. }), "{newer}");
    let older = refusal_of_format(1).await;
    assert!(matches!(older, StoreError::FormatTooOld { found: 1, .. }), "{older}");
    assert_eq!(ntro_journal::JournalError::from(older).reason(), "FormatTooOld");
}
