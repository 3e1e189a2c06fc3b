//! The rules, one by one, on states made only by the machine itself.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::state::IGNORED_MAX;
use super::*;
use crate::protocol::entries;
use crate::protocol::{
    AppendRequest, BlockCode, FailureClass, FinalError, GateCloseCause, GateKind, IgnoredReason, OutputFile, Payload,
    Phase, Pin, PodEntry, RUNNING_MAX, RefusalReason, ReleaseCause, RetryCause, RunSecret, RunTenant, RunTrigger,
    RunWorkflow, RunnerVersions, SegmentCause, Sha256Digest, Verb, WaitKind, WaitTarget,
};

const LIMITS: AppendLimits = AppendLimits { inline_max: 1000, entry_max: 4000, entries_max: 100, bytes_max: 1 << 20 };

/// A run and its time; every outcome becomes its state, and its entries are checked to be its continuation.
struct Sim {
    state: RunState,
    now: Timestamp,
    entries: Vec<Entry>,
    acts: u32,
}

impl Sim {
    fn new() -> Self {
        Self::pinned(&json!({}))
    }

    /// With more in its pin.
    fn pinned(more: &serde_json::Value) -> Self {
        let now = "2026-10-05T08:00:00Z".parse().unwrap();
        let mut pin = json!({"activities": {
            "look": {"effect": "none"},
            "save": {"effect": "idempotent"},
            "post": {"effect": "external", "requires": "review"},
            "mail": {"effect": "external"},
        }});
        pin.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let run = entries::RunCreated {
            run_id: Uuid::from_u128(1),
            namespace: "acme".to_owned(),
            tenant: RunTenant { slug: "acme".to_owned(), namespace_uid: "acme".to_owned() },
            name: "nav-1".to_owned(),
            workflow: RunWorkflow { name: "nav".to_owned(), uid: "w".to_owned() },
            slot: None,
            trigger: RunTrigger { kind: "Manual".to_owned(), initiator: "ann".to_owned() },
            pin: Pin(pin.as_object().unwrap().clone()),
            input: Payload::inline("{}"),
        };
        let made = create(run, RunSecret::from_bytes([7; 32]), now).unwrap();
        Self { state: made.state, now, entries: made.entries, acts: 0 }
    }

    /// A run whose first pod is attached.
    fn running() -> Self {
        let mut sim = Self::new();
        sim.attach_next();
        sim
    }

    fn take<R>(&mut self, outcome: Consequence<R>) -> Result<R, Refusal> {
        self.entries.extend(outcome.entries);
        assert_eq!(RunState::replay(RunSecret::from_bytes([7; 32]), &self.entries).unwrap(), outcome.state);
        self.state = outcome.state;
        outcome.reply
    }

    fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    fn attach(&mut self, pod: &str, job: &str) -> Result<Attachment, ErrorCode> {
        self.attach_as(pod, job, 1, 1, false)
    }

    fn attach_as(&mut self, pod: &str, job: &str, min: u32, max: u32, behind: bool) -> Result<Attachment, ErrorCode> {
        let versions = RunnerVersions {
            runtime: "1".to_owned(),
            protocol_min: min,
            protocol_max: max,
            python: "3.13".to_owned(),
            sdk: "0.1.2".to_owned(),
        };
        let pod_uid = pod.to_owned();
        let it = Attach { pod_name: pod.to_owned(), pod_uid, job_uid: job.to_owned(), versions, behind };
        self.take(attach(&self.state, &it, self.now)).map_err(|refusal| refusal.code)
    }

    fn job(&mut self) -> String {
        let segment = self.state.wanted().unwrap().segment;
        let uid = format!("job{segment}");
        self.take(job_recorded(&self.state, segment, (&uid, &uid, "t"), self.now)).unwrap();
        uid
    }

    /// Records the Job of the wanted segment and attaches a pod of it.
    fn attach_next(&mut self) {
        let job = self.job();
        self.attach(&format!("pod-of-{job}"), &job).unwrap();
    }

    fn append(&mut self, entries: Vec<PodEntry>) -> Result<(), ErrorCode> {
        let pod = self.state.last_pod.clone();
        self.append_as(&pod, self.state.epoch, entries)
    }

    fn append_as(&mut self, pod_uid: &str, epoch: u64, entries: Vec<PodEntry>) -> Result<(), ErrorCode> {
        let request = AppendRequest { epoch, head: self.state.length - 1, head_hash: None, entries };
        let has_blob = |blob: Sha256Digest| blob == Sha256Digest::of(b"there");
        let it = Append { pod_uid, request: &request, has_blob: &has_blob, limits: LIMITS };
        self.take(append(&self.state, &it, self.now)).map_err(|refusal| refusal.code)
    }

    fn ok(&mut self, entries: Vec<PodEntry>) {
        self.append(entries).unwrap();
    }

    fn schedule(&self, activity: &str) -> PodEntry {
        PodEntry::ActivityScheduled(entries::ActivityScheduled {
            command: self.state.next_command,
            seen_upto: self.state.last_delivery(),
            activity: activity.to_owned(),
            step: None,
            args: Payload::inline("[]"),
            timeout_ms: None,
        })
    }

    fn gate(&self, due_ms: Option<u64>) -> PodEntry {
        PodEntry::GateOpened(entries::GateOpened {
            command: self.state.next_command,
            seen_upto: self.state.last_delivery(),
            step: "review".to_owned(),
            kind: GateKind::Review,
            component: "DATA_TABLE".to_owned(),
            actions: vec!["approve".to_owned(), "reject".to_owned()],
            due_ms,
            content: Payload::inline("{\"rows\":[]}"),
        })
    }

    fn timer(&self, seconds: u64, offset: u64) -> PodEntry {
        let (command, seen_upto) = (self.state.next_command + offset, self.state.last_delivery());
        PodEntry::TimerStarted(entries::TimerStarted { command, seen_upto, duration_ms: seconds * 1000 })
    }

    fn parked(&self) -> PodEntry {
        let waiting_for = vec![WaitTarget { kind: WaitKind::Gate, target: Some(0), step: None, name: None }];
        PodEntry::Parked(entries::Parked { seen_upto: self.state.last_delivery(), waiting_for })
    }

    fn finish(&self) -> PodEntry {
        let (command, seen_upto) = (self.state.next_command, self.state.last_delivery());
        PodEntry::RunCompleted(entries::RunCompleted { command, seen_upto, result: Payload::inline("1") })
    }

    fn act(
        &mut self,
        run: impl FnOnce(&RunState, &str, Timestamp) -> Consequence<UserActionOutcome>,
    ) -> Result<u64, String> {
        self.acts += 1;
        let act = format!("act{}", self.acts);
        match self.take(run(&self.state, &act, self.now)).unwrap() {
            UserActionOutcome::Applied { seq } => Ok(seq),
            UserActionOutcome::Refused { reason, .. } => Err(reason),
        }
    }

