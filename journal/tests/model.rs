//! Random histories of one run (pods that attach, work, lose acknowledgements and come back from the dead; people;
//! time; operators that restart) against what must always hold, judged from the entries alone by rules of their own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use ntro_journal::machine::{ActivityState, RunState};
use ntro_journal::protocol::entries;
use ntro_journal::protocol::{
    AppendRequest, BlockCode, Effect, Entry, EntryBody, FailureClass, FinalError, GateCloseCause, GateKind,
    IgnoredReason, Payload, Pin, PodEntry, RUNNING_MAX, ReleaseCause, RetryCause, RunSecret, RunTrigger,
    RunnerVersions, Verb,
};
use ntro_journal::{
    AttachPod, CreateRun, GateDecision, Inserted, Journal, JournalError, JournalSettings, Session, TestClock,
    UserActionOutcome, verify,
};
use proptest::prelude::*;
use uuid::Uuid;

use common::run_created;

#[derive(Debug, Clone)]
enum Op {
    /// A pod of the current Job attaches: a new one, or the last one again.
    Attach {
        again: bool,
    },
    /// The holder (or whoever was it last) does something.
    Work {
        what: u8,
        lose_reply: bool,
    },
    /// The last pod hears what is new.
    Poll,
    /// A pod that is none of ours any more says something.
    Ghost {
        which: u8,
        what: u8,
    },
    Job,
    JobGone,
    GateDecision {
        verb: u8,
        stale: bool,
    },
    Signal,
    Cancel,
    Retry {
        all: bool,
    },
    Again {
        which: u8,
    },
    Advance {
        seconds: u16,
    },
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => any::<bool>().prop_map(|again| Op::Attach { again }),
        20 => (0..26_u8, prop::bool::weighted(0.2)).prop_map(|(what, lose_reply)| Op::Work { what, lose_reply }),
        4 => Just(Op::Poll),
        3 => (any::<u8>(), 0..26_u8).prop_map(|(which, what)| Op::Ghost { which, what }),
        5 => Just(Op::Job),
        2 => Just(Op::JobGone),
        4 => (0..4_u8, prop::bool::weighted(0.2)).prop_map(|(verb, stale)| Op::GateDecision { verb, stale }),
        2 => Just(Op::Signal),
        1 => prop::bool::weighted(0.15).prop_map(|yes| if yes { Op::Cancel } else { Op::Signal }),
        3 => prop::bool::weighted(0.7).prop_map(|all| Op::Retry { all }),
        1 => any::<u8>().prop_map(|which| Op::Again { which }),
        3 => (0..120_u16).prop_map(|seconds| Op::Advance { seconds }),
        1 => Just(Op::Reopen),
    ]
}

struct Pod {
    uid: String,
    session: Session,
    /// What it knows of the journal.
    known: Vec<Entry>,
}

struct World {
    settings: JournalSettings,
    clock: Arc<TestClock>,
    journal: Journal,
    run: Uuid,
    create: CreateRun,
    pods: Vec<Pod>,
    acts: Vec<(String, UserActionOutcome)>,
    seen: Vec<Entry>,
    /// Which epoch was told that it may start an attempt.
    started: BTreeMap<(u64, u32), u64>,
    _dir: tempfile::TempDir,
}

fn versions() -> RunnerVersions {
    let text = || "1".to_owned();
    RunnerVersions { runtime: text(), protocol_min: 1, protocol_max: 1, python: text(), sdk: text() }
}

