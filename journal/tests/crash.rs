//! A process that is ended at every place of the journal where that could hurt, and started again on what it left.
//!
//! The child (this binary again) drives one run from creation to its end: it plays the operator's loop, the pods and a
//! person, always from what the journal says, and notes every acknowledged entry and every effect in a file of its own.
//! The parent ends it at the n-th failpoint, for every n there is, lets it finish, and compares.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use ntro_journal::machine::{ActivityState, RunState, SegmentState};
use ntro_journal::protocol::entries;
use ntro_journal::protocol::{
    AppendRequest, BlockCode, Entry, EntryBody, GateKind, LogLine, LogRequest, LogStream, OutputFile, Payload, Phase,
    Pin, PodEntry, ReleaseCause, RetryCause, RunTrigger, RunnerVersions, Sha256Digest, Verb,
};
use ntro_journal::store::SKELETON_COST;
use ntro_journal::{
    AttachPod, CreateRun, DraftRef, GateDecision, Inserted, Journal, JournalSettings, Retention, RunPart, Session,
    SystemClock, TestClock, failpoint, verify,
};
use uuid::Uuid;

use common::run_created;

const DIR: &str = "NTRO_CRASH_TEST_DIR";

struct Driver {
    journal: Journal,
    run: Uuid,
    dir: PathBuf,
    /// The holder this process attached, if it did.
    session: Option<Session>,
}

fn note(dir: &Path, file: &str, line: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(dir.join(file)).unwrap();
    writeln!(file, "{line}").unwrap();
}