    fn decide(&mut self, verb: Verb, change: impl FnOnce(&mut GateDecision<Payload>)) -> Result<u64, String> {
        let gate = self.state.gates.values().next_back().unwrap();
        let mut it = GateDecision {
            gate_id: gate.id,
            revision: gate.revision,
            digest: Some(gate.content_digest.clone()),
            verb,
            actor: "bob".to_owned(),
            groups: Vec::new(),
            user_action: String::new(),
            acted_at: self.now,
            comment: None,
            correction: None,
        };
        change(&mut it);
        self.act(|state, act, now| decide(state, &GateDecision { user_action: act.to_owned(), ..it }, now))
    }

    fn signal(&mut self, name: &str) -> Result<u64, String> {
        let name = name.to_owned();
        self.act(|state, act, now| {
            let args = Payload::inline("[]");
            signal(state, &SignalIn { name, args, actor: "bob".to_owned(), user_action: act.to_owned() }, now)
        })
    }

    fn retry(&mut self, repeats: &[u64]) -> Result<u64, String> {
        let repeats = repeats.to_vec();
        self.act(|state, act, now| {
            retry(state, &Retry { actor: "bob".to_owned(), user_action: act.to_owned(), repeat_effects: repeats }, now)
        })
    }

    fn cancel(&mut self) -> Result<u64, String> {
        self.act(|state, act, now| cancel(state, act, "bob", now))
    }

    fn job_gone(&mut self) {
        self.take(job_gone(&self.state, self.state.segment, self.now)).unwrap();
    }

    fn last(&self) -> &EntryBody {
        &self.entries.last().unwrap().body
    }

    fn blocked(&self) -> Option<BlockCode> {
        self.state.blocked.as_ref().map(|blocked| blocked.code)
    }
}

fn release(cause: ReleaseCause) -> PodEntry {
    PodEntry::Released(entries::PodReleased { epoch: None, cause })
}

fn completed(target: u64, attempt: u32) -> PodEntry {
    PodEntry::ActivityCompleted(entries::ActivityCompleted {
        target,
        attempt,
        result: Payload::inline("2"),
        outputs: Vec::new(),
    })
}

fn attempt_failed(target: u64, attempt: u32) -> PodEntry {
    PodEntry::ActivityAttemptFailed(entries::ActivityAttemptFailed {
        target,
        attempt,
        error: FailureClass { class: "IOError".to_owned() },
        detail: Payload::inline("\"secret\""),
        retry_after_ms: 1000,
    })
}

fn failed(target: u64, attempt: u32) -> PodEntry {
    let error = FinalError { class: "IOError".to_owned(), non_retryable: true };
    PodEntry::ActivityFailed(entries::ActivityFailed { target, attempt, error, detail: Payload::inline("\"secret\"") })
}

fn started(target: u64) -> PodEntry {
    PodEntry::ActivityStarted(entries::ActivityStarted { target, attempt: 1, cause: None })
}

fn retried(target: u64, attempt: u32, cause: RetryCause) -> PodEntry {
    PodEntry::ActivityStarted(entries::ActivityStarted { target, attempt, cause: Some(cause) })
}

#[test]
fn a_run_goes_from_pending_to_succeeded() {
    let mut sim = Sim::new();
    assert_eq!(sim.state.phase(), Phase::Pending);
    let job = sim.job();
    assert_eq!(sim.state.phase(), Phase::Queued);
    sim.attach("p", &job).unwrap();
    assert_eq!(sim.state.phase(), Phase::Running);
    sim.ok(vec![sim.schedule("look"), started(0)]);
    sim.ok(vec![completed(0, 1)]);
    sim.ok(vec![sim.finish()]);
    sim.ok(vec![release(ReleaseCause::Finished)]);
    assert_eq!(sim.state.phase(), Phase::Succeeded);
    assert_eq!(sim.state.segment_state, SegmentState::Over);
    assert_eq!(sim.attach("p", &job), Err(ErrorCode::Sealed));
    assert_eq!(sim.append(vec![sim.schedule("look")]), Err(ErrorCode::Sealed));
}

#[test]
fn attach_waits_for_the_job_and_the_previous_holder() {
    let mut sim = Sim::new();
    assert_eq!(sim.attach("p", "job1"), Err(ErrorCode::NotYet));
    sim.job();
    assert_eq!(sim.attach("p", "other"), Err(ErrorCode::Fenced));
    assert_eq!(sim.attach("p", "job1").unwrap().epoch, 1);
    let length = sim.state.length;
    assert_eq!(sim.attach("p", "job1").unwrap().epoch, 1, "the same pod keeps its epoch");
    assert_eq!(sim.state.length, length);
    assert_eq!(sim.attach("q", "job1"), Err(ErrorCode::NotYet));
    sim.job_gone();
    assert_eq!(sim.attach("q", "job1"), Err(ErrorCode::Fenced), "segment 2 is wanted");
    sim.job();
    assert_eq!(sim.attach("r", "job2").unwrap(), Attachment { epoch: 2, segment: 2 });
}

#[test]
fn runners_without_a_common_protocol_block_the_run() {
    for (min, max, code) in [(0, 0, BlockCode::RuntimeTooOld), (2, 3, BlockCode::RuntimeTooNew)] {
        let mut sim = Sim::new();
        let job = sim.job();
        assert_eq!(sim.attach_as("p", &job, min, max, false), Err(ErrorCode::Version));
        assert_eq!(sim.blocked(), Some(code));
    }
    let mut sim = Sim::new();
    let job = sim.job();
    sim.attach_as("p", &job, 0, 9, false).unwrap();
}

#[test]
fn a_journal_that_is_behind_is_never_replayed() {
    let mut sim = Sim::new();
    let job = sim.job();
    assert_eq!(sim.attach_as("p", &job, 1, 1, true), Err(ErrorCode::Fenced));
    assert_eq!(sim.blocked(), Some(BlockCode::JournalBehind));
    assert_eq!(sim.attach("p", &job), Err(ErrorCode::Fenced));
}

#[test]
fn what_was_acknowledged_is_accepted_again_and_other_content_is_not() {
    let mut sim = Sim::running();
    let first = vec![sim.schedule("look"), started(0), sim.timer(5, 1)];
    sim.ok(first.clone());
    let length = sim.state.length;
    sim.ok(first);
    assert_eq!(sim.state.length, length);
    let mut other = Sim::new();
    other.state.next_command = 0;
    assert_eq!(sim.append(vec![other.schedule("save")]), Err(ErrorCode::Diverged));
    sim.ok(vec![completed(0, 1)]);
    let length = sim.state.length;
    sim.ok(vec![completed(0, 1)]);
    assert_eq!(sim.state.length, length);
    assert_eq!(sim.append(vec![failed(0, 1)]), Err(ErrorCode::Diverged));
    let end = vec![sim.finish(), release(ReleaseCause::Finished)];
    sim.ok(end.clone());
    let length = sim.state.length;
    sim.ok(end);
    assert_eq!(sim.state.length, length);
}

#[test]
fn a_later_holder_cannot_have_an_intent_acknowledged_again() {
    let mut sim = Sim::running();
    let intent = sim.schedule("mail");
    sim.ok(vec![intent.clone(), started(0)]);
    sim.job_gone();
    sim.retry(&[0]).unwrap();
    sim.attach_next();
    assert_eq!(sim.append(vec![intent]), Err(ErrorCode::Diverged));
    assert_eq!(sim.append(vec![started(0)]), Err(ErrorCode::Invalid));
}

