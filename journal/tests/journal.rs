//! The journal as its users see it: waiting, leases, time, drafts, views, logs, exports.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use ntro_journal::protocol::entries;
use ntro_journal::protocol::{
    AppendRequest, BlockCode, ChainHash, EntryBody, GateKind, LOG_LINE_COST, LogLine, LogRequest, LogStream, Payload,
    Phase, PodEntry, PollRequest, RefusalReason, ReleaseCause, RunTenant, Sha256Digest, Verb,
};
use ntro_journal::{
    AttachPod, CreateRun, DraftRef, ErrorClass, GateDecision, Inserted, Journal, JournalError, JournalSettings,
    PublishedHead, Session, TestClock, UserActionOutcome, VerifyError, verify,
};
use uuid::Uuid;

use common::{export, get_blob, pieces, pod, run_created};

struct World {
    journal: Journal,
    clock: Arc<TestClock>,
    dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut JournalSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::at("2026-10-05T08:00:00Z".parse().unwrap()));
        let mut settings = JournalSettings::new(dir.path());
        change(&mut settings);
        let journal = Journal::open(settings, clock.clone()).await.unwrap();
        Self { journal, clock, dir }
    }

    async fn create(&self, name: &str) -> Uuid {
        let run_id = Uuid::new_v4();
        let run = CreateRun { run: run_created(run_id, name), request_hash: "h".to_owned() };
        assert_eq!(self.journal.create_run(run).await.unwrap(), Inserted::Created(run_id));
        run_id
    }

    async fn job(&self, run: Uuid) -> String {
        let segment = self.journal.state(run).await.unwrap().wanted().unwrap().segment;
        let job = format!("job{segment}");
        self.journal.job_recorded(run, segment, &job, &job, "t").await.unwrap();
        job
    }

    async fn attach(&self, run: Uuid) -> Session {
        let job = self.job(run).await;
        let reply = self.journal.attach(run, pod(&job)).await.unwrap();
        self.journal.session(&reply.session).unwrap()
    }

    async fn running(&self, name: &str) -> (Uuid, Session) {
        let run = self.create(name).await;
        (run, self.attach(run).await)
    }

    async fn append(&self, session: &Session, entries: Vec<PodEntry>) -> Result<(), JournalError> {
        common::append(&self.journal, session, entries).await
    }

    async fn phase(&self, run: Uuid) -> Phase {
        self.journal.state(run).await.unwrap().phase()
    }

    async fn pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
        let now = self.journal.now();
        assert!(self.journal.tick(|_| Some(now)).await.is_empty());
    }

    async fn poll(&self, session: &Session, wait_ms: u64) -> Result<Vec<EntryBody>, JournalError> {
        let head = self.journal.state(session.run_id).await?.length - 1;
        self.poll_after(session, head, wait_ms).await
    }

    async fn poll_after(&self, session: &Session, head: u64, wait_ms: u64) -> Result<Vec<EntryBody>, JournalError> {
        let reply =
            self.journal.poll(session, PollRequest { epoch: session.epoch, head, head_hash: None, wait_ms }).await?;
        Ok(reply.entries.into_iter().map(|entry| entry.body).collect())
    }
}

fn gate() -> PodEntry {
    PodEntry::GateOpened(entries::GateOpened {
        command: 0,
        seen_upto: 0,
        step: "review".to_owned(),
        kind: GateKind::Review,
        component: "DATA_TABLE".to_owned(),
        actions: Vec::new(),
        due_ms: None,
        content: Payload::inline("{}"),
    })
}

fn parked_and_released() -> Vec<PodEntry> {
    vec![
        PodEntry::Parked(entries::Parked { seen_upto: 0, waiting_for: Vec::new() }),
        PodEntry::Released(entries::PodReleased { epoch: None, cause: ReleaseCause::Parked }),
    ]
}