fn notes(dir: &Path, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn wanted_run(run_id: Uuid) -> CreateRun {
    let pin = serde_json::json!({"activities": {
        "save": {"effect": "idempotent"},
        "post": {"effect": "external", "requires": "review"},
    }});
    CreateRun {
        run: entries::RunCreated {
            slot: Some("2026-10".to_owned()),
            trigger: RunTrigger { kind: "Schedule".to_owned(), initiator: "system".to_owned() },
            pin: Pin(pin.as_object().unwrap().clone()),
            input: Payload::inline(format!("\"{}\"", "x".repeat(70_000))),
            ..run_created(run_id, "nav")
        },
        request_hash: "h".to_owned(),
    }
}

fn start(target: u64, attempt: u32, cause: Option<RetryCause>) -> PodEntry {
    PodEntry::ActivityStarted(entries::ActivityStarted { target, attempt, cause })
}

impl Driver {
    async fn open(dir: &Path) -> Self {
        let journal =
            Journal::open(JournalSettings::new(dir.join("journal")), Arc::new(SystemClock::default())).await.unwrap();
        let created = journal.create_run(wanted_run(Uuid::new_v4())).await.unwrap();
        let (Inserted::Created(run) | Inserted::Existing(run) | Inserted::AlreadyRan(run)) = created else {
            panic!("{created:?}");
        };
        Self { journal, run, dir: dir.to_owned(), session: None }
    }

    async fn drive(mut self) {
        for _ in 0..200 {
            let state = self.journal.state(self.run).await.unwrap();
            if state.phase().is_terminal() && state.holder().is_none() {
                return;
            }
            self.step(&state).await;
        }
        panic!("the run does not end: {:?}", self.journal.state(self.run).await.unwrap());
    }

    async fn step(&mut self, state: &RunState) {
        let journal = self.journal.clone();
        match &state.segment_state {
            SegmentState::Wanted(wanted) => {
                let job = format!("job{}", wanted.segment);
                journal.job_recorded(self.run, wanted.segment, &job, &job, "t").await.unwrap();
            }
            SegmentState::Queued => self.attach(state).await,
            SegmentState::Held(holder) => match self.session.clone() {
                Some(session) if session.epoch == holder.epoch => self.work(state, &session).await,
                // A pod of the process before: gone with it.
                _ => journal.job_gone(self.run, state.segment).await.unwrap(),
            },
            SegmentState::Over => self.person(state).await,
        }
    }

    async fn attach(&mut self, state: &RunState) {
        let text = || "1".to_owned();
        let versions =
            RunnerVersions { runtime: text(), protocol_min: 1, protocol_max: 1, python: text(), sdk: text() };
        let uid = Uuid::new_v4().to_string();
        let job_uid = state.job.as_ref().unwrap().uid.clone();
        let pod = AttachPod { pod_name: uid.clone(), pod_uid: uid, job_uid, versions, published: None };
        let reply = self.journal.attach(self.run, pod).await.unwrap();
        self.acknowledge(&reply.entries);
        self.session = self.journal.session(&reply.session);
    }

    fn acknowledge(&self, entries: &[Entry]) {
        for entry in entries {
            note(&self.dir, "acknowledged", &format!("{} {}", entry.seq, entry.hash));
        }
    }

    async fn append(&self, state: &RunState, session: &Session, entries: Vec<PodEntry>) {
        let request = AppendRequest { epoch: session.epoch, head: state.length - 1, head_hash: None, entries };
        let reply = self.journal.append(session, request).await.unwrap();
        self.acknowledge(&reply.entries);
    }

    /// The workflow: save a file, ask a person, post, done.
    async fn work(&self, state: &RunState, session: &Session) {
        let (command, seen_upto) = (state.next_command, state.last_delivery());
        let schedule = |activity: &str| {
            PodEntry::ActivityScheduled(entries::ActivityScheduled {
                command,
                seen_upto,
                activity: activity.to_owned(),
                step: None,
                args: Payload::inline("[]"),
                timeout_ms: None,
            })
        };
        let under_way = state.activities.iter().find(|(_, activity)| activity.state == ActivityState::Running);
        if let Some((target, activity)) = under_way {
            if activity.attempt_epoch == session.epoch {
                return self.execute(state, session, *target).await;
            }
            let (target, attempt) = (*target, activity.attempt + 1);
            return self.append(state, session, vec![start(target, attempt, Some(RetryCause::Crash))]).await;
        }
        let entries = match command {
            0 => vec![schedule("save"), start(0, 1, None)],
            1 => vec![PodEntry::GateOpened(entries::GateOpened {
                command,
                seen_upto,
                step: "review".to_owned(),
                kind: GateKind::Review,
                component: "DATA_TABLE".to_owned(),
                actions: Vec::new(),
                due_ms: None,
                content: Payload::inline("{}"),
            })],
            2 if state.gates[&1].decision.is_none() => vec![
                PodEntry::Parked(entries::Parked { seen_upto, waiting_for: Vec::new() }),
                PodEntry::Released(entries::PodReleased { epoch: None, cause: ReleaseCause::Parked }),
            ],
            2 => vec![schedule("post"), start(2, 1, None)],
            3 => {
                vec![PodEntry::RunCompleted(entries::RunCompleted { command, seen_upto, result: Payload::inline("1") })]
            }
            _ => vec![PodEntry::Released(entries::PodReleased { epoch: None, cause: ReleaseCause::Finished })],
        };
        self.append(state, session, entries).await;
    }

    /// An acknowledged intent: the effect, its output, its completion.
    async fn execute(&self, state: &RunState, session: &Session, target: u64) {
        let activity = &state.activities[&target];
        note(&self.dir, "effects", &format!("{} {}", activity.name, activity.attempt));
        let line = LogLine { n: target, stream: LogStream::Stdout, time: "t".to_owned(), text: "done".to_owned() };
        self.journal.log(session, LogRequest { epoch: session.epoch, lines: vec![line] }).await.unwrap();
        let content = format!("content of {}", activity.name);
        let digest = Sha256Digest::of(content.as_bytes());
        let size = content.len() as u64;
        common::put_blob(&self.journal, session, content.as_bytes()).await.unwrap();
        let output = OutputFile { name: activity.name.clone(), digest, size, media_type: "text/plain".to_owned() };
        let (attempt, result) = (activity.attempt, Payload::Blob { blob: digest, size });
        let done =
            PodEntry::ActivityCompleted(entries::ActivityCompleted { target, attempt, result, outputs: vec![output] });
        self.append(state, session, vec![done]).await;
    }

    /// Approves the gate, and allows to repeat what nobody knows about.
    async fn person(&self, state: &RunState) {
        if let Some(blocked) = &state.blocked {
            assert_eq!(blocked.code, BlockCode::EffectUnknown);
            let unknown = state.activities.iter().filter(|(_, activity)| activity.unknown_effect());
            let repeats = unknown.map(|(target, _)| *target).collect();
            let act = format!("retry-{}", state.length);
            self.journal.retry(self.run, &act, "bob", repeats).await.unwrap();
            return;
        }
        let gate = &state.gates[&1];
        let digest = self.journal.put_draft(self.run, "key", "\"fine\"".to_owned()).await.unwrap();
        let act = GateDecision {
            gate_id: gate.id,
            revision: gate.revision,
            digest: Some(gate.content_digest.clone()),
            verb: Verb::Approve,
            actor: "bob".to_owned(),
            groups: Vec::new(),
            user_action: "the-act".to_owned(),
            acted_at: self.journal.now(),
            comment: Some(DraftRef { key_hash: "key".to_owned(), digest }),
            correction: None,
        };
        self.journal.decide(self.run, act).await.unwrap();
    }
}

/// Not a test: what the parent starts.
#[tokio::test]
#[ignore = "started by the other test"]
async fn child() {
    failpoint::arm_from_env();
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    Driver::open(&dir).await.drive().await;
}

/// Not a test: what the other parent starts. Purges the run that the first child left, or goes on with that.
#[tokio::test]
#[ignore = "started by the other test"]
async fn purging_child() {
    failpoint::arm_from_env();
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    let journal = in_two_years(&dir).await;
    while journal.continue_purges().await.unwrap() > 0 {}
    journal.collect_blobs(None).await.unwrap();
    for run in journal.expired("acme", RunPart::Journal, &Retention::default(), None).await.unwrap() {
        journal.purge(run.run_id, &Retention::default()).await.unwrap();
    }
}

/// The journal that a child left, when everything in it is due to be purged.
async fn in_two_years(dir: &Path) -> Journal {
    let later = Timestamp::now() + SignedDuration::from_hours(24 * 730);
    Journal::open(JournalSettings::new(dir.join("journal")), Arc::new(TestClock::at(later))).await.unwrap()
}

fn run_child(dir: &Path, failpoint: Option<(&str, u32)>) -> ExitStatus {
    start_child("child", dir, failpoint)
}

fn start_child(name: &str, dir: &Path, failpoint: Option<(&str, u32)>) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", name, "--quiet"]).env(DIR, dir);
    if let Some((name, n)) = failpoint {
        command.env("NTRO_FAILPOINT", format!("{name}:{n}"));
    }
    command.output().unwrap().status
}