#[test]
fn an_append_is_written_whole_or_not_at_all() {
    let mut sim = Sim::running();
    let length = sim.state.length;
    assert_eq!(sim.append(vec![sim.schedule("look"), sim.timer(1, 2)]), Err(ErrorCode::Invalid));
    assert_eq!(sim.state.length, length);
}

#[test]
fn an_old_epoch_writes_nothing_but_evidence() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.schedule("look"), started(0)]);
    sim.job_gone();
    sim.attach_next();
    let length = sim.state.length;
    let old = "pod-of-job1";
    assert_eq!(sim.append_as(old, 1, vec![sim.schedule("look")]), Err(ErrorCode::Fenced));
    assert_eq!(sim.state.length, length);
    assert_eq!(sim.append_as(old, 1, vec![completed(0, 1)]), Err(ErrorCode::Fenced));
    assert!(matches!(sim.last(), EntryBody::LateCompletion(entries::LateCompletion { epoch: 1, .. })));
    let length = sim.state.length;
    assert_eq!(sim.append_as(old, 1, vec![completed(0, 1)]), Err(ErrorCode::Fenced));
    assert_eq!(sim.state.length, length, "once");
    assert_eq!(sim.append_as("stranger", 2, vec![sim.schedule("look")]), Err(ErrorCode::Fenced));
    assert_eq!(sim.append_as("stranger", 3, Vec::new()), Err(ErrorCode::Fenced));
}

#[test]
fn commands_have_seen_only_deliveries_and_never_fewer() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.schedule("look"), started(0)]);
    sim.ok(vec![completed(0, 1)]);
    let seen = sim.state.last_delivery();
    let steps =
        |command, seen_upto| PodEntry::StepsChanged(entries::StepsChanged { command, seen_upto, steps: Vec::new() });
    assert_eq!(sim.append(vec![steps(1, seen - 1)]), Err(ErrorCode::Invalid));
    sim.ok(vec![steps(1, 0)]);
    sim.ok(vec![steps(2, seen)]);
    assert_eq!(sim.append(vec![steps(3, 0)]), Err(ErrorCode::Invalid));
    sim.signal("go").unwrap();
    sim.ok(vec![steps(3, seen)]);
}

#[test]
fn targets_must_be_there() {
    let mut sim = Sim::running();
    let (command, seen_upto) = (0, 0);
    for entry in [
        PodEntry::TimerCancelled(entries::TimerCancelled { command, seen_upto, target: 0 }),
        PodEntry::ActivityCancelRequested(entries::ActivityCancelRequested { command, seen_upto, target: 0 }),
        PodEntry::GateClosed(entries::GateClosed { command, seen_upto, target: 0, cause: GateCloseCause::Satisfied }),
        PodEntry::GateRevised(entries::GateRevised { command, seen_upto, target: 0, content: Payload::inline("1") }),
        completed(0, 1),
        retried(0, 2, RetryCause::Failure),
    ] {
        assert_eq!(sim.append(vec![entry]), Err(ErrorCode::Invalid));
    }
}

#[test]
fn sizes_and_blobs_are_checked() {
    let mut sim = Sim::running();
    let with = |sim: &Sim, args| match sim.schedule("look") {
        PodEntry::ActivityScheduled(entries::ActivityScheduled {
            command,
            seen_upto,
            activity,
            step,
            timeout_ms,
            ..
        }) => PodEntry::ActivityScheduled(entries::ActivityScheduled {
            command,
            seen_upto,
            activity,
            step,
            args,
            timeout_ms,
        }),
        other => other,
    };
    let long = Payload::inline(format!("\"{}\"", "x".repeat(1000)));
    assert_eq!(sim.append(vec![with(&sim, long)]), Err(ErrorCode::TooLarge));
    assert_eq!(sim.append(vec![with(&sim, Payload::inline("{"))]), Err(ErrorCode::Invalid));
    let missing = Payload::Blob { blob: Sha256Digest::of(b"not there"), size: 9 };
    assert_eq!(sim.append(vec![with(&sim, missing)]), Err(ErrorCode::BlobMissing));
    let there = Payload::Blob { blob: Sha256Digest::of(b"there"), size: 5 };
    sim.ok(vec![with(&sim, there), started(0)]);
    let output = |content: &[u8]| OutputFile {
        name: "nav.xlsx".to_owned(),
        digest: Sha256Digest::of(content),
        size: 5,
        media_type: "x/y".to_owned(),
    };
    let done = |content: &[u8]| {
        PodEntry::ActivityCompleted(entries::ActivityCompleted {
            target: 0,
            attempt: 1,
            result: Payload::inline("1"),
            outputs: vec![output(content)],
        })
    };
    assert_eq!(sim.append(vec![done(b"gone")]), Err(ErrorCode::BlobMissing));
    sim.ok(vec![done(b"there")]);
    assert_eq!(sim.state.outputs["nav.xlsx"], output(b"there"));
}

#[test]
fn a_full_journal_blocks_the_run_but_still_takes_completions() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.schedule("look"), started(0)]);
    while sim.state.length < LIMITS.entries_max {
        sim.ok(vec![sim.timer(1, 0)]);
    }
    assert_eq!(sim.append(vec![sim.timer(1, 0)]), Err(ErrorCode::TooLarge));
    assert_eq!(sim.blocked(), Some(BlockCode::TooLarge));
    sim.ok(vec![completed(0, 1), release(ReleaseCause::Blocked)]);
}

#[test]
fn parking_needs_everything_read_and_nothing_under_way() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.gate(None)]);
    let stale = sim.parked();
    sim.signal("hello").unwrap();
    assert_eq!(sim.append(vec![stale]), Err(ErrorCode::Unread));
    sim.ok(vec![sim.schedule("look")]);
    assert_eq!(sim.append(vec![sim.parked()]), Err(ErrorCode::Invalid), "it is to begin");
    sim.ok(vec![started(1)]);
    assert_eq!(sim.append(vec![sim.parked()]), Err(ErrorCode::Invalid), "it runs");
    sim.ok(vec![attempt_failed(1, 1)]);
    assert_eq!(sim.append(vec![sim.parked()]), Err(ErrorCode::Invalid), "it is to be attempted again");
    assert_eq!(sim.append(vec![release(ReleaseCause::Parked)]), Err(ErrorCode::Invalid), "not parked");
    sim.ok(vec![failed(1, 1)]);
    sim.ok(vec![sim.parked()]);
    assert_eq!(sim.state.phase(), Phase::Waiting);
    assert_eq!(sim.state.waiting_for().len(), 1);
    sim.signal("again").unwrap();
    assert_eq!(sim.state.phase(), Phase::Running, "it goes on in place");
    assert_eq!(sim.append(vec![release(ReleaseCause::Parked)]), Err(ErrorCode::Unread));
    sim.ok(vec![sim.parked()]);
    sim.ok(vec![release(ReleaseCause::Parked)]);
    assert_eq!(sim.state.segment_state, SegmentState::Over);
    assert_eq!(sim.state.phase(), Phase::Waiting);
}