impl World {
    async fn new(handles_cancel: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = JournalSettings::new(dir.path());
        let clock = Arc::new(TestClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let journal = Journal::open(settings.clone(), clock.clone()).await.unwrap();
        let run = Uuid::new_v4();
        let pin = serde_json::json!({"handlesCancel": handles_cancel, "activities": {
            "look": {"effect": "none"},
            "save": {"effect": "idempotent"},
            "mail": {"effect": "external"},
            "post": {"effect": "external", "requires": "review"},
        }});
        let create = CreateRun {
            run: entries::RunCreated {
                slot: Some("2026-10".to_owned()),
                trigger: RunTrigger { kind: "Schedule".to_owned(), initiator: "system".to_owned() },
                pin: Pin(pin.as_object().unwrap().clone()),
                ..run_created(run, "nav")
            },
            request_hash: "h".to_owned(),
        };
        assert_eq!(journal.create_run(create.clone()).await.unwrap(), Inserted::Created(run));
        let seen = journal.entries(run, 0).await.unwrap();
        Self {
            settings,
            clock,
            journal,
            run,
            create,
            pods: Vec::new(),
            acts: Vec::new(),
            seen,
            started: BTreeMap::new(),
            _dir: dir,
        }
    }

    async fn state(&self) -> Arc<RunState> {
        self.journal.state(self.run).await.unwrap()
    }

    async fn step(&mut self, op: Op) {
        match op {
            Op::Attach { again } => self.attach(again).await,
            Op::Work { what, lose_reply } => self.work(what, lose_reply).await,
            Op::Poll => self.poll().await,
            Op::Ghost { which, what } => self.ghost(which, what).await,
            Op::Job => {
                if let Some(wanted) = self.state().await.wanted() {
                    let job = format!("job{}", wanted.segment);
                    self.journal.job_recorded(self.run, wanted.segment, &job, &job, "t").await.unwrap();
                }
            }
            Op::JobGone => {
                let segment = self.state().await.segment;
                self.journal.job_gone(self.run, segment).await.unwrap();
            }
            Op::GateDecision { verb, stale } => self.decide(verb, stale).await,
            Op::Signal => {
                let act = self.act();
                let outcome = self.journal.signal(self.run, &act, "bob", "go", "[1]".to_owned()).await.unwrap();
                self.acts.push((act, outcome));
            }
            Op::Cancel => {
                let act = self.act();
                let outcome = self.journal.cancel(self.run, &act, "bob").await.unwrap();
                self.acts.push((act, outcome));
            }
            Op::Retry { all } => {
                let state = self.state().await;
                let unknown = state.activities.iter().filter(|(_, activity)| all && activity.unknown_effect());
                let repeats = unknown.map(|(target, _)| *target).collect();
                let act = self.act();
                let outcome = self.journal.retry(self.run, &act, "bob", repeats).await.unwrap();
                self.acts.push((act, outcome));
            }
            Op::Again { which } => self.again(which).await,
            Op::Advance { seconds } => {
                self.clock.advance(SignedDuration::from_secs(i64::from(seconds)));
                let now = self.journal.now();
                assert!(self.journal.tick(|_| Some(now)).await.is_empty());
            }
            Op::Reopen => self.reopen().await,
        }
        self.check().await;
    }

    fn act(&self) -> String {
        format!("act{}", self.acts.len())
    }

    async fn attach(&mut self, again: bool) {
        let Some(job) = self.state().await.job.clone() else { return };
        let uid = match self.pods.last() {
            Some(pod) if again => pod.uid.clone(),
            _ => format!("pod{}", self.pods.len()),
        };
        let pod = AttachPod {
            pod_name: uid.clone(),
            pod_uid: uid.clone(),
            job_uid: job.uid,
            versions: versions(),
            published: None,
        };
        let holder = self.state().await.holder().cloned();
        if let Ok(reply) = self.journal.attach(self.run, pod).await {
            let session = self.journal.session(&reply.session).unwrap();
            match holder {
                Some(holder) => assert_eq!((holder.pod_uid, holder.epoch), (uid.clone(), reply.epoch)),
                None => assert!(self.pods.iter().all(|pod| pod.session.epoch < reply.epoch)),
            }
            self.pods.push(Pod { uid, session, known: reply.entries });
        }
    }

    async fn work(&mut self, what: u8, lose_reply: bool) {
        let Some(pod) = self.pods.last() else { return };
        let Some(request) = request(&pod.known, pod.session.epoch, what) else { return };
        let (session, run) = (pod.session.clone(), self.run);
        let reply = self.journal.append(&session, request.clone()).await;
        let length = self.state().await.length;
        if lose_reply {
            // The pod asks again: what was done stays done, what was refused stays refused.
            let repeated = self.journal.append(&session, request.clone()).await;
            let again = self.state().await;
            assert_eq!(again.length, length, "said twice, written twice: {request:?}");
            match (&reply, &repeated) {
                (Ok(first), Ok(second)) => assert_eq!(first.entries, second.entries),
                (Err(first), Err(second)) => assert_eq!(first.reason(), second.reason()),
                _ => panic!("{request:?}: first {reply:?}, then {repeated:?}"),
            }
        }
        if reply.is_ok() {
            self.start_effects(session.epoch, &request);
            let from = request.head + 1;
            let new = self.journal.entries(run, from).await.unwrap();
            self.pods.last_mut().unwrap().known.extend(new);
        }
    }

    /// The pod was told that its intents are durable: now it starts them.
    fn start_effects(&mut self, epoch: u64, request: &AppendRequest) {
        for entry in &request.entries {
            let intent = match entry {
                PodEntry::ActivityStarted(entries::ActivityStarted { target, attempt, .. }) => (*target, *attempt),
                _ => continue,
            };
            let by = self.started.entry(intent).or_insert(epoch);
            assert_eq!(*by, epoch, "attempt {intent:?} was started by two holders");
        }
    }

    async fn poll(&mut self) {
        let Some(pod) = self.pods.last_mut() else { return };
        let head = pod.known.last().unwrap().seq;
        let poll = ntro_journal::protocol::PollRequest { epoch: pod.session.epoch, head, head_hash: None, wait_ms: 0 };
        match self.journal.poll(&pod.session, poll).await {
            Ok(reply) => pod.known.extend(reply.entries),
            Err(error) => assert!(matches!(error.reason(), "Fenced" | "Sealed"), "{error}"),
        }
    }

    async fn ghost(&mut self, which: u8, what: u8) {
        let state = self.state().await;
        let current = state.holder().map(|holder| holder.epoch);
        let ghosts: Vec<&Pod> = self.pods.iter().filter(|pod| Some(pod.session.epoch) != current).collect();
        if ghosts.is_empty() {
            return;
        }
        let ghost = ghosts[usize::from(which) % ghosts.len()];
        let Some(request) = request(&ghost.known, ghost.session.epoch, what) else { return };
        let (before, session) = (state.length, ghost.session.clone());
        let reply = self.journal.append(&session, request).await;
        let new = self.journal.entries(self.run, before).await.unwrap();
        assert!(
            new.iter().all(|entry| matches!(entry.body, EntryBody::LateCompletion(entries::LateCompletion { .. }))),
            "{new:?}"
        );
        if session.epoch < state.epoch {
            assert!(reply.is_err(), "an old epoch was answered");
        }
    }

    async fn decide(&mut self, verb: u8, stale: bool) {
        let run = self.state().await;
        let Some(gate) = run.gates.values().next_back() else { return };
        let act = self.act();
        let it = GateDecision {
            gate_id: gate.id,
            revision: if stale { gate.revision - 1 } else { gate.revision },
            digest: Some(gate.content_digest.clone()),
            verb: [Verb::Approve, Verb::Approve, Verb::Reject, Verb::Correct][usize::from(verb)],
            actor: "bob".to_owned(),
            groups: Vec::new(),
            user_action: act.clone(),
            acted_at: self.journal.now(),
            comment: None,
            correction: None,
        };
        let outcome = self.journal.decide(self.run, it).await.unwrap();
        assert!(!stale || matches!(outcome, UserActionOutcome::Refused { .. }));
        self.acts.push((act, outcome));
    }

    /// An operator that does not remember asks again for an act that has been judged.
    async fn again(&mut self, which: u8) {
        if self.acts.is_empty() {
            return;
        }
        let (act, outcome) = &self.acts[usize::from(which) % self.acts.len()];
        let length = self.state().await.length;
        assert_eq!(&self.journal.cancel(self.run, act, "bob").await.unwrap(), outcome);
        assert_eq!(self.state().await.length, length);
    }

    async fn reopen(&mut self) {
        let before = self.state().await;
        let elsewhere = tempfile::tempdir().unwrap();
        // The old one must be gone before the new one can have the store.
        self.journal = Journal::open(JournalSettings::new(elsewhere.path()), self.clock.clone()).await.unwrap();
        self.journal = Journal::open(self.settings.clone(), self.clock.clone()).await.unwrap();
        assert_eq!(*before, *self.state().await);
        let expected = match before.terminal {
            Some(_) => Inserted::AlreadyRan(self.run),
            None => Inserted::Existing(self.run),
        };
        assert_eq!(self.journal.create_run(self.create.clone()).await.unwrap(), expected);
    }

    async fn check(&mut self) {
        let entries = self.journal.entries(self.run, 0).await.unwrap();
        assert_eq!(entries[..self.seen.len()], self.seen[..], "what was there has changed");
        check_journal(&entries, &*self.state().await);
        self.seen = entries;
    }

    async fn check_chain(&self) {
        let end = verify(&common::export(&self.journal, self.run).await).unwrap();
        let state = self.state().await;
        assert_eq!((end.length, end.head), (state.length, state.head_digest()));
    }
}

/// So many activities at once that two of it are as many as may be under way.
const BURST: u64 = 8;

/// Something a pod that knows these entries might say; `None` if it does not fit.
#[expect(clippy::too_many_lines, reason = "an arm for each entry")]
fn request(known: &[Entry], epoch: u64, what: u8) -> Option<AppendRequest> {
    let state = RunState::replay(RunSecret::from_bytes([0; 32]), known).unwrap();
    let (command, seen_upto) = (state.next_command, state.last_delivery());
    let text = || Payload::inline("\"x\"");
    let numbered = |command: u64, activity: &str| {
        PodEntry::ActivityScheduled(entries::ActivityScheduled {
            command,
            seen_upto,
            activity: activity.to_owned(),
            step: None,
            args: text(),
            timeout_ms: None,
        })
    };
    let schedule = |activity: &str| numbered(command, activity);
    let open = |wanted: ActivityState| state.activities.iter().find(|(_, it)| it.state == wanted);
    let running = open(ActivityState::Running).map(|(target, it)| (*target, it.attempt));
    let either = open(ActivityState::AttemptFailed).or(open(ActivityState::Running));
    let wanted = open(ActivityState::Scheduled);
    let first = |target| PodEntry::ActivityStarted(entries::ActivityStarted { target, attempt: 1, cause: None });
    let timer = state.timers.keys().next_back().copied();
    let gate = state.gates.keys().next_back().copied();
    let parked = || PodEntry::Parked(entries::Parked { seen_upto, waiting_for: Vec::new() });
    let released = |cause| PodEntry::Released(entries::PodReleased { epoch: Some(epoch), cause });
    let completed = |(target, attempt)| {
        PodEntry::ActivityCompleted(entries::ActivityCompleted { target, attempt, result: text(), outputs: Vec::new() })
    };
    let entries = match what {
        0 => vec![schedule("look"), first(command)],
        1 => vec![schedule("save")],
        2 => vec![schedule("mail"), first(command)],
        3 => vec![schedule("post"), first(command)],
        4 => vec![schedule("post")],
        5 => vec![schedule("undeclared"), first(command)],
        6..=8 => vec![completed(running?)],
        9 => {
            let ((target, attempt), error) = (running?, FailureClass { class: "E".to_owned() });
            vec![PodEntry::ActivityAttemptFailed(entries::ActivityAttemptFailed {
                target,
                attempt,
                error,
                detail: text(),
                retry_after_ms: 1,
            })]
        }
        10 | 11 => {
            let (target, it) = wanted.or(either)?;
            let cause = match it.state {
                ActivityState::Scheduled => None,
                ActivityState::AttemptFailed => Some(RetryCause::Failure),
                _ => Some(RetryCause::Crash),
            };
            let (target, attempt) = (*target, it.attempt + 1);
            vec![PodEntry::ActivityStarted(entries::ActivityStarted { target, attempt, cause })]
        }
        12 => {
            let (target, it) = either?;
            let error = FinalError { class: "E".to_owned(), non_retryable: false };
            vec![PodEntry::ActivityFailed(entries::ActivityFailed {
                target: *target,
                attempt: it.attempt,
                error,
                detail: text(),
            })]
        }
        13 => vec![PodEntry::TimerStarted(entries::TimerStarted { command, seen_upto, duration_ms: 30_000 })],
        14 => vec![PodEntry::TimerCancelled(entries::TimerCancelled { command, seen_upto, target: timer? })],
        15 | 16 => vec![PodEntry::GateOpened(entries::GateOpened {
            command,
            seen_upto,
            step: "review".to_owned(),
            kind: GateKind::Review,
            component: "DATA_TABLE".to_owned(),
            actions: Vec::new(),
            due_ms: (what == 16).then_some(30_000),
            content: text(),
        })],
        17 => vec![PodEntry::GateRevised(entries::GateRevised { command, seen_upto, target: gate?, content: text() })],
        18 => vec![PodEntry::GateClosed(entries::GateClosed {
            command,
            seen_upto,
            target: gate?,
            cause: GateCloseCause::Satisfied,
        })],
        19 => vec![parked()],
        20 => vec![parked(), released(ReleaseCause::Parked)],
        21 => vec![released(ReleaseCause::Parked)],
        22 => vec![PodEntry::ActivityCancelRequested(entries::ActivityCancelRequested {
            command,
            seen_upto,
            target: wanted.or(either)?.0.to_owned(),
        })],
        24 => (command..command + BURST).flat_map(|command| [numbered(command, "mail"), first(command)]).collect(),
        25 => vec![PodEntry::SignalIgnored(entries::SignalIgnored {
            signal: last_signal(known)?,
            reason: IgnoredReason::UnknownName,
        })],
        // Ends are rare, so that histories are long.
        _ if command % 5 == 4 => {
            vec![
                PodEntry::RunCompleted(entries::RunCompleted { command, seen_upto, result: text() }),
                released(ReleaseCause::Finished),
            ]
        }
        _ => vec![
            PodEntry::Blocked(entries::Blocked {
                code: BlockCode::CodeError,
                site: None,
                activity: None,
                detail: None,
            }),
            released(ReleaseCause::Blocked),
        ],
    };
    Some(AppendRequest { epoch, head: known.last()?.seq, head_hash: None, entries })
}

fn last_signal(known: &[Entry]) -> Option<u64> {
    known.iter().rfind(|entry| matches!(entry.body, EntryBody::SignalReceived(_))).map(|entry| entry.seq)
}

/// An activity without an end; `attempt` is the last one begun.
struct Unfinished {
    effect: Effect,
    requires: bool,
    attempt: u32,
    cancelled: bool,
}

/// What must hold of any journal, read entry by entry with no help of the machine.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the run")]
struct Watcher {
    holder: Option<u64>,
    epoch: u64,
    segment: u32,
    jobs: u32,
    commands: u64,
    last_delivery: u64,
    seen_upto: u64,
    resting: bool,
    blocked: bool,
    wanted: bool,
    ended: bool,
    open_gates: BTreeMap<u64, u32>,
    decided: BTreeSet<u64>,
    newest_gate: Option<u64>,
    approved: BTreeSet<u64>,
    unfinished: BTreeMap<u64, Unfinished>,
    under_way: BTreeSet<u64>,
    allowed: BTreeSet<u64>,
    timers: BTreeSet<u64>,
}

fn check_journal(entries: &[Entry], state: &RunState) {
    let mut watcher = Watcher::default();
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!(entry.seq, index as u64);
        if index > 0 {
            assert!(entry.time >= entries[index - 1].time);
        }
        watcher.look(entry);
    }
    // A run that nobody holds, that can go on and was not told everything must be on its way to a Job.
    if watcher.holder.is_none() && !watcher.ended && !watcher.blocked && !watcher.wanted {
        assert!(watcher.resting && watcher.seen_upto >= watcher.last_delivery, "a wake-up was lost: {entries:?}");
    }
    let unknown = state.activities.values().filter(|it| it.unknown_effect()).count();
    assert!(unknown <= RUNNING_MAX, "{unknown} effects are unknown");
    assert_eq!(watcher.ended, state.phase().is_terminal());
    assert_eq!(watcher.holder, state.holder().map(|holder| holder.epoch));
}

