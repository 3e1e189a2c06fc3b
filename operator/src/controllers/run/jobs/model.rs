//! A model of one run: the real rules of the journal and the real plan of the operator over a simulated cluster, under
//! random interleavings of the operator, its crashes, the Job controller, runner pods, lost nodes and people.
//!
//! The run executes an idempotent activity, waits at a gate, executes an external activity and ends. Steps of a plan are
//! done one by one, with anything in between, and what is left of a plan is forgotten when the operator dies.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use ntro_journal::RunState;
use ntro_journal::machine::{
    self, ActivityState, Append, AppendLimits, Attach, Consequence, GateDecision, GateProgress, Retry, SegmentState,
};
use ntro_journal::protocol::entries;
use ntro_journal::protocol::{
    AppendRequest, Entry, EntryBody, ErrorCode, GateKind, INLINE_MAX, Payload, Pin, PodEntry, ReleaseCause, RetryCause,
    RunSecret, Verb, WaitKind, WaitTarget,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::plan::{Deadlines, Plan, Step, View, plan};
use super::views::{JobView, PodView};
use crate::testing::runs::{run_created, versions};

const HASH: &str = "template";
/// Commands of the workflow.
const SAFE: u64 = 0;
const GATE: u64 = 1;
const EXTERNAL: u64 = 2;
const DONE: u64 = 3;

#[derive(Debug, Clone)]
struct Job {
    name: String,
    uid: String,
    segment: u32,
    owner: String,
    finished: bool,
    deleting: bool,
    started: bool,
}

#[derive(Debug, Clone)]
struct Pod {
    uid: String,
    job: String,
    alive: bool,
    /// It cannot be reached any more, and nobody knows whether it still works.
    lost: bool,
    /// It was deleted, its time is over, and its node never said that it is gone.
    overdue: bool,
    epoch: Option<u64>,
    /// The intent that was acknowledged and whose effect is still to happen.
    intent: Option<(u64, u32)>,
    /// The effect that happened and is still to be told.
    told: Option<(u64, u32)>,
}

impl Pod {
    /// What the API server says of it: a node that is lost says nothing new.
    fn seen_alive(&self) -> bool {
        (self.alive || self.lost) && !self.overdue
    }
}

/// What can happen.
#[derive(Debug, Clone)]
enum Event {
    /// The operator looks and makes a plan.
    Look,
    /// The operator's watches get to see what the cluster is like.
    Watch,
    /// The operator makes a plan from what its watches saw; what is grave it does only after looking itself.
    Glance,
    /// The operator does the next step of its plan.
    Apply,
    /// The operator makes the Job of its plan and dies before it records it.
    ApplyHalf,
    /// The operator dies: its plan is forgotten.
    Die,
    /// The Job controller looks at the n-th Job.
    Control(usize),
    /// The n-th pod goes on.
    Work(usize),
    /// The n-th pod crashes.
    Crash(usize),
    /// The node of the n-th pod is lost.
    Lose(usize),
    /// The pods of lost nodes are deleted in vain.
    Evict,
    /// The holder's lease is found to be silent.
    LeaseEnds,
    /// Somebody deletes the n-th Job.
    DeleteJob(usize),
    /// Somebody deletes the run; what it owns goes with it.
    DeleteRun,
    /// A person approves; acts may come twice.
    Approve(u8),
    /// A person lets a blocked run go on.
    Retry(u8),
    /// A person cancels.
    Cancel,
    /// The grace after a cancellation is over.
    GraceEnds,
    /// Time passes.
    Pass(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Look),
        3 => Just(Event::Watch),
        8 => Just(Event::Glance),
        12 => Just(Event::Apply),
        2 => Just(Event::ApplyHalf),
        2 => Just(Event::Die),
        8 => (0_usize..4).prop_map(Event::Control),
        24 => (0_usize..4).prop_map(Event::Work),
        3 => (0_usize..4).prop_map(Event::Crash),
        1 => (0_usize..4).prop_map(Event::Lose),
        1 => Just(Event::Evict),
        2 => Just(Event::LeaseEnds),
        2 => (0_usize..4).prop_map(Event::DeleteJob),
        1 => Just(Event::DeleteRun),
        3 => (0_u8..3).prop_map(Event::Approve),
        2 => (0_u8..8).prop_map(Event::Retry),
        1 => prop::bool::weighted(0.15).prop_map(|cancel| if cancel { Event::Cancel } else { Event::Look }),
        1 => Just(Event::GraceEnds),
        6 => (1_u16..90).prop_map(Event::Pass),
    ]
}