#[test]
fn an_ignored_signal_is_written_once() {
    let mut sim = Sim::running();
    let ignored = |signal, reason| PodEntry::SignalIgnored(entries::SignalIgnored { signal, reason });
    let first = sim.signal("nobody").unwrap();
    assert_eq!(
        sim.append(vec![ignored(first + 1, IgnoredReason::UnknownName)]),
        Err(ErrorCode::Invalid),
        "no delivery"
    );
    sim.ok(vec![ignored(first, IgnoredReason::UnknownName)]);
    let length = sim.state.length;
    sim.ok(vec![ignored(first, IgnoredReason::UnknownName), ignored(first, IgnoredReason::ArgumentsDoNotFit)]);
    assert_eq!(sim.state.length, length, "said twice, written twice");
    for _ in 0..IGNORED_MAX {
        let signal = sim.signal("hello").unwrap();
        sim.ok(vec![ignored(signal, IgnoredReason::ArgumentsDoNotFit)]);
    }
    assert_eq!(sim.state.ignored_signals.len(), IGNORED_MAX, "the newest");
    let length = sim.state.length;
    sim.ok(vec![ignored(first, IgnoredReason::UnknownName)]);
    assert_eq!(sim.state.length, length, "nor once the state has forgotten it");
    assert!(sim.state.ignored_signals.iter().all(|it| it.reason == IgnoredReason::ArgumentsDoNotFit));
}

#[test]
fn a_delivery_wakes_a_released_run_once() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.gate(None)]);
    sim.ok(vec![sim.parked(), release(ReleaseCause::Parked)]);
    sim.signal("one").unwrap();
    assert_eq!(sim.state.wanted().unwrap().cause, SegmentCause::Wake);
    sim.decide(Verb::Approve, |_| {}).unwrap();
    assert_eq!(sim.state.segment, 2);
    sim.attach_next();
    assert_eq!(sim.state.phase(), Phase::Running);
    assert_eq!(sim.append(vec![release(ReleaseCause::Parked)]), Err(ErrorCode::Invalid), "the rest was before");
}

#[test]
fn a_pod_lost_while_lingering_costs_nothing_unless_something_came() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.gate(None)]);
    sim.ok(vec![sim.parked()]);
    let mut told = Sim { state: sim.state.clone(), entries: sim.entries.clone(), ..Sim::new() };
    sim.job_gone();
    assert_eq!((sim.state.segment_state.clone(), sim.state.phase()), (SegmentState::Over, Phase::Waiting));
    told.now = sim.now;
    told.signal("hello").unwrap();
    told.job_gone();
    assert_eq!(told.state.wanted().unwrap().cause, SegmentCause::Lost);
}

#[test]
fn lost_segments_back_off_and_end_in_a_block() {
    let mut sim = Sim::new();
    for attempt in 0..ATTEMPTS_MAX {
        sim.attach_next();
        sim.job_gone();
        let wanted = sim.state.wanted().unwrap();
        assert_eq!((wanted.cause, wanted.not_before), (SegmentCause::Lost, sim.now + backoff(attempt)));
    }
    sim.job();
    sim.job_gone();
    assert_eq!(sim.blocked(), Some(BlockCode::AttemptsExhausted));
    sim.retry(&[]).unwrap();
    assert_eq!((sim.state.attempts, sim.state.wanted().unwrap().cause), (0, SegmentCause::Retry));
}

#[test]
fn progress_resets_the_attempts_and_a_further_attempt_is_none() {
    let mut sim = Sim::running();
    sim.job_gone();
    sim.attach_next();
    assert_eq!(sim.state.attempts, 1);
    sim.ok(vec![sim.schedule("look")]);
    assert_eq!(sim.state.attempts, 0);
    sim.job_gone();
    sim.attach_next();
    sim.ok(vec![started(0)]);
    assert_eq!(sim.state.attempts, 1, "an intent is no progress");
    sim.job_gone();
    sim.attach_next();
    sim.ok(vec![retried(0, 2, RetryCause::Crash)]);
    assert_eq!(sim.state.attempts, 2);
    sim.ok(vec![completed(0, 2)]);
    assert_eq!(sim.state.attempts, 0);
}

#[test]
fn an_eviction_and_an_outage_are_no_attempt_and_say_nothing_about_another_segment() {
    for gone in [evicted, outage] {
        let mut sim = Sim::running();
        for round in 1..=ATTEMPTS_MAX + 1 {
            sim.take(gone(&sim.state, sim.state.segment + 1, sim.now)).unwrap();
            assert!(sim.state.holder().is_some());
            sim.take(gone(&sim.state, sim.state.segment, sim.now)).unwrap();
            let wanted = sim.state.wanted().unwrap();
            assert_eq!((wanted.segment, wanted.not_before, sim.state.attempts), (1 + round, sim.now, 0));
            sim.attach_next();
        }
    }
}

#[test]
fn a_pod_that_cannot_even_attach_for_an_outage_is_no_attempt() {
    let mut sim = Sim::running();
    sim.take(outage(&sim.state, 1, sim.now)).unwrap();
    let mut waits = Vec::new();
    for _ in 0..=ATTEMPTS_MAX {
        let segment = sim.state.wanted().unwrap().segment;
        sim.take(job_recorded(&sim.state, segment, ("j", "u", "t"), sim.now)).unwrap();
        sim.take(outage(&sim.state, segment, sim.now)).unwrap();
        waits.push(sim.state.wanted().unwrap().not_before.duration_since(sim.now).as_secs());
    }
    assert_eq!((sim.state.attempts, sim.blocked()), (0, None));
    assert_eq!(waits, [0, 5, 10, 20, 40, 80, 160, 300, 300]);
    sim.attach_next();
    assert_eq!(sim.state.unattached, 0);
}

#[test]
fn an_outage_in_the_middle_of_an_effect_asks_a_person() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.schedule("mail"), started(0)]);
    sim.take(outage(&sim.state, 1, sim.now)).unwrap();
    assert_eq!(sim.blocked(), Some(BlockCode::EffectUnknown));
}

#[test]
fn an_unknown_effect_is_asked_about_and_repeated_once_per_permission() {
    for activity in ["mail", "nowhere-declared"] {
        let mut sim = Sim::running();
        sim.ok(vec![sim.schedule(activity), started(0)]);
        sim.job_gone();
        assert_eq!(sim.blocked(), Some(BlockCode::EffectUnknown));
        assert_eq!(sim.retry(&[]), Err(RefusalReason::EffectUnknown.to_string()));
        assert_eq!(sim.retry(&[0, 7]), Err(RefusalReason::NothingToRepeat.to_string()));
        sim.retry(&[0]).unwrap();
        sim.attach_next();
        assert_eq!(sim.append(vec![retried(0, 3, RetryCause::Crash)]), Err(ErrorCode::Invalid));
        sim.ok(vec![retried(0, 2, RetryCause::Crash)]);
        assert_eq!(sim.append(vec![retried(0, 3, RetryCause::Crash)]), Err(ErrorCode::NotAllowedToRepeat));
        sim.job_gone();
        assert_eq!(sim.blocked(), Some(BlockCode::EffectUnknown), "the permission is used up");
    }
}