#[tokio::test]
async fn a_poll_returns_as_soon_as_something_comes() {
    let world = World::new().await;
    let (run, session) = world.running("nav").await;
    let signal = world.journal.signal(run, "act", "bob", "go", "[]".to_owned());
    let (heard, sent) = tokio::join!(world.poll(&session, 20_000), signal);
    sent.unwrap();
    assert!(
        matches!(&heard.unwrap()[..], [EntryBody::SignalReceived(entries::SignalReceived { name, .. })] if name == "go")
    );
    assert!(world.poll(&session, 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_waiting_pod_hears_that_it_is_fenced_or_that_the_run_has_ended() {
    let world = World::new().await;
    let (run, session) = world.running("nav").await;
    let (heard, gone) = tokio::join!(world.poll(&session, 20_000), world.journal.job_gone(run, 1));
    gone.unwrap();
    assert_eq!(heard.unwrap_err().reason(), "Fenced");
    world.journal.cancel(run, "act", "bob").await.unwrap();
    assert_eq!(world.poll(&session, 20_000).await.unwrap_err().reason(), "Sealed");
    let stranger = Session { pod_uid: "other".to_owned(), ..session };
    assert_eq!(world.poll(&stranger, 0).await.unwrap_err().reason(), "Fenced");
    let nowhere = Session { run_id: Uuid::nil(), ..stranger };
    let error = world.poll(&nowhere, 0).await.unwrap_err();
    assert_eq!((error.wire().unwrap().0, error.class()), (403, ErrorClass::Invalid));
}

#[tokio::test]
async fn unread_entries_come_with_the_refusal() {
    let world = World::new().await;
    let (run, session) = world.running("nav").await;
    world.append(&session, vec![gate()]).await.unwrap();
    let head = world.journal.state(run).await.unwrap().length - 1;
    world.journal.signal(run, "act", "bob", "go", "[]".to_owned()).await.unwrap();
    let request = AppendRequest { epoch: 1, head, head_hash: None, entries: parked_and_released() };
    let (status, wire) = world.journal.append(&session, request).await.unwrap_err().wire().unwrap();
    assert_eq!((status, wire.entries.len(), wire.entries[0].seq), (409, 1, head + 1));
    let text = serde_json::to_value(&wire).unwrap();
    assert_eq!((&text["code"], &text["entries"][0]["type"]), (&"Unread".into(), &"signalReceived".into()));
}

#[tokio::test]
async fn a_signal_whose_arguments_are_no_array_is_refused() {
    let world = World::new().await;
    let (run, _) = world.running("nav").await;
    let refused = world.journal.signal(run, "bad", "bob", "go", "{}".to_owned()).await.unwrap();
    assert!(
        matches!(refused, UserActionOutcome::Refused { reason, .. } if reason == RefusalReason::Malformed.as_str())
    );
}

#[tokio::test]
async fn a_silent_holder_is_released_after_its_lease_and_grace() {
    let world = World::new().await;
    let (run, session) = world.running("nav").await;
    world.pass(44).await;
    assert_eq!(world.phase(run).await, Phase::Running);
    world.poll(&session, 0).await.unwrap();
    world.pass(44).await;
    assert_eq!(world.phase(run).await, Phase::Running, "the poll renewed it");
    assert_eq!(world.journal.next_due(), Some(world.journal.now() + SignedDuration::from_secs(1)));
    world.pass(1).await;
    assert_eq!(world.phase(run).await, Phase::Queued);
    assert_eq!(world.append(&session, vec![gate()]).await.unwrap_err().reason(), "Fenced");
}

#[tokio::test]
async fn an_operator_that_comes_back_gives_a_whole_lease() {
    let world = World::new().await;
    let (run, session) = world.running("nav").await;
    world.clock.advance(SignedDuration::from_mins(10));
    drop(world.journal);
    let journal = Journal::open(JournalSettings::new(world.dir.path()), world.clock.clone()).await.unwrap();
    assert!(journal.take_up(|namespace, _| namespace == "beta").await.unwrap().is_empty());
    assert!(journal.in_memory().is_empty(), "a tenant nobody serves takes no memory");
    assert_eq!(journal.take_up(|namespace, _| namespace == "acme").await.unwrap()[0].run_id, run);
    let world = World { journal, ..world };
    world.pass(44).await;
    assert_eq!(world.phase(run).await, Phase::Running);
    world.append(&session, vec![gate()]).await.unwrap();
    world.pass(44).await;
    world.pass(1).await;
    assert_eq!(world.phase(run).await, Phase::Queued);
}

#[tokio::test]
async fn a_clock_that_is_set_and_a_machine_that_stood_still_fence_nobody() {
    let world = World::new().await;
    let (run, session) = world.running("nav").await;
    for by in [SignedDuration::from_hours(1), SignedDuration::from_hours(-2)] {
        world.clock.set(by);
        world.pass(0).await;
        assert_eq!(world.phase(run).await, Phase::Running, "nobody could have heard it meanwhile");
    }
    world.pass(40).await;
    world.journal.renew(&session);
    world.pass(40).await;
    assert_eq!(world.phase(run).await, Phase::Running, "it was heard of");
    world.pass(10).await;
    assert_eq!(world.phase(run).await, Phase::Queued, "silent for its lease, whatever the clock says");
}

#[tokio::test]
async fn timers_wait_for_the_acts_that_may_come_before_them() {
    let world = World::new().await;
    let (run, session) = world.running("nav").await;
    let timer = PodEntry::TimerStarted(entries::TimerStarted { command: 0, seen_upto: 0, duration_ms: 10_000 });
    world.append(&session, [vec![timer], parked_and_released()].concat()).await.unwrap();
    let due = world.journal.now() + SignedDuration::from_secs(10);
    assert_eq!(world.journal.next_due(), Some(due));
    world.clock.advance(SignedDuration::from_secs(11));
    let (now, wait) = (world.journal.now(), SignedDuration::from_millis(1));
    world.journal.tick(|_| Some(due - wait)).await;
    assert_eq!(world.phase(run).await, Phase::Waiting);
    assert_eq!(world.journal.next_due(), Some(now + wait), "no sooner than the acts can be known");
    world.clock.set(SignedDuration::from_mins(10));
    world.journal.tick(|_| Some(due - SignedDuration::from_mins(5))).await;
    let next = world.journal.next_due().unwrap().duration_since(world.journal.now());
    assert_eq!(next, SignedDuration::from_secs(10), "the clock may be set back meanwhile");
    world.clock.advance(next);
    world.journal.tick(|_| Some(due)).await;
    assert!(world.journal.state(run).await.unwrap().wanted().is_some());
}

#[tokio::test]
async fn a_run_whose_acts_are_not_known_keeps_its_timer_and_no_other_run_does() {
    let world = World::new().await;
    let mut runs = Vec::new();
    for name in ["nav", "other"] {
        let (run, session) = world.running(name).await;
        let timer = PodEntry::TimerStarted(entries::TimerStarted { command: 0, seen_upto: 0, duration_ms: 10_000 });
        world.append(&session, [vec![timer], parked_and_released()].concat()).await.unwrap();
        runs.push(run);
    }
    world.clock.advance(SignedDuration::from_secs(10));
    let now = world.journal.now();
    assert!(world.journal.tick(|state| (state.name != "nav").then_some(now)).await.is_empty());
    assert_eq!(world.phase(runs[0]).await, Phase::Waiting);
    assert!(world.journal.state(runs[1]).await.unwrap().wanted().is_some());
    assert!(world.journal.next_due().unwrap() > now, "asked again after a while, not at once");
    world.pass(1).await;
    assert!(world.journal.state(runs[0]).await.unwrap().wanted().is_some());
}

#[tokio::test]
async fn runs_of_a_namespace_nobody_serves_wait_on_disk_until_asked_for() {
    let world = World::new().await;
    let (run, session) = world.running("nav").await;
    world.journal.set_aside(|_, _| false);
    assert!(world.journal.next_due().is_some(), "a pod holds it");
    let timer = PodEntry::TimerStarted(entries::TimerStarted { command: 0, seen_upto: 0, duration_ms: 10_000 });
    world.append(&session, [vec![timer], parked_and_released()].concat()).await.unwrap();
    let due = world.journal.next_due();
    let namespace = world.journal.state(run).await.unwrap().namespace.clone();
    world.journal.set_aside(|served, _| served == namespace);
    assert_eq!(world.journal.next_due(), due);
    world.journal.set_aside(|_, _| false);
    assert_eq!(world.journal.next_due(), None);
    world.pass(11).await;
    assert_eq!(world.journal.next_due(), None);
    assert_eq!(world.journal.take_up(|_, _| true).await.unwrap()[0].phase(), Phase::Waiting);
    assert_eq!(world.journal.next_due(), due);
    world.pass(0).await;
    assert!(world.journal.state(run).await.unwrap().wanted().is_some());
}

#[tokio::test]
async fn a_cancelled_run_has_its_grace() {
    let world = World::with(|settings| settings.lease = Duration::from_hours(1)).await;
    let (run, _) = world.running("nav").await;
    world.journal.cancel(run, "act", "bob").await.unwrap();
    world.pass(44).await;
    assert_eq!(world.phase(run).await, Phase::Running);
    world.pass(1).await;
    assert_eq!(world.phase(run).await, Phase::Cancelled);
    assert_eq!(world.journal.next_due(), None);

    let (run, _) = world.running("other").await;
    world.journal.cancel(run, "act", "bob").await.unwrap();
    world.clock.set(SignedDuration::from_hours(1));
    world.pass(0).await;
    assert_eq!(world.phase(run).await, Phase::Running, "a clock that is set ends no grace");
}

#[tokio::test]
async fn a_decision_uses_its_drafts_up() {
    let world = World::new().await;
    let (run, session) = world.running("nav").await;
    world.append(&session, vec![gate()]).await.unwrap();
    let open = world.journal.state(run).await.unwrap().gates[&0].clone();
    let comment = world.journal.put_draft(run, "key", "\"fine\"".to_owned()).await.unwrap();
    let long = format!("\"{}\"", "x".repeat(100_000));
    let correction = world.journal.put_draft(run, "key", long.clone()).await.unwrap();
    assert!(comment.starts_with("hmac-sha256:"));
    let draft = |digest: &str| Some(DraftRef { key_hash: "key".to_owned(), digest: digest.to_owned() });
    let act = |act: &str, comment, correction| GateDecision {
        gate_id: open.id,
        revision: 1,
        digest: Some(open.content_digest.clone()),
        verb: Verb::Correct,
        actor: "bob".to_owned(),
        groups: Vec::new(),
        user_action: act.to_owned(),
        acted_at: world.journal.now(),
        comment,
        correction,
    };
    let stolen = Some(DraftRef { key_hash: "other".to_owned(), digest: comment.clone() });
    let refused = world.journal.decide(run, act("a", stolen, None)).await.unwrap();
    assert!(
        matches!(refused, UserActionOutcome::Refused { reason, .. } if reason == RefusalReason::DraftMissing.as_str())
    );
    let good = act("b", draft(&comment), draft(&correction));
    let outcome = world.journal.decide(run, good.clone()).await.unwrap();
    let UserActionOutcome::Applied { seq } = outcome else { panic!("{outcome:?}") };
    let entry = world.journal.entries(run, seq).await.unwrap().remove(0);
    let EntryBody::GateDecided(entries::GateDecided { comment: Some(said), correction: Some(corrected), .. }) =
        entry.body
    else {
        panic!("{entry:?}")
    };
    assert_eq!(world.journal.payload_text(run, &said).await.unwrap(), "\"fine\"");
    assert!(matches!(corrected, Payload::Blob { size: 100_002, .. }));
    assert_eq!(world.journal.payload_text(run, &corrected).await.unwrap(), long);
    assert_eq!(world.journal.draft_text(run, &draft(&comment).unwrap(), world.journal.now()).await.unwrap(), None);
    assert_eq!(world.journal.decide(run, good).await.unwrap(), outcome, "asked again without its drafts");
}

#[tokio::test]
async fn a_draft_counts_for_acts_of_its_hour_however_late_they_are_read() {
    let world = World::new().await;
    let run = world.create("nav").await;
    let digest = world.journal.put_draft(run, "key", "1".to_owned()).await.unwrap();
    let draft = DraftRef { key_hash: "key".to_owned(), digest };
    let in_time = world.journal.now() + SignedDuration::from_secs(3599);
    let too_late = world.journal.now() + SignedDuration::from_secs(3600);
    let text = async |acted_at| world.journal.draft_text(run, &draft, acted_at).await.unwrap();
    world.clock.advance(SignedDuration::from_hours(5));
    assert_eq!(text(in_time).await.as_deref(), Some("1"), "the operator was away");
    assert_eq!(text(too_late).await, None);
    world.journal.expire(in_time).await.unwrap();
    assert_eq!(text(in_time).await.as_deref(), Some("1"), "an action without an answer may still name it");
    world.journal.expire(too_late).await.unwrap();
    assert_eq!(text(in_time).await, None);
    assert!(world.journal.put_draft(run, "key", "{".to_owned()).await.is_err());
}

#[tokio::test]
async fn a_view_opens_one_run_of_one_namespace_for_its_time() {
    let world = World::new().await;
    let run = world.create("nav").await;
    let until = world.journal.now() + SignedDuration::from_mins(10);
    world.journal.view(run, "act", "vic", "hash", until).await.unwrap();
    let view = world.journal.view_key("acme", "hash").await.unwrap().unwrap();
    assert_eq!((view.run_id, view.actor.as_str()), (run, "vic"));
    assert_eq!(world.journal.view_key("beta", "hash").await.unwrap(), None);
    world.clock.advance(SignedDuration::from_mins(10));
    assert_eq!(world.journal.view_key("acme", "hash").await.unwrap(), None);
}

#[tokio::test]
async fn a_journal_behind_its_published_head_is_not_replayed() {
    let world = World::new().await;
    let run = world.create("nav").await;
    let job = world.job(run).await;
    let state = world.journal.state(run).await.unwrap();
    let head = |length, head: String| PublishedHead { length, head };
    let now = head(state.length, state.head_digest());
    assert!(!world.journal.is_behind(run, &now).await.unwrap());
    let first = state.keyed(&world.journal.entries(run, 0).await.unwrap()[0].hash.0);
    assert!(!world.journal.is_behind(run, &head(1, first.clone())).await.unwrap());
    assert!(world.journal.is_behind(run, &head(2, first)).await.unwrap(), "another history");
    let ahead = head(state.length + 1, state.head_digest());
    assert_eq!(
        world.journal.attach(run, AttachPod { published: Some(ahead), ..pod(&job) }).await.unwrap_err().reason(),
        "Fenced"
    );
    assert_eq!(world.phase(run).await, Phase::Blocked);
}

#[tokio::test]
async fn a_pod_that_was_told_another_entry_than_the_journal_has_knows_that_it_is_an_older_copy() {
    for asks in ["append", "poll"] {
        let world = World::new().await;
        let (run, session) = world.running("nav").await;
        let state = world.journal.state(run).await.unwrap();
        let (epoch, head, right) = (1, state.length - 1, Some(state.head));
        let wrong = Some(ChainHash([7; 32]));
        let ask = async |head, head_hash| match asks {
            "append" => {
                let request = AppendRequest { epoch, head, head_hash, entries: Vec::new() };
                world.journal.append(&session, request).await.map(drop)
            }
            _ => world.journal.poll(&session, PollRequest { epoch, head, head_hash, wait_ms: 0 }).await.map(drop),
        };
        ask(head, right).await.unwrap();
        world.append(&session, vec![gate()]).await.unwrap();
        ask(head, right).await.unwrap();
        assert_eq!(world.phase(run).await, Phase::Running, "what came after an entry says nothing about it");
        assert_eq!(ask(head, wrong).await.unwrap_err().reason(), "Fenced");
        assert_eq!(world.journal.state(run).await.unwrap().blocked.as_ref().unwrap().code, BlockCode::JournalBehind);
    }
}

fn line(n: u64, text: &str) -> LogLine {
    LogLine { n, stream: LogStream::Stdout, time: "t".to_owned(), text: text.to_owned() }
}

#[tokio::test]
async fn logs_are_followed_and_bounded() {
    let world = World::with(|settings| {
        settings.limits.log_line_max = 4;
        settings.limits.log_max = 2 * LOG_LINE_COST + 10;
    })
    .await;
    let (run, session) = world.running("nav").await;
    let log = |lines| world.journal.log(&session, LogRequest { epoch: 1, lines });
    let follow = world.journal.read_log(run, None, 10, Duration::from_secs(20));
    let (lines, written) = tokio::join!(follow, log(vec![line(0, "äöü")]));
    written.unwrap();
    assert_eq!(lines.unwrap()[0].line.text, "äö", "cut at a character");
    log(vec![line(1, "1234"), line(2, "5678"), line(3, "9")]).await.unwrap();
    world.journal.cancel(run, "act", "bob").await.unwrap();
    world.journal.job_gone(run, 1).await.unwrap();
    assert_eq!(world.phase(run).await, Phase::Cancelled);
    log(vec![line(4, "x")]).await.unwrap();
    let lines = world.journal.read_log(run, Some((1, 0)), 10, Duration::ZERO).await.unwrap();
    assert_eq!(lines.iter().map(|it| it.line.n).collect::<Vec<_>>(), [1], "the rest is over the limit");
    let other = LogRequest { epoch: 2, lines: Vec::new() };
    assert!(world.journal.log(&session, other).await.is_err());
}

#[tokio::test]
async fn blobs_belong_to_their_run() {
    let world = World::new().await;
    let ((one, session), two) = (world.running("one").await, world.create("two").await);
    let digest = Sha256Digest::of(b"content");
    let put = |size: u64, bytes: &[u8]| world.journal.put_blob(&session, digest, size, pieces(bytes));
    assert_eq!(put(7, b"another").await.unwrap_err().reason(), "BlobMismatch");
    assert_eq!(put(6, b"content").await.unwrap_err().reason(), "BlobMismatch", "more than was said");
    assert_eq!(put(8, b"content").await.unwrap_err().reason(), "BlobMismatch", "less than was said");
    assert_eq!(get_blob(&world.journal, one, digest).await.unwrap_err().reason(), "BlobMissing");
    put(7, b"content").await.unwrap();
    put(7, b"content").await.unwrap();
    assert_eq!(get_blob(&world.journal, one, digest).await.unwrap(), b"content");
    assert_eq!(get_blob(&world.journal, two, digest).await.unwrap_err().reason(), "BlobMissing");
    let path = format!("blobs/acme/{one}/sha256/{}", digest.hex());
    std::fs::write(world.dir.path().join(path), "touched").unwrap();
    assert_eq!(get_blob(&world.journal, one, digest).await.unwrap_err().reason(), "BlobMismatch");
}

#[tokio::test]
async fn whoever_listens_hears_which_runs_changed() {
    let world = World::new().await;
    let mut feed = world.journal.subscribe();
    let run = world.create("nav").await;
    assert_eq!(feed.recv().await.unwrap(), run);
    world.job(run).await;
    assert_eq!(feed.recv().await.unwrap(), run);
    world.journal.job_gone(run, 7).await.unwrap();
    assert!(feed.try_recv().is_err(), "nothing changed");
}

#[tokio::test]
async fn an_append_goes_on_when_its_caller_goes_away() {
    let world = World::new().await;
    let (run, session) = world.running("nav").await;
    let before = world.journal.state(run).await.unwrap().length;
    {
        let append = world.append(&session, vec![gate()]);
        tokio::pin!(append);
        // Long enough to begin, gone before it ends.
        while world.journal.state(run).await.unwrap().length == before {
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                _ = &mut append => {}
            }
        }
    }
    world.journal.signal(run, "act", "bob", "go", "[]".to_owned()).await.unwrap();
    let entries = world.journal.entries(run, 0).await.unwrap();
    let state = world.journal.state(run).await.unwrap();
    assert_eq!((entries.len() as u64, entries.last().unwrap().hash), (state.length, state.head));
    assert_eq!(state.gates.len(), 1);
}

#[tokio::test]
async fn an_export_shows_whether_it_was_touched() {
    let world = World::new().await;
    let (run, session) = world.running("nav").await;
    world.append(&session, vec![gate()]).await.unwrap();
    let text = export(&world.journal, run).await;
    let end = verify(&text).unwrap();
    let state = world.journal.state(run).await.unwrap();
    assert_eq!((end.run_id, end.length, end.head), (run, state.length, state.head_digest()));
    let changed = text.replace("DATA_TABLE", "DATA_TABLES");
    assert_eq!(verify(&changed), Err(VerifyError::Broken(5)));
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.remove(4);
    assert_eq!(verify(&lines.join("\n")), Err(VerifyError::WrongEnd));
    lines.insert(3, last);
    assert_eq!(verify(&lines.join("\n")), Err(VerifyError::OutOfOrder(4)));
    assert_eq!(verify(&text[..text.len() - 2]), Err(VerifyError::WrongEnd));
    assert_eq!(verify("{}\n{}"), Err(VerifyError::WrongEnd));
}

#[tokio::test]
async fn a_run_that_ended_is_still_there_after_it_was_forgotten() {
    let world = World::new().await;
    let run = world.create("nav").await;
    world.journal.cancel(run, "act", "bob").await.unwrap();
    world.pass(1).await;
    assert_eq!(world.phase(run).await, Phase::Cancelled);
    assert!(world.journal.take_up(|_, _| true).await.unwrap().is_empty());
    assert_eq!(world.journal.run_by_name("acme", "nav").await.unwrap(), Some(run));
    let again = world.journal.cancel(run, "act", "bob").await.unwrap();
    assert!(matches!(again, UserActionOutcome::Applied { .. }));
}

#[tokio::test]
async fn a_namespace_made_again_has_nothing_of_the_one_before() {
    let world = World::new().await;
    let before = world.create("nav").await;
    let tenant = |uid: &str| RunTenant { slug: "acme".to_owned(), namespace_uid: uid.to_owned() };
    let after = Uuid::new_v4();
    let run = entries::RunCreated { tenant: tenant("again"), ..run_created(after, "nav") };
    let run = CreateRun { run, request_hash: "h".to_owned() };
    assert_eq!(world.journal.create_run(run).await.unwrap(), Inserted::Created(after), "the name is free there");
    assert_eq!(world.journal.run_by_name("acme", "nav").await.unwrap(), Some(before));
    assert_eq!(world.journal.run_by_name("again", "nav").await.unwrap(), Some(after));
    let until = world.journal.now() + SignedDuration::from_hours(1);
    world.journal.view(before, "view", "vic", "hash", until).await.unwrap();
    assert_eq!(world.journal.view_key("again", "hash").await.unwrap(), None);
    assert!(world.journal.view_key("acme", "hash").await.unwrap().is_some());
    // What the tenant before has left is set aside, its timers with it.
    world.journal.set_aside(|_, tenant| tenant.namespace_uid == "again");
    assert_eq!(world.journal.in_memory().iter().map(|run| run.run_id).collect::<Vec<_>>(), [after]);
    let taken = world.journal.take_up(|_, tenant| tenant.namespace_uid == "again").await.unwrap();
    assert_eq!(taken.iter().map(|run| run.run_id).collect::<Vec<_>>(), [after]);
}