struct World {
    now: Timestamp,
    state: RunState,
    entries: Vec<Entry>,
    jobs: Vec<Job>,
    pods: Vec<Pod>,
    run_uid: String,
    plan: Vec<Step>,
    /// What the watches saw last.
    seen: (Vec<JobView>, Vec<PodView>),
    uids: u32,
    /// How often the effect of each command happened.
    effects: BTreeMap<u64, u32>,
    /// How often a person allowed the external effect to happen again.
    allowed: u32,
}

impl World {
    fn new(handles_cancel: bool) -> Self {
        let now: Timestamp = "2026-11-05T08:00:00Z".parse().unwrap();
        let declared = serde_json::json!({
            "safe": {"effect": "idempotent"},
            "post": {"effect": "external", "requires": "review"},
        });
        let run = entries::RunCreated {
            pin: Pin([("activities".to_owned(), declared), ("handlesCancel".to_owned(), handles_cancel.into())]
                .into_iter()
                .collect()),
            ..run_created(Uuid::from_u128(7), "acme", "nav-abcde")
        };
        let outcome = machine::create(run, RunSecret::from_bytes([7; 32]), now).unwrap();
        Self {
            now,
            state: outcome.state,
            entries: outcome.entries,
            jobs: Vec::new(),
            pods: Vec::new(),
            run_uid: "run-0".to_owned(),
            plan: Vec::new(),
            seen: (Vec::new(), Vec::new()),
            uids: 0,
            effects: BTreeMap::new(),
            allowed: 0,
        }
    }

    fn uid(&mut self, kind: &str) -> String {
        self.uids += 1;
        format!("{kind}-{}", self.uids)
    }

    /// Makes an outcome of the journal durable.
    fn commit<R>(&mut self, outcome: Consequence<R>) -> Result<R, ErrorCode> {
        if let Some(end) = &self.state.terminal {
            let quiet = |entry: &Entry| {
                matches!(
                    entry.body,
                    EntryBody::Released(entries::Released { .. })
                        | EntryBody::UserActionRefused(entries::UserActionRefused { .. })
                        | EntryBody::LateCompletion(entries::LateCompletion { .. })
                )
            };
            assert!(outcome.entries.iter().all(quiet), "written after {end:?}: {:?}", outcome.entries);
        }
        self.entries.extend(outcome.entries);
        self.state = outcome.state;
        outcome.reply.map_err(|refusal| refusal.code)
    }

    // --- the operator ---

    fn look(&mut self) {
        let cluster = self.cluster();
        self.plan_for(&cluster);
    }

    fn glance(&mut self) {
        let seen = self.seen.clone();
        self.plan_for(&seen);
        if self.plan.iter().any(Step::is_destructive) {
            self.look();
        }
    }

    /// What the API server holds now.
    fn cluster(&self) -> (Vec<JobView>, Vec<PodView>) {
        let jobs = self
            .jobs
            .iter()
            .map(|job| JobView {
                name: job.name.clone(),
                uid: job.uid.clone(),
                segment: job.segment,
                owner: job.owner.clone(),
                template_hash: HASH.to_owned(),
                finished: job.finished,
                deleting: job.deleting,
                suspended: None,
                since: None,
            })
            .collect();
        let pods = self
            .pods
            .iter()
            .map(|pod| PodView {
                uid: pod.uid.clone(),
                job_uid: pod.job.clone(),
                alive: pod.seen_alive(),
                lost: pod.overdue,
                ending: pod.overdue,
                running: None,
                exit: None,
            })
            .collect();
        (jobs, pods)
    }

    fn plan_for(&mut self, (jobs, pods): &(Vec<JobView>, Vec<PodView>)) {
        let name = self.state.wanted().map(|wanted| job_name(wanted.segment));
        let view = View {
            state: &self.state,
            run_uid: &self.run_uid,
            wanted_job: name.as_deref().map(|name| (name, HASH)),
            jobs,
            pods,
            deadlines: Deadlines::default(),
            now: self.now,
        };
        let Plan { mut steps, .. } = plan(&view);
        steps.reverse();
        self.plan = steps;
    }