#[test]
fn what_has_not_begun_is_not_unknown_and_begins_once() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.schedule("mail")]);
    assert_eq!(sim.append(vec![completed(0, 1)]), Err(ErrorCode::Invalid));
    assert_eq!(sim.append(vec![completed(0, 0)]), Err(ErrorCode::Invalid));
    assert_eq!(sim.append(vec![retried(0, 1, RetryCause::Crash)]), Err(ErrorCode::Invalid));
    sim.job_gone();
    assert_eq!(sim.blocked(), None, "nobody has begun it");
    sim.attach_next();
    sim.ok(vec![started(0)]);
    let length = sim.state.length;
    sim.ok(vec![started(0)]);
    assert_eq!(sim.state.length, length, "said twice");
    let without = PodEntry::ActivityStarted(entries::ActivityStarted { target: 0, attempt: 2, cause: None });
    assert_eq!(sim.append(vec![without]), Err(ErrorCode::Invalid));
    sim.job_gone();
    assert_eq!(sim.blocked(), Some(BlockCode::EffectUnknown));
}

#[test]
fn as_many_effects_are_unknown_as_may_be_under_way() {
    let mut sim = Sim::running();
    let max = u64::try_from(RUNNING_MAX).unwrap();
    for target in 0..=max {
        sim.ok(vec![sim.schedule("mail")]);
        let began = sim.append(vec![started(target)]);
        assert_eq!(began, if target < max { Ok(()) } else { Err(ErrorCode::Invalid) });
    }
    sim.ok(vec![completed(3, 1), started(max)]);
    sim.job_gone();
    let unknown: Vec<u64> = (0..=max).filter(|target| *target != 3).collect();
    sim.retry(&unknown).unwrap();
    sim.attach_next();
    // Those that may be repeated wait while others begin and are lost.
    for target in 0..max {
        sim.ok(vec![sim.schedule("mail"), started(max + 1 + target)]);
    }
    sim.job_gone();
    assert_eq!(sim.state.activities.values().filter(|it| it.unknown_effect()).count(), RUNNING_MAX);
}

#[test]
fn an_approval_must_count_where_the_effect_begins() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.gate(None)]);
    sim.decide(Verb::Approve, |_| {}).unwrap();
    sim.ok(vec![sim.schedule("post")]);
    sim.ok(vec![sim.gate(None)]);
    assert_eq!(sim.append(vec![started(1)]), Err(ErrorCode::RequirementNotMet), "somebody is asked again");
    assert_eq!(sim.blocked(), Some(BlockCode::RequirementNotMet));
    sim.ok(vec![release(ReleaseCause::Blocked)]);
    sim.decide(Verb::Approve, |_| {}).unwrap();
    sim.retry(&[]).unwrap();
    sim.attach_next();
    sim.ok(vec![started(1)]);
}

#[test]
fn a_reported_failure_may_be_attempted_again_and_is_not_unknown() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.schedule("mail"), started(0)]);
    assert_eq!(sim.append(vec![retried(0, 2, RetryCause::Failure)]), Err(ErrorCode::Invalid));
    assert_eq!(sim.append(vec![retried(0, 2, RetryCause::Crash)]), Err(ErrorCode::NotAllowedToRepeat));
    let again = vec![attempt_failed(0, 1), retried(0, 2, RetryCause::Failure)];
    sim.ok(again.clone());
    let length = sim.state.length;
    sim.ok(again);
    assert_eq!(sim.state.length, length);
    sim.ok(vec![attempt_failed(0, 2)]);
    sim.job_gone();
    assert_eq!(sim.blocked(), None);
    sim.attach_next();
    sim.ok(vec![failed(0, 2)]);
    assert_eq!(sim.append(vec![retried(0, 3, RetryCause::Failure)]), Err(ErrorCode::Invalid));
}

#[test]
fn repeatable_effects_go_on_after_a_crash_and_cancelled_ones_are_no_question() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.schedule("save"), started(0)]);
    sim.ok(vec![sim.schedule("mail"), started(1)]);
    sim.ok(vec![PodEntry::ActivityCancelRequested(entries::ActivityCancelRequested {
        command: 2,
        seen_upto: 0,
        target: 1,
    })]);
    sim.job_gone();
    assert_eq!(sim.blocked(), None);
    sim.attach_next();
    sim.ok(vec![retried(0, 2, RetryCause::Crash)]);
    assert_eq!(sim.append(vec![retried(1, 2, RetryCause::Crash)]), Err(ErrorCode::Invalid));
}

#[test]
fn an_activity_starts_only_if_the_newest_gate_of_its_step_was_approved() {
    let mut sim = Sim::running();
    assert_eq!(sim.append(vec![sim.schedule("look"), started(0), sim.timer(1, 1)]), Ok(()));
    let PodEntry::ActivityScheduled(entries::ActivityScheduled { args, .. }) = sim.schedule("post") else {
        unreachable!()
    };
    let post = |sim: &Sim, offset: u64| {
        PodEntry::ActivityScheduled(entries::ActivityScheduled {
            command: sim.state.next_command + offset,
            seen_upto: sim.state.last_delivery(),
            activity: "post".to_owned(),
            step: None,
            args: args.clone(),
            timeout_ms: None,
        })
    };
    let mut ungated = Sim { state: sim.state.clone(), entries: sim.entries.clone(), ..Sim::new() };
    ungated.now = sim.now;
    let request = vec![completed(0, 1), post(&ungated, 0)];
    assert_eq!(ungated.append(request), Err(ErrorCode::RequirementNotMet));
    assert_eq!(ungated.blocked(), Some(BlockCode::RequirementNotMet));
    assert_eq!(ungated.state.activities[&0].state, ActivityState::Completed, "what came before stands");
    sim.ok(vec![sim.gate(None)]);
    sim.decide(Verb::Approve, |_| {}).unwrap();
    sim.ok(vec![sim.gate(None)]);
    let mut rejected = Sim { state: sim.state.clone(), entries: sim.entries.clone(), ..Sim::new() };
    rejected.now = sim.now;
    let mut undecided = Sim { state: sim.state.clone(), entries: sim.entries.clone(), ..Sim::new() };
    undecided.now = sim.now;
    assert_eq!(undecided.append(vec![post(&undecided, 0)]), Err(ErrorCode::RequirementNotMet));
    rejected.decide(Verb::Reject, |it| it.user_action = "r".to_owned()).unwrap();
    assert_eq!(rejected.append(vec![post(&rejected, 0)]), Err(ErrorCode::RequirementNotMet));
    sim.acts = 50;
    sim.decide(Verb::Approve, |_| {}).unwrap();
    sim.ok(vec![post(&sim, 0)]);
    assert_eq!(sim.state.activities.values().next_back().unwrap().requires.as_deref(), Some("review"));
}