impl Watcher {
    fn look(&mut self, entry: &Entry) {
        let body = &entry.body;
        if self.ended {
            let late = matches!(
                body,
                EntryBody::Released(entries::Released { .. })
                    | EntryBody::UserActionRefused(entries::UserActionRefused { .. })
                    | EntryBody::LateCompletion(entries::LateCompletion { .. })
            );
            assert!(late, "after the end: {entry:?}");
        }
        if let Some(entries::CommandNumber { command, seen_upto }) = body.command() {
            assert!(self.holder.is_some() && !self.blocked, "a command without a holder: {entry:?}");
            assert_eq!(command, self.commands);
            assert!(seen_upto >= self.seen_upto && seen_upto <= self.last_delivery);
            self.commands += 1;
            self.seen_upto = seen_upto;
            self.resting = false;
        }
        self.look_at_segments(body);
        self.look_at_activities(body);
        self.look_at_gates(body);
        if let EntryBody::TimerStarted(it) = body {
            self.timers.insert(it.said.command);
            let runs = it.stamp.fires_at.duration_since(entry.time).as_millis();
            assert_eq!(runs, i128::from(it.said.duration_ms));
        }
        if let EntryBody::TimerCancelled(entries::TimerCancelled { target, .. }) = body {
            self.timers.remove(target);
        }
        if let EntryBody::TimerFired(entries::TimerFired { target }) = body {
            assert!(self.timers.remove(target), "fired twice, or after it was cancelled");
        }
        if body.is_delivery() {
            self.last_delivery = entry.seq;
        }
        self.ended |= body.is_terminal();
    }

