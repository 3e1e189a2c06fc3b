//! One entry more: how each type of entry changes the state. Nothing is judged here; what stands in a journal has happened.

use jiff::Timestamp;

use super::parts::{
    ActOutcome, Activity, ActivityState, Blocked, CommandMark, Decision, Gate, GateState, Holder, JobRef, Parked,
    SegmentState, Terminal, Timer, TimerState, WantedSegment,
};
use super::state::RunState;
use crate::protocol::{Entry, EntryBody, Phase, SegmentCause, said_digest, value_of};

impl RunState {
    /// The state after this entry, which must be the next one.
    pub fn apply(&mut self, entry: &Entry) {
        self.length = entry.seq + 1;
        self.head = entry.hash;
        self.head_time = entry.time;
        if let Some((command, seen_upto)) = entry.body.command() {
            self.next_command = command + 1;
            self.seen_upto = seen_upto;
            self.parked = None;
            self.attempts = 0;
            self.marks.push(CommandMark { command, said: said_digest(value_of(&entry.body)) });
        }
        if entry.body.is_delivery() {
            self.deliveries.push(entry.seq);
        }
        self.apply_segment(entry);
        self.apply_activity(entry);
        self.apply_timer(entry);
        self.apply_gate(entry);
        self.apply_person(entry);
        self.apply_progress(entry);
    }

    fn apply_segment(&mut self, entry: &Entry) {
        match &entry.body {
            EntryBody::SegmentWanted { segment, cause, not_before } => {
                self.segment = *segment;
                self.retry_wanted = false;
                if *cause == SegmentCause::Lost {
                    self.attempts += 1;
                }
                self.segment_state =
                    SegmentState::Wanted(WantedSegment { segment: *segment, not_before: *not_before, cause: *cause });
            }
            EntryBody::JobRecorded { segment, job_name, job_uid, template_hash } => {
                self.segment_state = SegmentState::Queued;
                self.job = Some(JobRef {
                    segment: *segment,
                    name: job_name.clone(),
                    uid: job_uid.clone(),
                    template_hash: template_hash.clone(),
                });
            }
            EntryBody::Attached { segment, epoch, pod_name, pod_uid, job_uid, .. } => {
                self.epoch = *epoch;
                self.last_pod.clone_from(pod_uid);
                self.last_release = None;
                self.started_at = self.started_at.or(Some(entry.time));
                self.parked = None;
                self.marks.clear();
                self.segment_state = SegmentState::Held(Holder {
                    epoch: *epoch,
                    segment: *segment,
                    pod_name: pod_name.clone(),
                    pod_uid: pod_uid.clone(),
                    job_uid: job_uid.clone(),
                });
            }
            EntryBody::Released { cause, .. } => {
                self.last_release = Some(*cause);
                self.segment_state = SegmentState::Over;
            }
            _ => {}
        }
    }

    fn apply_activity(&mut self, entry: &Entry) {
        let epoch = self.epoch;
        match &entry.body {
            EntryBody::ActivityScheduled { command, activity, step, args, effect, requires, .. } => {
                let activity = Activity {
                    name: activity.clone(),
                    step: step.clone(),
                    effect: *effect,
                    requires: requires.clone(),
                    args_digest: self.keyed_digest(args),
                    attempt: 1,
                    attempt_epoch: epoch,
                    state: ActivityState::Running,
                    cancel_requested: false,
                    repeat_allowed: false,
                    ended: None,
                };
                self.activities.insert(*command, activity);
            }
            EntryBody::ActivityRetried { target, attempt, .. } => {
                self.change_activity(*target, |activity| {
                    activity.attempt = *attempt;
                    activity.attempt_epoch = epoch;
                    activity.state = ActivityState::Running;
                    activity.repeat_allowed = false;
                    activity.ended = None;
                });
            }
            EntryBody::ActivityAttemptFailed { target, .. } => {
                self.end_attempt(*target, ActivityState::AttemptFailed, entry);
            }
            EntryBody::ActivityCompleted { target, outputs, .. } => {
                self.end_attempt(*target, ActivityState::Completed, entry);
                self.attempts = 0;
                for output in outputs {
                    self.outputs.insert(output.name.clone(), output.clone());
                }
            }
            EntryBody::ActivityFailed { target, .. } => {
                self.end_attempt(*target, ActivityState::Failed, entry);
                self.attempts = 0;
            }
            EntryBody::ActivityCancelRequested { target, .. } => {
                self.change_activity(*target, |activity| activity.cancel_requested = true);
            }
            EntryBody::LateCompletion { epoch, entry } => {
                self.late.insert((*epoch, said_digest(value_of(entry))));
            }
            _ => {}
        }
    }

    fn change_activity(&mut self, target: u64, change: impl FnOnce(&mut Activity)) {
        if let Some(activity) = self.activities.get_mut(&target) {
            change(activity);
        }
    }

    fn end_attempt(&mut self, target: u64, state: ActivityState, entry: &Entry) {
        let said = said_digest(value_of(&entry.body));
        self.change_activity(target, |activity| {
            activity.state = state;
            activity.ended = Some(said);
        });
    }