    fn apply(&mut self, half: bool) {
        match self.plan.pop() {
            None => self.look(),
            Some(Step::JobLost { segment }) => {
                let outcome = machine::job_gone(&self.state, segment, self.now);
                self.commit(outcome).unwrap();
            }
            Some(Step::Evicted { segment }) => {
                let outcome = machine::evicted(&self.state, segment, self.now);
                self.commit(outcome).unwrap();
            }
            Some(Step::Outage { segment }) => {
                let outcome = machine::outage(&self.state, segment, self.now);
                self.commit(outcome).unwrap();
            }
            Some(Step::CreateJob { segment }) => {
                let name = job_name(segment);
                if self.jobs.iter().any(|job| job.name == name) {
                    self.plan.clear();
                    return;
                }
                let uid = self.uid("job");
                self.jobs.push(Job {
                    name: name.clone(),
                    uid: uid.clone(),
                    segment,
                    owner: self.run_uid.clone(),
                    finished: false,
                    deleting: false,
                    started: false,
                });
                if half {
                    self.plan.clear();
                } else {
                    self.record(segment, &name, &uid);
                }
            }
            Some(Step::RecordJob { segment, name, uid, .. }) => self.record(segment, &name, &uid),
            Some(Step::DeleteJob { uid, .. }) => self.delete_job(&uid),
            Some(Step::Block { code }) => {
                let outcome = machine::block(&self.state, code, self.now);
                self.commit(outcome).unwrap();
            }
            Some(Step::NameTaken { .. }) => self.plan.clear(),
        }
    }

    fn record(&mut self, segment: u32, name: &str, uid: &str) {
        let outcome = machine::job_recorded(&self.state, segment, (name, uid, HASH), self.now);
        // Refused if the segment is not wanted any more; the operator looks again.
        if self.commit(outcome).is_err() {
            self.plan.clear();
        }
    }

    fn delete_job(&mut self, uid: &str) {
        for job in self.jobs.iter_mut().filter(|job| job.uid == uid) {
            job.deleting = true;
        }
    }

    // --- the cluster ---

    /// The Job controller and the garbage collector, for one Job.
    fn control(&mut self, index: usize) {
        let Some(job) = self.jobs.get(index).cloned() else { return };
        let alive = self.pods.iter().any(|pod| pod.job == job.uid && (pod.alive || pod.lost));
        if job.deleting {
            for pod in self.pods.iter_mut().filter(|pod| pod.job == job.uid && !pod.lost) {
                pod.alive = false;
            }
            if !alive {
                self.jobs.remove(index);
                self.pods.retain(|pod| pod.job != job.uid);
            }
        } else if !job.started {
            let uid = self.uid("pod");
            self.pods.push(Pod {
                uid,
                job: job.uid,
                alive: true,
                lost: false,
                overdue: false,
                epoch: None,
                intent: None,
                told: None,
            });
            self.jobs[index].started = true;
        } else if !alive && !job.finished {
            self.jobs[index].finished = true;
        }
    }

    fn delete_run(&mut self) {
        // Background deletion: the run's Jobs go after it. The operator has made the run again, as another object.
        self.run_uid = self.uid("run");
        for job in &mut self.jobs {
            job.deleting = true;
        }
    }

    // --- a pod ---

    fn work(&mut self, index: usize) {
        let Some(pod) = self.pods.get(index).cloned().filter(|pod| pod.alive) else { return };
        if let Some(intent) = pod.intent {
            *self.effects.entry(intent.0).or_default() += 1;
            self.pods[index].intent = None;
            self.pods[index].told = Some(intent);
            return;
        }
        let Some(epoch) = pod.epoch else { return self.attach(index) };
        let sent = self.append(index, &pod, epoch);
        match sent {
            // `Unread`: something came in between; the pod reads it and goes on.
            Ok(()) | Err(ErrorCode::Unread) => {}
            Err(ErrorCode::Fenced | ErrorCode::Sealed) => self.pods[index].alive = false,
            Err(code) => panic!("refused with {code:?} in {:?}", self.state.segment_state),
        }
    }

    fn attach(&mut self, index: usize) {
        let pod = self.pods[index].clone();
        let attach = Attach {
            pod_name: pod.uid.clone(),
            pod_uid: pod.uid,
            job_uid: pod.job,
            versions: versions(),
            behind: false,
        };
        let outcome = machine::attach(&self.state, &attach, self.now);
        match self.commit(outcome) {
            Ok(attached) => self.pods[index].epoch = Some(attached.epoch),
            Err(ErrorCode::NotYet) => {}
            Err(ErrorCode::Fenced | ErrorCode::Sealed) => self.pods[index].alive = false,
            Err(code) => panic!("attach refused with {code:?}"),
        }
    }