    fn look_at_segments(&mut self, body: &EntryBody) {
        match body {
            EntryBody::SegmentWanted(entries::SegmentWanted { segment, .. }) => {
                assert_eq!((*segment, self.holder, self.blocked), (self.segment + 1, None, false));
                self.segment = *segment;
                self.wanted = true;
            }
            EntryBody::JobRecorded(entries::JobRecorded { segment, .. }) => {
                assert!(*segment == self.segment && *segment > self.jobs, "two Jobs of one segment");
                self.jobs = *segment;
            }
            EntryBody::Attached(entries::Attached { segment, epoch, .. }) => {
                assert_eq!((self.holder, *epoch, *segment), (None, self.epoch + 1, self.jobs));
                assert_eq!(self.segment, self.jobs, "the next segment was already wanted");
                self.epoch = *epoch;
                self.holder = Some(*epoch);
                self.under_way.clear();
                self.resting = false;
                self.wanted = false;
            }
            EntryBody::Released(entries::Released { epoch, .. }) => {
                assert_eq!(self.holder, Some(*epoch));
                self.holder = None;
            }
            EntryBody::Parked(entries::Parked { seen_upto, .. }) => {
                assert!(self.holder.is_some() && !self.blocked);
                assert_eq!(*seen_upto, self.last_delivery, "parked without having read everything");
                let busy = self.unfinished.values().any(|it| !it.cancelled);
                assert!(!busy, "parked with an activity under way");
                self.seen_upto = *seen_upto;
                self.resting = true;
            }
            EntryBody::Blocked(entries::Blocked { .. }) => {
                self.blocked = true;
                self.wanted = false;
            }
            EntryBody::RetryRequested(entries::RetryRequested { repeat_effects, .. }) => {
                assert!(self.blocked);
                self.blocked = false;
                self.allowed.extend(repeat_effects);
            }
            _ => {}
        }
    }