#[test]
fn a_gate_is_decided_once_and_only_as_it_is_shown() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.gate(None)]);
    let gate = sim.state.gates[&0].clone();
    assert_eq!(sim.decide(Verb::Approve, |it| it.gate_id = Uuid::nil()), Err(RefusalReason::UnknownGate.to_string()));
    sim.ok(vec![PodEntry::GateRevised(entries::GateRevised {
        command: 1,
        seen_upto: 0,
        target: 0,
        content: Payload::inline("[1]"),
    })]);
    assert_eq!(sim.state.gates[&0].revision, 2);
    assert_ne!(sim.state.gates[&0].content_digest, gate.content_digest);
    assert_eq!(sim.decide(Verb::Approve, |it| it.revision = 1), Err(RefusalReason::Superseded.to_string()));
    let digest = Some(gate.content_digest);
    assert_eq!(sim.decide(Verb::Approve, |it| it.digest = digest), Err(RefusalReason::Superseded.to_string()));
    assert_eq!(sim.decide(Verb::Submit, |_| {}), Err(RefusalReason::NotOffered.to_string()));
    sim.decide(Verb::Reject, |_| {}).unwrap();
    assert_eq!(sim.decide(Verb::Approve, |_| {}), Err(RefusalReason::AlreadyDecided.to_string()));
    let seen_upto = sim.state.last_delivery();
    sim.ok(vec![PodEntry::GateClosed(entries::GateClosed {
        command: 2,
        seen_upto,
        target: 0,
        cause: GateCloseCause::Decided,
    })]);
    assert_eq!(sim.state.gates[&0].state, GateProgress::Decided);
    assert_eq!(sim.state.gates[&0].decision.as_ref().unwrap().verb, Verb::Reject);
}

#[test]
fn an_act_has_one_outcome_however_often_it_is_asked() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.gate(None)]);
    let first = sim.decide(Verb::Approve, |_| {});
    sim.acts -= 1;
    let length = sim.state.length;
    assert_eq!(sim.decide(Verb::Reject, |_| {}), first);
    sim.acts -= 1;
    assert_eq!(sim.cancel(), first);
    assert_eq!(sim.state.length, length);
    let refused = sim.signal("user_action");
    assert_eq!(refused, Err(RefusalReason::Reserved.to_string()));
    sim.acts -= 1;
    let length = sim.state.length;
    assert_eq!(sim.signal("fine"), refused);
    assert_eq!(sim.state.length, length);
}

#[test]
fn closed_and_expired_gates_take_no_decision() {
    for (cause, why) in
        [(GateCloseCause::Satisfied, RefusalReason::Closed), (GateCloseCause::Expired, RefusalReason::Expired)]
    {
        let mut sim = Sim::running();
        sim.ok(vec![sim.gate(None)]);
        sim.ok(vec![PodEntry::GateClosed(entries::GateClosed { command: 1, seen_upto: 0, target: 0, cause })]);
        assert_eq!(sim.decide(Verb::Approve, |_| {}), Err(why.to_string()));
    }
}

#[test]
fn the_deadline_of_a_gate_is_what_workflow_code_was_told() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.gate(Some(10_000)), sim.timer(10, 1)]);
    sim.ok(vec![sim.parked(), release(ReleaseCause::Parked)]);
    let due = sim.state.gates[&0].due.unwrap();
    assert_eq!(sim.state.next_timer(), Some(due));
    sim.pass(11);
    let mut in_time = Sim { state: sim.state.clone(), entries: sim.entries.clone(), ..Sim::new() };
    in_time.now = sim.now;
    in_time.decide(Verb::Approve, |it| it.acted_at = due).unwrap();
    let now = sim.now;
    assert_eq!(sim.decide(Verb::Approve, |it| it.acted_at = now), Err(RefusalReason::Expired.to_string()), "too late");
    assert_eq!(sim.take(fire_timers(&sim.state, sim.now)), Ok(1));
    assert_eq!(sim.state.wanted().unwrap().cause, SegmentCause::Wake);
    assert_eq!(
        sim.decide(Verb::Approve, |it| it.acted_at = due),
        Err(RefusalReason::Expired.to_string()),
        "told otherwise"
    );
}

#[test]
fn timers_fire_in_order_once_and_not_when_cancelled() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.timer(9, 0), sim.timer(3, 1), sim.timer(3, 2), sim.timer(60, 3)]);
    sim.ok(vec![PodEntry::TimerCancelled(entries::TimerCancelled { command: 4, seen_upto: 0, target: 2 })]);
    assert_eq!(sim.take(fire_timers(&sim.state, sim.now)), Ok(0));
    sim.pass(10);
    assert_eq!(sim.take(fire_timers(&sim.state, sim.now)), Ok(2));
    assert_eq!(sim.take(fire_timers(&sim.state, sim.now)), Ok(0));
    let fired: Vec<_> = sim
        .entries
        .iter()
        .filter_map(|entry| match entry.body {
            EntryBody::TimerFired(entries::TimerFired { target }) => Some(target),
            _ => None,
        })
        .collect();
    assert_eq!(fired, [1, 0]);
    assert!(sim.state.next_timer().is_some());
    sim.cancel().unwrap();
    sim.ok(vec![release(ReleaseCause::Cancelled)]);
    assert_eq!(sim.state.next_timer(), None);
}

#[test]
fn cancelling_ends_at_once_or_after_the_grace() {
    let mut idle = Sim::new();
    idle.job();
    idle.cancel().unwrap();
    assert_eq!(idle.state.phase(), Phase::Cancelled);
    assert_eq!(idle.attach("p", "job1"), Err(ErrorCode::Sealed));
    assert_eq!(idle.cancel(), Err(RefusalReason::RunEnded.to_string()));

    let mut sim = Sim::running();
    sim.ok(vec![sim.schedule("mail"), started(0)]);
    sim.cancel().unwrap();
    assert_eq!(sim.state.phase(), Phase::Running);
    assert_eq!(sim.cancel(), Err(RefusalReason::RunCancelled.to_string()));
    assert_eq!(sim.signal("late"), Err(RefusalReason::RunCancelled.to_string()));
    sim.take(cancel_overdue(&sim.state, 0, sim.now)).unwrap();
    assert_eq!(sim.state.phase(), Phase::Running, "that was another holder's");
    sim.take(cancel_overdue(&sim.state, 1, sim.now)).unwrap();
    assert_eq!(sim.state.phase(), Phase::Cancelled);
    assert_eq!(sim.append(vec![completed(0, 1)]), Err(ErrorCode::Sealed));
    assert!(matches!(sim.last(), EntryBody::LateCompletion(entries::LateCompletion { .. })), "evidence is kept");
    assert_eq!(sim.state.phase(), Phase::Cancelled);
}

/// A run that waits at its gate, whose runbook asks to be told of a cancellation; and was cancelled.
fn cancelled_at_a_gate() -> Sim {
    let mut sim = Sim::pinned(&json!({"handlesCancel": true}));
    sim.attach_next();
    sim.ok(vec![sim.gate(None)]);
    sim.ok(vec![sim.parked(), release(ReleaseCause::Parked)]);
    sim.cancel().unwrap();
    sim
}