async fn compare(dir: &Path, what: &str) -> RunState {
    let journal =
        Journal::open(JournalSettings::new(dir.join("journal")), Arc::new(SystemClock::default())).await.unwrap();
    let run = journal.run_by_name("acme", "nav").await.unwrap().unwrap();
    let state = journal.state(run).await.unwrap();
    assert_eq!(state.phase(), Phase::Succeeded, "{what}");
    let entries = journal.entries(run, 0).await.unwrap();
    let end = verify(&common::export(&journal, run).await).unwrap();
    assert_eq!(end.length, entries.len() as u64);
    let there: Vec<String> = entries.iter().map(|entry| format!("{} {}", entry.seq, entry.hash)).collect();
    for line in notes(dir, "acknowledged") {
        assert!(there.contains(&line), "{what}: acknowledged and lost: {line}");
    }
    for entry in &entries {
        if let EntryBody::ActivityCompleted(entries::ActivityCompleted { outputs, .. }) = &entry.body {
            common::get_blob(&journal, run, outputs[0].digest).await.unwrap();
        }
    }
    journal.payload_text(run, &state.input).await.unwrap();
    let decided = entries
        .iter()
        .filter(|entry| matches!(entry.body, EntryBody::GateDecided(entries::GateDecided { .. })))
        .count();
    assert_eq!(decided, 1, "{what}");
    let allowed: usize = entries
        .iter()
        .map(|entry| match &entry.body {
            EntryBody::RetryRequested(entries::RetryRequested { repeat_effects, .. }) => repeat_effects.len(),
            _ => 0,
        })
        .sum();
    let effects = notes(dir, "effects");
    let mut distinct = effects.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), effects.len(), "{what}: an attempt was started twice: {effects:?}");
    let posted = effects.iter().filter(|effect| effect.starts_with("post")).count();
    assert!((1..=1 + allowed).contains(&posted), "{what}: posted {posted} times with {allowed} permissions");
    assert_eq!(journal.create_run(wanted_run(Uuid::new_v4())).await.unwrap(), Inserted::AlreadyRan(run));
    RunState::clone(&state)
}