    /// The next request of the workflow, from the journal alone.
    fn append(&mut self, index: usize, pod: &Pod, epoch: u64) -> Result<(), ErrorCode> {
        if let Some((target, attempt)) = pod.told {
            let entry = PodEntry::ActivityCompleted(entries::ActivityCompleted {
                target,
                attempt,
                result: Payload::inline("1"),
                outputs: Vec::new(),
            });
            let sent = self.send(pod, epoch, vec![entry]);
            if sent.is_ok() {
                self.pods[index].told = None;
            }
            return sent;
        }
        if self.state.cancel_requested.is_some() {
            return self.leave(index, pod, epoch, ReleaseCause::Cancelled);
        }
        if self.state.terminal.is_some() {
            return self.leave(index, pod, epoch, ReleaseCause::Finished);
        }
        if self.state.blocked.is_some() {
            return self.leave(index, pod, epoch, ReleaseCause::Blocked);
        }
        let seen_upto = self.state.last_delivery();
        let next = self.state.next_command;
        for target in [SAFE, EXTERNAL] {
            let Some(activity) = self.state.activities.get(&target) else { continue };
            if activity.state == ActivityState::Running {
                let attempt = activity.attempt + 1;
                let cause = Some(RetryCause::Crash);
                let start = PodEntry::ActivityStarted(entries::ActivityStarted { target, attempt, cause });
                self.send(pod, epoch, vec![start])?;
                self.pods[index].intent = Some((target, attempt));
                return Ok(());
            }
        }
        match next {
            SAFE | EXTERNAL => {
                let entry = PodEntry::ActivityScheduled(entries::ActivityScheduled {
                    command: next,
                    seen_upto,
                    activity: if next == SAFE { "safe" } else { "post" }.to_owned(),
                    step: None,
                    args: Payload::inline("[]"),
                    timeout_ms: None,
                });
                if next == EXTERNAL && self.state.gates[&GATE].state == GateProgress::Open {
                    return self.park(index, pod, epoch, seen_upto);
                }
                let first = entries::ActivityStarted { target: next, attempt: 1, cause: None };
                self.send(pod, epoch, vec![entry, PodEntry::ActivityStarted(first)])?;
                self.pods[index].intent = Some((next, 1));
                Ok(())
            }
            GATE => {
                let entry = PodEntry::GateOpened(entries::GateOpened {
                    command: next,
                    seen_upto,
                    step: "review".to_owned(),
                    kind: GateKind::Review,
                    component: "DATA_TABLE".to_owned(),
                    actions: vec!["approve".to_owned(), "reject".to_owned()],
                    due_ms: None,
                    content: Payload::inline("{}"),
                });
                self.send(pod, epoch, vec![entry])
            }
            DONE => {
                let entry = PodEntry::RunCompleted(entries::RunCompleted {
                    command: next,
                    seen_upto,
                    result: Payload::inline("1"),
                });
                self.send(pod, epoch, vec![entry])
            }
            other => panic!("no command {other}"),
        }
    }

    fn park(&mut self, index: usize, pod: &Pod, epoch: u64, seen_upto: u64) -> Result<(), ErrorCode> {
        if self.state.parked.is_some() {
            return self.leave(index, pod, epoch, ReleaseCause::Parked);
        }
        let gate = WaitTarget { kind: WaitKind::Gate, target: Some(GATE), step: Some("review".to_owned()), name: None };
        self.send(pod, epoch, vec![PodEntry::Parked(entries::Parked { seen_upto, waiting_for: vec![gate] })])
    }

    fn leave(&mut self, index: usize, pod: &Pod, epoch: u64, cause: ReleaseCause) -> Result<(), ErrorCode> {
        self.send(pod, epoch, vec![PodEntry::Released(entries::PodReleased { epoch: None, cause })])?;
        self.pods[index].alive = false;
        Ok(())
    }