#[test]
fn a_run_that_asks_to_be_told_of_its_cancellation_gets_a_segment_for_that() {
    let mut sim = cancelled_at_a_gate();
    assert_eq!(sim.state.wanted().unwrap().cause, SegmentCause::Wake);
    assert_eq!(sim.cancel(), Err(RefusalReason::RunCancelled.to_string()));
    assert_eq!(sim.decide(Verb::Approve, |_| {}), Err(RefusalReason::RunCancelled.to_string()));
    assert_eq!(sim.state.cancel_grace_of(), None, "its time runs from when a pod has attached");
    sim.attach_next();
    let mut slow = Sim { state: sim.state.clone(), entries: sim.entries.clone(), ..Sim::new() };
    slow.now = sim.now;
    slow.take(cancel_overdue(&slow.state, 2, slow.now)).unwrap();
    assert_eq!(slow.state.phase(), Phase::Cancelled);
    sim.ok(vec![sim.schedule("save"), started(1)]);
    sim.ok(vec![completed(1, 1)]);
    sim.ok(vec![release(ReleaseCause::Cancelled)]);
    assert_eq!(sim.state.phase(), Phase::Cancelled);
}

#[test]
fn nobody_is_told_of_a_cancellation_who_has_not_begun_or_is_blocked() {
    let told = json!({"handlesCancel": true});
    let mut queued = Sim::pinned(&told);
    queued.job();
    queued.cancel().unwrap();
    assert_eq!(queued.state.phase(), Phase::Cancelled);

    let mut blocked = Sim::pinned(&told);
    blocked.attach_next();
    blocked.take(block(&blocked.state, BlockCode::CodeError, blocked.now)).unwrap();
    blocked.ok(vec![release(ReleaseCause::Blocked)]);
    blocked.cancel().unwrap();
    assert_eq!(blocked.state.phase(), Phase::Cancelled);
}

#[test]
fn a_segment_that_is_to_tell_of_a_cancellation_and_is_lost_is_made_up_for() {
    let mut sim = cancelled_at_a_gate();
    sim.job();
    sim.job_gone();
    assert_eq!(sim.state.wanted().unwrap().cause, SegmentCause::Lost);
    sim.attach_next();
    sim.take(evicted(&sim.state, sim.state.segment, sim.now)).unwrap();
    assert_eq!(sim.state.wanted().unwrap().cause, SegmentCause::Wake);
    sim.attach_next();
    sim.ok(vec![sim.schedule("save"), started(1)]);
    for _ in 0..ATTEMPTS_MAX {
        sim.job_gone();
        assert_eq!(sim.state.wanted().unwrap().cause, SegmentCause::Lost);
        sim.attach_next();
    }
    sim.job_gone();
    assert_eq!(sim.state.phase(), Phase::Cancelled, "as often as any other run");
}

#[test]
fn who_does_not_know_yet_that_the_run_is_cancelled_begins_nothing_more() {
    let mut sim = Sim::running();
    let head = sim.state.length - 1;
    sim.cancel().unwrap();
    let entries = vec![sim.schedule("mail"), started(0)];
    let request = AppendRequest { epoch: 1, head, head_hash: None, entries };
    let pod = sim.state.last_pod.clone();
    let it = Append { pod_uid: &pod, request: &request, has_blob: &|_| true, limits: LIMITS };
    let refused = sim.take(append(&sim.state, &it, sim.now)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unread);
    assert!(sim.state.activities.is_empty(), "all or none");
    sim.ok(vec![sim.schedule("save"), started(0)]);
}

#[test]
fn what_blocks_a_cancelled_run_ends_it() {
    let mut sim = cancelled_at_a_gate();
    sim.job();
    sim.take(block(&sim.state, BlockCode::PendingTimeout, sim.now)).unwrap();
    assert_eq!(sim.state.phase(), Phase::Cancelled, "no pod could be had");

    let mut sim = cancelled_at_a_gate();
    sim.attach_next();
    sim.ok(vec![sim.schedule("mail"), started(1)]);
    sim.job_gone();
    assert_eq!(sim.state.phase(), Phase::Cancelled, "nobody knows whether its effect happened");
    assert!(sim.state.activities[&1].may_have_happened());
}

#[test]
fn a_blocked_run_can_be_cancelled_and_hears_nothing_else() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.gate(None)]);
    let blocked =
        PodEntry::Blocked(entries::Blocked { code: BlockCode::CodeError, site: None, activity: None, detail: None });
    sim.ok(vec![blocked.clone(), release(ReleaseCause::Blocked)]);
    sim.ok(vec![blocked, release(ReleaseCause::Blocked)]);
    assert_eq!(sim.state.phase(), Phase::Blocked);
    sim.decide(Verb::Approve, |_| {}).unwrap();
    assert_eq!(sim.state.wanted(), None, "the answer waits for the repair");
    let mut repaired = Sim { state: sim.state.clone(), entries: sim.entries.clone(), ..Sim::new() };
    repaired.now = sim.now;
    repaired.acts = 9;
    repaired.retry(&[]).unwrap();
    assert_eq!(repaired.state.wanted().unwrap().cause, SegmentCause::Retry);
    assert_eq!(repaired.retry(&[]), Err(RefusalReason::NotBlocked.to_string()));
    sim.cancel().unwrap();
    assert_eq!(sim.state.phase(), Phase::Cancelled);
}

#[test]
fn a_pod_that_knows_more_than_the_journal_shows_that_it_is_an_old_copy() {
    let lost = |change: &dyn Fn(&mut Sim)| {
        let before = Sim::running();
        let mut after = Sim { state: before.state.clone(), entries: before.entries.clone(), now: before.now, acts: 0 };
        change(&mut after);
        let (pod, epoch, head) = (after.state.last_pod.clone(), after.state.epoch, after.state.length - 1);
        let mut restored = before;
        let request = AppendRequest { epoch, head, head_hash: None, entries: vec![restored.schedule("mail")] };
        let it = Append { pod_uid: &pod, request: &request, has_blob: &|_| false, limits: LIMITS };
        let refused = restored.take(append(&restored.state, &it, restored.now)).unwrap_err();
        (refused.code, restored.blocked(), restored.state.wanted().cloned())
    };
    let behind = (ErrorCode::Fenced, Some(BlockCode::JournalBehind), None);
    assert_eq!(lost(&|sim| sim.ok(vec![sim.schedule("mail")])), behind, "an effect that was acknowledged");
    let next_holder = |sim: &mut Sim| {
        sim.job_gone();
        sim.pass(60);
        sim.attach_next();
    };
    assert_eq!(lost(&next_holder), behind, "a holder");
}