    fn look_at_activities(&mut self, body: &EntryBody) {
        match body {
            EntryBody::ActivityScheduled(entries::Stamped { said, stamp }) => {
                if stamp.requires.is_some() {
                    assert!(self.newest_gate.is_some_and(|gate| self.approved.contains(&gate)), "not approved");
                }
                let unfinished = Unfinished {
                    effect: stamp.effect,
                    requires: stamp.requires.is_some(),
                    attempt: 0,
                    cancelled: false,
                };
                self.unfinished.insert(said.command, unfinished);
            }
            EntryBody::ActivityCancelRequested(entries::ActivityCancelRequested { target, .. }) => {
                self.under_way.remove(target);
                if let Some(it) = self.unfinished.get_mut(target) {
                    it.cancelled = true;
                }
            }
            EntryBody::ActivityAttemptFailed(entries::ActivityAttemptFailed { target, .. }) => {
                assert!(self.holder.is_some() && self.unfinished[target].attempt > 0, "failed before it began");
                self.under_way.remove(target);
                self.allowed.insert(*target);
            }
            EntryBody::ActivityStarted(entries::ActivityStarted { target, attempt, .. }) => {
                let it = self.unfinished.get_mut(target).unwrap();
                assert!(self.holder.is_some() && !self.blocked && !it.cancelled && *attempt == it.attempt + 1);
                let free = *attempt == 1 || matches!(it.effect, Effect::None | Effect::Idempotent);
                assert!(self.allowed.remove(target) || free, "an effect was repeated without a person");
                if it.requires {
                    assert!(self.newest_gate.is_some_and(|gate| self.approved.contains(&gate)), "not approved");
                }
                it.attempt = *attempt;
                self.under_way.insert(*target);
                assert!(self.under_way.len() <= RUNNING_MAX);
            }
            EntryBody::ActivityCompleted(entries::ActivityCompleted { target, .. })
            | EntryBody::ActivityFailed(entries::ActivityFailed { target, .. }) => {
                self.under_way.remove(target);
                let ended = self.unfinished.remove(target);
                assert!(
                    self.holder.is_some() && ended.is_some_and(|it| it.attempt > 0),
                    "ended twice, or before it began"
                );
            }
            _ => {}
        }
    }