    fn send(&mut self, pod: &Pod, epoch: u64, entries: Vec<PodEntry>) -> Result<(), ErrorCode> {
        let request = AppendRequest { epoch, head: self.state.length - 1, head_hash: None, entries };
        let append = Append {
            pod_uid: &pod.uid,
            request: &request,
            has_blob: &|_| true,
            limits: AppendLimits {
                inline_max: INLINE_MAX,
                entry_max: 1 << 20,
                entries_max: 100_000,
                bytes_max: 1 << 30,
            },
        };
        let was_holder = self.state.holder().is_some_and(|holder| holder.epoch == epoch);
        let outcome = machine::append(&self.state, &append, self.now);
        let written = outcome.entries.iter().any(|entry| entry.body.command().is_some());
        assert!(was_holder || !written, "epoch {epoch} wrote a command without holding the run");
        self.commit(outcome)
    }

    // --- people ---

    fn approve(&mut self, who: u8) {
        let Some(gate) = self.state.gates.get(&GATE) else { return };
        let decide = GateDecision {
            gate_id: gate.id,
            revision: gate.revision,
            digest: Some(gate.content_digest.clone()),
            verb: Verb::Approve,
            actor: format!("person-{who}"),
            groups: Vec::new(),
            user_action: format!("act-{who}"),
            acted_at: self.now,
            comment: None,
            correction: None,
        };
        let outcome = machine::decide(&self.state, &decide, self.now);
        self.commit(outcome).unwrap();
    }

    fn retry(&mut self, act: &str) {
        let unknown = self.state.activities.iter().filter(|(_, a)| a.unknown_effect()).map(|(target, _)| *target);
        let repeats: Vec<_> = unknown.collect();
        let retry = Retry { actor: "person".to_owned(), user_action: act.to_owned(), repeat_effects: repeats.clone() };
        let known = self.state.user_actions.contains_key(act);
        let outcome = machine::retry(&self.state, &retry, self.now);
        let said = self.commit(outcome).unwrap();
        if !known && matches!(said, ntro_journal::UserActionOutcome::Applied { .. }) && repeats.contains(&EXTERNAL) {
            self.allowed += 1;
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Look => self.look(),
            Event::Watch => self.seen = self.cluster(),
            Event::Glance => self.glance(),
            Event::Apply => self.apply(false),
            Event::ApplyHalf => self.apply(true),
            Event::Die => self.plan.clear(),
            Event::Control(n) => self.control(*n),
            Event::Work(n) => self.work(*n),
            Event::Crash(n) => {
                if let Some(pod) = self.pods.get_mut(*n) {
                    pod.alive = false;
                }
            }
            Event::Lose(n) => {
                if let Some(pod) = self.pods.get_mut(*n) {
                    pod.lost = true;
                }
            }
            Event::Evict => {
                for pod in self.pods.iter_mut().filter(|pod| pod.lost) {
                    pod.overdue = true;
                }
            }
            Event::LeaseEnds => self.lease_ends(),
            Event::DeleteJob(n) => {
                if let Some(uid) = self.jobs.get(*n).map(|job| job.uid.clone()) {
                    self.delete_job(&uid);
                }
            }
            Event::DeleteRun => self.delete_run(),
            Event::Approve(who) => self.approve(*who),
            Event::Retry(n) => self.retry(&format!("retry-{n}")),
            Event::Cancel => {
                let outcome = machine::cancel(&self.state, "cancel", "person", self.now);
                self.commit(outcome).unwrap();
            }
            Event::GraceEnds => {
                let outcome = machine::cancel_overdue(&self.state, self.state.epoch, self.now);
                self.commit(outcome).unwrap();
            }
            Event::Pass(seconds) => self.now += SignedDuration::from_secs(i64::from(*seconds)),
        }
        self.check();
    }

    /// Only a holder that cannot be reached falls silent.
    fn lease_ends(&mut self) {
        let silent = self.state.holder().map(|holder| (holder.epoch, holder.pod_uid.clone()));
        let Some((epoch, uid)) = silent else { return };
        if self.pods.iter().any(|pod| pod.uid == uid && pod.lost) {
            let outcome = machine::lease_silent(&self.state, epoch, self.now);
            self.commit(outcome).unwrap();
        }
    }