#[test]
fn an_approval_that_workflow_code_was_not_told_of_allows_nothing() {
    // The code waits for the gate, but for ten seconds only: a timer of its own, not the gate's deadline.
    let mut sim = Sim::running();
    sim.ok(vec![sim.gate(None), sim.timer(10, 1), sim.parked(), release(ReleaseCause::Parked)]);
    sim.pass(10);
    sim.take(fire_timers(&sim.state, sim.now)).unwrap();
    let timed_out = sim.state.last_delivery();
    let approved = sim.decide(Verb::Approve, |_| {}).unwrap();
    sim.attach_next();
    let post = |sim: &Sim, seen_upto| {
        PodEntry::ActivityScheduled(entries::ActivityScheduled {
            command: sim.state.next_command,
            seen_upto,
            activity: "post".to_owned(),
            step: None,
            args: Payload::inline("[]"),
            timeout_ms: None,
        })
    };

    // It is told that the time is over, and posts without closing the gate.
    let mut careless = Sim { state: sim.state.clone(), entries: sim.entries.clone(), now: sim.now, acts: 9 };
    assert_eq!(careless.append(vec![post(&careless, timed_out)]), Err(ErrorCode::RequirementNotMet));
    assert_eq!(careless.blocked(), Some(BlockCode::RequirementNotMet));

    // It closes the gate on its way: the approval counts for nothing, also when it is handed over at last.
    let (command, target) = (sim.state.next_command, 0);
    let cause = GateCloseCause::Expired;
    let closed = entries::GateClosed { command, seen_upto: timed_out, target, cause };
    sim.ok(vec![PodEntry::GateClosed(closed)]);
    let gate = &sim.state.gates[&0];
    assert_eq!((&gate.state, &gate.decision), (&GateProgress::Closed(cause), &None));
    assert_eq!(sim.append(vec![post(&sim, approved)]), Err(ErrorCode::RequirementNotMet));

    // Told of the approval first, it may post, and closing the gate later changes nothing.
    let mut told = Sim::running();
    told.ok(vec![told.gate(None)]);
    let approved = told.decide(Verb::Approve, |_| {}).unwrap();
    let closed = entries::GateClosed { command: told.state.next_command, seen_upto: approved, target: 0, cause };
    told.ok(vec![PodEntry::GateClosed(closed)]);
    assert_eq!(told.state.gates[&0].state, GateProgress::Decided);
    told.ok(vec![post(&told, approved)]);
}

#[test]
fn a_block_whose_reply_was_lost_is_said_again_whatever_came_of_the_run() {
    let blocked =
        PodEntry::Blocked(entries::Blocked { code: BlockCode::CodeError, site: None, activity: None, detail: None });
    let last_words = vec![blocked, release(ReleaseCause::Blocked)];

    let mut cancelled = Sim::running();
    cancelled.cancel().unwrap();
    cancelled.ok(last_words.clone());
    assert_eq!(cancelled.state.phase(), Phase::Cancelled, "the release was what the cancellation waited for");
    let length = cancelled.state.length;
    cancelled.ok(last_words.clone());
    assert_eq!(cancelled.state.length, length);

    let mut retried = Sim::running();
    retried.ok(last_words.clone());
    retried.retry(&[]).unwrap();
    let length = retried.state.length;
    retried.ok(last_words);
    assert_eq!(retried.state.length, length);
}

#[test]
fn a_retry_before_the_pod_has_left_wants_the_next_segment_when_it_does() {
    let mut sim = Sim::running();
    let blocked =
        PodEntry::Blocked(entries::Blocked { code: BlockCode::CodeError, site: None, activity: None, detail: None });
    sim.ok(vec![blocked]);
    assert_eq!(sim.append(vec![sim.schedule("look")]), Err(ErrorCode::Invalid));
    sim.retry(&[]).unwrap();
    assert_eq!(sim.state.wanted(), None);
    sim.ok(vec![release(ReleaseCause::Blocked)]);
    assert_eq!(sim.state.wanted().unwrap().cause, SegmentCause::Retry);
}

#[test]
fn a_block_before_the_first_pod_stops_the_job_that_was_wanted() {
    let mut sim = Sim::new();
    sim.take(block(&sim.state, BlockCode::BundleInvalid, sim.now)).unwrap();
    assert_eq!((sim.state.wanted(), sim.state.phase()), (None, Phase::Blocked));
    sim.retry(&[]).unwrap();
    assert_eq!(sim.state.wanted().unwrap().segment, 2);
}

#[test]
fn silence_and_jobs_of_the_past_say_nothing() {
    let mut sim = Sim::running();
    let length = sim.state.length;
    sim.take(lease_silent(&sim.state, 0, sim.now)).unwrap();
    sim.take(job_gone(&sim.state, 0, sim.now)).unwrap();
    assert_eq!(sim.state.length, length);
    sim.take(lease_silent(&sim.state, 1, sim.now)).unwrap();
    assert_eq!(sim.state.last_release, Some(ReleaseCause::LeaseExpired));
    assert_eq!(sim.append(vec![sim.schedule("look")]), Err(ErrorCode::Fenced));
    let segment = sim.state.wanted().unwrap().segment;
    let refused = sim.take(job_recorded(&sim.state, segment + 1, ("a", "a", "t"), sim.now));
    assert_eq!(refused.unwrap_err().code, ErrorCode::Invalid);
    sim.job();
    sim.take(job_recorded(&sim.state, segment, ("job2", "job2", "t"), sim.now)).unwrap();
    let other = sim.take(job_recorded(&sim.state, segment, ("x", "x", "t"), sim.now));
    assert_eq!(other.unwrap_err().code, ErrorCode::Invalid);
}

#[test]
fn reads_are_recorded_once_per_view_also_after_the_end() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.finish(), release(ReleaseCause::Finished)]);
    let until = sim.now + SignedDuration::from_mins(10);
    sim.act(|state, act, now| view(state, act, "vic", until, now)).unwrap();
    let before = sim.state.length;
    for what in ["log", "log", "output/nav.xlsx"] {
        sim.take(read(&sim.state, "vic", what, sim.now)).unwrap();
    }
    assert_eq!(sim.state.length, before + 2);
    sim.act(|state, act, now| view(state, act, "vic", until, now)).unwrap();
    sim.take(read(&sim.state, "vic", "log", sim.now)).unwrap();
    assert_eq!(sim.state.length, before + 4);
    assert_eq!(sim.state.phase(), Phase::Succeeded);
}

#[test]
fn a_touched_journal_is_not_replayed() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.timer(1, 0)]);
    let key = RunSecret::from_bytes([7; 32]);
    let mut changed = sim.entries.clone();
    let EntryBody::JobRecorded(entries::JobRecorded { job_uid, .. }) = &mut changed[2].body else { unreachable!() };
    *job_uid = "other".to_owned();
    assert_eq!(RunState::replay(key, &changed), Err(Corrupt::Broken { seq: 2 }));
    let mut gap = sim.entries.clone();
    gap.remove(2);
    assert_eq!(RunState::replay(key, &gap), Err(Corrupt::Gap { expected: 2 }));
    assert_eq!(RunState::replay(key, &sim.entries[1..]), Err(Corrupt::NoBeginning).or(Err(Corrupt::Broken { seq: 0 })));
}

#[test]
fn time_never_runs_backwards() {
    let mut sim = Sim::running();
    sim.pass(-3600);
    sim.ok(vec![sim.timer(1, 0)]);
    assert!(sim.entries.windows(2).all(|pair| pair[0].time <= pair[1].time));
}

#[test]
fn payload_is_in_no_debug_print() {
    let mut sim = Sim::running();
    sim.ok(vec![sim.schedule("look"), started(0)]);
    sim.ok(vec![attempt_failed(0, 1)]);
    sim.ok(vec![sim.schedule("look"), started(1)]);
    sim.ok(vec![sim.finish()]);
    assert_eq!(sim.append(vec![attempt_failed(1, 1)]), Err(ErrorCode::Sealed));
    assert!(matches!(sim.last(), EntryBody::LateCompletion(entries::LateCompletion { .. })));
    assert!(!format!("{:?}", sim.entries).contains("secret"));
    assert!(!format!("{:?}", sim.state).contains("[7, 7"));
}