    fn look_at_gates(&mut self, body: &EntryBody) {
        match body {
            EntryBody::GateOpened(it) => {
                self.open_gates.insert(it.said.command, 1);
                self.newest_gate = Some(it.said.command);
            }
            EntryBody::GateRevised(it) => {
                if let Some(current) = self.open_gates.get_mut(&it.said.target) {
                    assert_eq!(it.stamp.revision, *current + 1);
                    *current = it.stamp.revision;
                }
            }
            EntryBody::GateClosed(entries::GateClosed { target, .. }) => {
                self.open_gates.remove(target);
            }
            EntryBody::GateDecided(entries::GateDecided { target, revision, verb, .. }) => {
                assert_eq!(self.open_gates.remove(target), Some(*revision), "not open, or not what is shown");
                assert!(self.decided.insert(*target), "decided twice");
                if *verb == Verb::Approve {
                    self.approved.insert(*target);
                }
            }
            _ => {}
        }
    }
}

/// As many histories as `PROPTEST_CASES` says, or as take a few seconds.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48);
    ProptestConfig { cases, max_shrink_iters: 400, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_history_keeps_what_must_always_hold(ops in prop::collection::vec(op(), 20..120), handles_cancel in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(handles_cancel).await;
            for op in ops {
                world.step(op).await;
            }
            world.reopen().await;
            world.check_chain().await;
        });
    }
}

/// The histories above are worth something only if a refusal is a refusal: an operator that fails is none.
#[tokio::test]
async fn the_world_tells_refusals_from_failures() {
    let world = World::new(false).await;
    let session = Session { run_id: world.run, epoch: 1, pod_uid: "p".to_owned() };
    let request = AppendRequest { epoch: 1, head: 0, head_hash: None, entries: Vec::new() };
    let refused = world.journal.append(&session, request).await;
    assert!(matches!(refused, Err(JournalError::Refused { .. })));
}