#[tokio::test]
async fn whatever_was_acknowledged_survives_a_crash_at_every_place() {
    let undisturbed = tempfile::tempdir().unwrap();
    assert!(run_child(undisturbed.path(), None).success());
    let expected = compare(undisturbed.path(), "undisturbed").await;
    assert_eq!(notes(undisturbed.path(), "effects"), ["save 1", "post 1"]);
    for name in [failpoint::BEFORE_COMMIT, failpoint::AFTER_COMMIT, failpoint::AFTER_BLOB] {
        let mut crashes = 0;
        for n in 1.. {
            let dir = tempfile::tempdir().unwrap();
            if run_child(dir.path(), Some((name, n))).success() {
                break;
            }
            crashes += 1;
            let what = format!("{name}:{n}");
            assert!(run_child(dir.path(), None).success(), "{what}: does not go on");
            let state = compare(dir.path(), &what).await;
            assert_eq!(state.outputs, expected.outputs, "{what}");
            assert_eq!(state.next_command, expected.next_command, "{what}");
        }
        assert!(crashes > 2, "{name} was reached {crashes} times");
    }
}

#[tokio::test]
async fn a_purge_that_was_cut_off_leaves_a_run_whole_or_purged_and_goes_on() {
    for name in [failpoint::BEFORE_PURGE_STEP, failpoint::AFTER_PURGE_STEP] {
        let mut crashes = 0;
        for n in 1.. {
            let dir = tempfile::tempdir().unwrap();
            assert!(run_child(dir.path(), None).success());
            let state = compare(dir.path(), "before").await;
            if start_child("purging_child", dir.path(), Some((name, n))).success() {
                break;
            }
            crashes += 1;
            let what = format!("{name}:{n}");
            {
                let journal = in_two_years(dir.path()).await;
                match journal.state(state.run_id).await {
                    Ok(whole) => assert_eq!(*whole, state, "{what}"),
                    Err(error) => assert_eq!(error.reason(), "Purged", "{what}"),
                }
            }
            assert!(start_child("purging_child", dir.path(), None).success(), "{what}: does not go on");
            let journal = in_two_years(dir.path()).await;
            let left = journal.purged(state.run_id).await.unwrap().unwrap();
            assert_eq!(
                (left.length, left.hash, left.record.head),
                (state.length, state.head, state.head_digest()),
                "{what}"
            );
            assert_eq!(journal.skeletons(state.run_id, 0).await.unwrap().len() as u64, state.length, "{what}");
            assert_eq!(journal.kept("acme"), state.length * SKELETON_COST, "{what}");
            assert!(!dir.path().join(format!("journal/blobs/acme/{}", state.run_id)).exists(), "{what}");
            assert_eq!(
                journal.create_run(wanted_run(Uuid::new_v4())).await.unwrap(),
                Inserted::AlreadyRan(state.run_id)
            );
        }
        assert!(crashes >= 2, "{name} was reached {crashes} times");
    }
}