    fn apply_timer(&mut self, entry: &Entry) {
        match &entry.body {
            EntryBody::TimerStarted { command, fires_at, .. } => {
                self.timers.insert(*command, Timer { fires_at: *fires_at, state: TimerState::Open });
            }
            EntryBody::TimerCancelled { target, .. } => {
                if let Some(timer) = self.timers.get_mut(target)
                    && timer.state == TimerState::Open
                {
                    timer.state = TimerState::Cancelled;
                }
            }
            EntryBody::TimerFired { target } => {
                if let Some(timer) = self.timers.get_mut(target) {
                    timer.state = TimerState::Fired;
                    self.fired_upto = self.fired_upto.max(Some(timer.fires_at));
                }
            }
            _ => {}
        }
    }

    fn apply_gate(&mut self, entry: &Entry) {
        match &entry.body {
            EntryBody::GateOpened {
                command, step, kind, component, actions, content, gate_id, revision, due, ..
            } => {
                let gate = Gate {
                    command: *command,
                    id: *gate_id,
                    step: step.clone(),
                    kind: *kind,
                    component: component.clone(),
                    actions: actions.clone(),
                    revision: *revision,
                    content_digest: self.keyed_digest(content),
                    opened_at: entry.time,
                    due: *due,
                    content_seq: entry.seq,
                    state: GateState::Open,
                    decision: None,
                    resolved_at: None,
                };
                self.gates.insert(*command, gate);
            }
            EntryBody::GateRevised { target, content, revision, .. } => {
                let digest = self.keyed_digest(content);
                if let Some(gate) = self.gates.get_mut(target)
                    && gate.state == GateState::Open
                {
                    gate.revision = *revision;
                    gate.content_digest = digest;
                    gate.content_seq = entry.seq;
                }
            }
            EntryBody::GateClosed { target, cause, .. } => {
                self.resolve_gate(*target, GateState::Closed(*cause), None, entry.time);
            }
            EntryBody::GateDecided { target, revision, verb, actor, groups, act, acted_at, .. } => {
                let decision = Decision {
                    verb: *verb,
                    actor: actor.clone(),
                    groups: groups.clone(),
                    act: act.clone(),
                    revision: *revision,
                    acted_at: *acted_at,
                    seq: entry.seq,
                };
                self.resolve_gate(*target, GateState::Decided, Some(decision), entry.time);
            }
            _ => {}
        }
    }

    /// The first end of a gate is its end: closing what a person has decided changes nothing.
    fn resolve_gate(&mut self, target: u64, state: GateState, decision: Option<Decision>, at: Timestamp) {
        if let Some(gate) = self.gates.get_mut(&target)
            && gate.state == GateState::Open
        {
            gate.state = state;
            gate.decision = decision;
            gate.resolved_at = Some(at);
        }
    }

    fn apply_person(&mut self, entry: &Entry) {
        let mut applied = |act: &str| {
            self.acts.insert(act.to_owned(), ActOutcome::Applied { seq: entry.seq });
        };
        match &entry.body {
            EntryBody::GateDecided { act, .. } | EntryBody::SignalReceived { act: Some(act), .. } => applied(act),
            EntryBody::CancelRequested { actor, act } => {
                applied(act);
                self.cancel_requested = Some((actor.clone(), entry.time));
            }
            EntryBody::RetryRequested { act, repeats, .. } => {
                applied(act);
                self.blocked = None;
                self.attempts = 0;
                self.retry_wanted = true;
                for target in repeats {
                    self.change_activity(*target, |activity| activity.repeat_allowed = true);
                }
            }
            EntryBody::ActRefused { act, reason, .. } => {
                let outcome = ActOutcome::Refused { reason: reason.clone(), seq: entry.seq };
                self.acts.insert(act.clone(), outcome);
            }
            EntryBody::ViewOpened { actor, act, .. } => {
                applied(act);
                self.reads.retain(|(reader, _)| reader != actor);
            }
            EntryBody::PayloadRead { actor, what } => {
                self.reads.insert((actor.clone(), what.clone()));
            }
            _ => {}
        }
    }

    fn apply_progress(&mut self, entry: &Entry) {
        let end = |phase, error: Option<String>| Terminal { phase, error, at: entry.time, seq: entry.seq };
        match &entry.body {
            EntryBody::StepsChanged { steps, .. } => self.steps.clone_from(steps),
            EntryBody::Parked { seen_upto, waiting_for } => {
                self.seen_upto = *seen_upto;
                self.parked =
                    Some(Parked { seen_upto: *seen_upto, waiting_for: waiting_for.clone(), since: entry.time });
            }
            EntryBody::Blocked { code, site, activity, .. } => {
                self.blocked = Some(Blocked {
                    code: *code,
                    site: site.clone(),
                    activity: activity.clone(),
                    since: entry.time,
                    seq: entry.seq,
                });
                self.retry_wanted = false;
                // A Job that is only wanted or has no pod yet is not for a run that cannot go on: a retry wants the next one.
                if !matches!(self.segment_state, SegmentState::Held(_)) {
                    self.segment_state = SegmentState::Over;
                }
            }
            EntryBody::RunCompleted { .. } => self.terminal = Some(end(Phase::Succeeded, None)),
            EntryBody::RunFailed { error, .. } => self.terminal = Some(end(Phase::Failed, Some(error.class.clone()))),
            EntryBody::RunCancelled { .. } => self.terminal = Some(end(Phase::Cancelled, None)),
            _ => {}
        }
        if entry.body.is_terminal() {
            self.blocked = None;
            if !matches!(self.segment_state, SegmentState::Held(_)) {
                self.segment_state = SegmentState::Over;
            }
        }
    }
}