    fn check(&self) {
        let live: Vec<_> = self
            .jobs
            .iter()
            .filter(|job| {
                // What may still work on a node that does not answer is fenced.
                let pods = self.pods.iter().any(|pod| pod.job == job.uid && pod.alive && !pod.overdue);
                let lost = self.pods.iter().any(|pod| pod.job == job.uid && pod.overdue);
                pods || !(job.finished || job.deleting || lost)
            })
            .collect();
        assert!(live.len() <= 1, "more than one live Job: {live:?}");

        let recorded = |entry: &Entry| match &entry.body {
            EntryBody::JobRecorded(entries::JobRecorded { segment, .. }) => Some(*segment),
            _ => None,
        };
        let segments: Vec<u32> = self.entries.iter().filter_map(recorded).collect();
        assert!(segments.windows(2).all(|pair| pair[0] < pair[1]), "a segment has more than one Job: {segments:?}");

        let external = self.effects.get(&EXTERNAL).copied().unwrap_or_default();
        assert!(external <= 1 + self.allowed, "posted {external} times, a person allowed {}", self.allowed);
        if external > 0 {
            assert!(self.state.gates[&GATE].decision.is_some(), "posted without an approval");
        }
        let decisions = self
            .entries
            .iter()
            .filter(|e| matches!(e.body, EntryBody::GateDecided(entries::GateDecided { .. })))
            .count();
        assert!(decisions <= 1, "{decisions} decisions of one gate");
        let ends = self.entries.iter().filter(|e| e.body.is_terminal()).count();
        assert!(ends <= 1, "{ends} ends of one run");
    }

    /// Nobody dies any more and everybody does their part: the run must come to its end.
    fn settle(&mut self) {
        for round in 0..400 {
            if round == 200 {
                // Lost nodes are removed in the end, and their pods with them.
                for pod in self.pods.iter_mut().filter(|pod| pod.lost) {
                    (pod.alive, pod.lost) = (false, false);
                }
            }
            self.happen(&Event::Pass(20));
            self.happen(&Event::Evict);
            self.happen(&Event::LeaseEnds);
            self.happen(&Event::GraceEnds);
            self.happen(&Event::Approve(9));
            if self.state.blocked.is_some() {
                self.retry(&format!("last-{round}"));
            }
            self.look();
            while !self.plan.is_empty() {
                self.happen(&Event::Apply);
            }
            for index in (0..self.jobs.len()).rev() {
                self.happen(&Event::Control(index));
            }
            for index in 0..self.pods.len() {
                // What is lost does nothing any more.
                if !self.pods[index].lost {
                    self.happen(&Event::Work(index));
                }
            }
            let quiet = self.pods.iter().all(|pod| !pod.alive || pod.lost);
            if self.state.terminal.is_some() && quiet && self.state.holder().is_none() {
                break;
            }
        }
        assert!(self.state.terminal.is_some(), "no end: {:?} {:?}", self.state.segment_state, self.state.phase());
        assert!(self.pods.iter().all(|pod| !pod.alive || pod.lost), "a pod is left: {:?} {:?}", self.pods, self.jobs);
        if self.state.cancel_requested.is_none() {
            let done = |command| self.effects.get(&command).copied().unwrap_or_default();
            assert!(done(SAFE) >= 1 && done(EXTERNAL) >= 1, "{:?}", self.effects);
            assert_eq!(self.state.segment_state, SegmentState::Over);
        }
    }
}

fn job_name(segment: u32) -> String {
    format!("nav-abcde-{segment}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_run_ends_once_and_every_effect_is_accounted_for(
        events in prop::collection::vec(event(), 0..250),
        handles_cancel in any::<bool>(),
    ) {
        let mut world = World::new(handles_cancel);
        for event in &events {
            world.happen(event);
        }
        world.settle();
    }
}

/// Without trouble: two Jobs, each effect once.
#[test]
fn a_quiet_run_has_two_jobs_and_each_effect_once() {
    let mut world = World::new(false);
    let round = |world: &mut World| {
        world.look();
        while !world.plan.is_empty() {
            world.happen(&Event::Apply);
        }
        for index in (0..world.jobs.len()).rev() {
            world.happen(&Event::Control(index));
        }
        for index in 0..world.pods.len() {
            world.happen(&Event::Work(index));
        }
        world.happen(&Event::Pass(1));
    };
    for _ in 0..20 {
        round(&mut world);
    }
    assert_eq!(world.state.segment_state, SegmentState::Over);
    assert!(world.state.resting() && world.pods.iter().all(|pod| !pod.alive));
    world.happen(&Event::Approve(0));
    for _ in 0..20 {
        round(&mut world);
    }
    assert!(world.state.terminal.is_some());
    assert_eq!(world.state.segment, 2);
    assert_eq!(world.effects, BTreeMap::from([(SAFE, 1), (EXTERNAL, 1)]));
}
