//! One entry more: how each type of entry changes the state. Nothing is decided here; what stands in a journal has
//! happened.

use jiff::Timestamp;

use super::parts::{
    Activity, ActivityState, BlockedState, CancelRequest, Gate, GateProgress, GateVerdict, Holder, ParkedState,
    SegmentJob, SegmentState, Terminal, Timer, TimerState, UserActionOutcome, WantedSegment,
};
use super::state::{ENTRY_COST, IGNORED_MAX, RunState};
use crate::protocol::entries::{self, EntryClass};
use crate::protocol::{Entry, EntryBody, Phase, SegmentCause, said_digest, value_of};

impl RunState {
    /// The state after this entry of `size` bytes, which must be the next one.
    pub fn apply(&mut self, entry: &Entry, size: u64) {
        self.length = entry.seq + 1;
        self.bytes += size + ENTRY_COST;
        self.head = entry.hash;
        self.head_time = entry.time;
        match entry.body.class() {
            EntryClass::Command(number) => {
                self.next_command = number.command + 1;
                self.seen_upto = number.seen_upto;
                self.parked = None;
                self.attempts = 0;
                let said = said_digest(value_of(&entry.body));
                self.marks.insert(number.command, said);
            }
            EntryClass::Delivery => self.deliveries.push_back(entry.seq),
            EntryClass::Record => {}
        }
        self.apply_body(entry);
    }

    fn apply_body(&mut self, entry: &Entry) {
        match &entry.body {
            EntryBody::RunCreated(_) => {}
            EntryBody::SegmentWanted(it) => self.segment_wanted(it),
            EntryBody::JobRecorded(it) => self.job_recorded(it),
            EntryBody::Attached(it) => self.attached(it, entry.time),
            EntryBody::Released(it) => {
                self.last_release = Some(it.cause);
                self.released_at = Some(entry.time);
                self.segment_state = SegmentState::Over;
            }
            EntryBody::ActivityScheduled(it) => self.activity_scheduled(&it.said, &it.stamp),
            EntryBody::ActivityStarted(it) => self.activity_started(it),
            EntryBody::ActivityAttemptFailed(it) => self.end_attempt(it.target, ActivityState::AttemptFailed, entry),
            EntryBody::ActivityCompleted(it) => self.activity_completed(it, entry),
            EntryBody::ActivityFailed(it) => {
                self.end_attempt(it.target, ActivityState::Failed, entry);
                self.attempts = 0;
            }
            EntryBody::ActivityCancelRequested(it) => {
                self.under_way.remove(&it.target);
                self.change_activity(it.target, |activity| activity.cancel_requested = true);
            }
            EntryBody::TimerStarted(it) => {
                let timer = Timer { fires_at: it.stamp.fires_at, state: TimerState::Open };
                self.timers.insert(it.said.command, timer);
            }
            EntryBody::TimerCancelled(it) => self.timer_cancelled(it),
            EntryBody::TimerFired(it) => self.timer_fired(it),
            EntryBody::GateOpened(it) => self.gate_opened(&it.said, &it.stamp, entry),
            EntryBody::GateRevised(it) => self.gate_revised(&it.said, it.stamp.revision, entry.seq),
            EntryBody::GateClosed(it) => self.gate_closed(it, entry.time),
            EntryBody::GateDecided(it) => self.gate_decided(it, entry),
            EntryBody::SignalReceived(it) => {
                if let Some(user_action) = &it.user_action {
                    self.applied(user_action, entry.seq);
                }
            }
            EntryBody::SignalIgnored(it) => {
                if self.ignored_signals.len() == IGNORED_MAX {
                    self.ignored_signals.pop_front();
                }
                self.ignored_signals.push_back(*it);
            }
            EntryBody::CancelRequested(it) => self.cancel_requested(it, entry),
            EntryBody::RetryRequested(it) => self.retry_requested(it, entry.seq),
            EntryBody::StepsChanged(it) => self.steps.clone_from(&it.steps),
            EntryBody::Parked(it) => self.parked(it, entry.time),
            EntryBody::Blocked(it) => self.blocked(it, entry),
            EntryBody::RunCompleted(_) => self.end(Phase::Succeeded, None, entry),
            EntryBody::RunFailed(it) => self.end(Phase::Failed, Some(it.error.class.clone()), entry),
            EntryBody::RunCancelled(_) => self.end(Phase::Cancelled, None, entry),
            EntryBody::UserActionRefused(it) => self.user_action_refused(it, entry.seq),
            EntryBody::LateCompletion(it) => self.late_completion(it),
            EntryBody::ViewOpened(it) => {
                self.applied(&it.user_action, entry.seq);
                self.reads.retain(|(reader, _)| *reader != it.actor);
            }
            EntryBody::PayloadRead(it) => {
                self.reads.insert((it.actor.clone(), it.what.clone()));
            }
        }
    }

    // --- segments ---

    fn segment_wanted(&mut self, it: &entries::SegmentWanted) {
        self.segment = it.segment;
        self.retry_wanted = false;
        if it.cause == SegmentCause::Lost {
            self.attempts += 1;
        } else if it.cause == SegmentCause::Wake && self.segment_state == SegmentState::Queued {
            self.unattached += 1;
        }
        let wanted = WantedSegment { segment: it.segment, not_before: it.not_before, cause: it.cause };
        self.segment_state = SegmentState::Wanted(wanted);
    }

    fn job_recorded(&mut self, it: &entries::JobRecorded) {
        self.segment_state = SegmentState::Queued;
        self.job = Some(SegmentJob {
            segment: it.segment,
            name: it.job_name.clone(),
            uid: it.job_uid.clone(),
            template_hash: it.template_hash.clone(),
        });
    }

    fn attached(&mut self, it: &entries::Attached, at: Timestamp) {
        self.epoch = it.epoch;
        self.epochs.insert(it.epoch, it.segment);
        self.last_pod.clone_from(&it.pod_uid);
        self.unattached = 0;
        self.last_release = None;
        self.last_block = None;
        self.started_at = self.started_at.or(Some(at));
        self.parked = None;
        self.marks.clear();
        self.under_way.clear();
        self.segment_state = SegmentState::Held(Holder {
            epoch: it.epoch,
            segment: it.segment,
            pod_name: it.pod_name.clone(),
            pod_uid: it.pod_uid.clone(),
            job_uid: it.job_uid.clone(),
            since: at,
        });
    }

    fn late_completion(&mut self, it: &entries::LateCompletion) {
        if let Some((target, attempt)) = it.entry.said().completion {
            self.late.insert((it.epoch, target, attempt));
        }
    }

    /// A Job that is only wanted or has no pod yet is not for a run that cannot continue.
    fn end_unheld_segment(&mut self) {
        if !matches!(self.segment_state, SegmentState::Held(_)) {
            self.segment_state = SegmentState::Over;
        }
    }

    // --- activities ---

    fn activity_scheduled(&mut self, it: &entries::ActivityScheduled, stamp: &entries::ActivityStamp) {
        let activity = Activity {
            name: it.activity.clone(),
            step: it.step.clone(),
            effect: stamp.effect,
            requires: stamp.requires.clone(),
            args_digest: self.keyed_digest(&it.args),
            attempt: 0,
            attempt_epoch: 0,
            state: ActivityState::Scheduled,
            cancel_requested: false,
            repeat_allowed: false,
            ended: None,
        };
        self.activities.insert(it.command, activity);
    }

    fn activity_started(&mut self, it: &entries::ActivityStarted) {
        let epoch = self.epoch;
        self.under_way.insert(it.target);
        self.change_activity(it.target, |activity| {
            activity.attempt = it.attempt;
            activity.attempt_epoch = epoch;
            activity.state = ActivityState::Running;
            activity.repeat_allowed = false;
            activity.ended = None;
        });
    }

    fn activity_completed(&mut self, it: &entries::ActivityCompleted, entry: &Entry) {
        self.end_attempt(it.target, ActivityState::Completed, entry);
        self.attempts = 0;
        for output in &it.outputs {
            self.outputs.insert(output.name.clone(), output.clone());
        }
    }

    fn change_activity(&mut self, target: u64, change: impl FnOnce(&mut Activity)) {
        if let Some(activity) = self.activities.get_mut(&target) {
            change(activity);
        }
    }

    fn end_attempt(&mut self, target: u64, state: ActivityState, entry: &Entry) {
        let said = said_digest(value_of(&entry.body));
        self.under_way.remove(&target);
        self.change_activity(target, |activity| {
            activity.state = state;
            activity.ended = Some(said);
        });
    }

    // --- timers ---

    fn timer_cancelled(&mut self, it: &entries::TimerCancelled) {
        if let Some(timer) = self.timers.get_mut(&it.target)
            && timer.state == TimerState::Open
        {
            timer.state = TimerState::Cancelled;
        }
    }

    fn timer_fired(&mut self, it: &entries::TimerFired) {
        if let Some(timer) = self.timers.get_mut(&it.target) {
            timer.state = TimerState::Fired;
            self.fired_upto = self.fired_upto.max(Some(timer.fires_at));
        }
    }

    // --- gates ---

    fn gate_opened(&mut self, it: &entries::GateOpened, stamp: &entries::GateStamp, entry: &Entry) {
        let gate = Gate {
            command: it.command,
            id: stamp.gate_id,
            step: it.step.clone(),
            kind: it.kind,
            component: it.component.clone(),
            actions: it.actions.clone(),
            revision: stamp.revision,
            content_digest: self.keyed_digest(&it.content),
            opened_at: entry.time,
            due: stamp.due,
            content_seq: entry.seq,
            state: GateProgress::Open,
            decision: None,
            resolved_at: None,
        };
        self.gates.insert(it.command, gate);
    }

    fn gate_revised(&mut self, it: &entries::GateRevised, revision: u32, seq: u64) {
        let digest = self.keyed_digest(&it.content);
        if let Some(gate) = self.gates.get_mut(&it.target)
            && gate.state == GateProgress::Open
        {
            gate.revision = revision;
            gate.content_digest = digest;
            gate.content_seq = seq;
        }
    }

    fn gate_decided(&mut self, it: &entries::GateDecided, entry: &Entry) {
        self.applied(&it.user_action, entry.seq);
        let decision = GateVerdict {
            verb: it.verb,
            actor: it.actor.clone(),
            groups: it.groups.clone(),
            user_action: it.user_action.clone(),
            revision: it.revision,
            acted_at: it.acted_at,
            seq: entry.seq,
        };
        self.resolve_gate(it.target, GateProgress::Decided, Some(decision), entry.time);
    }

    /// Closing what a person has decided changes nothing, unless workflow code had gone on without an answer before it was
    /// told of the decision: then that counts for nothing.
    fn gate_closed(&mut self, it: &entries::GateClosed, at: Timestamp) {
        if let Some(gate) = self.gates.get_mut(&it.target)
            && gate.decision.as_ref().is_some_and(|decision| decision.seq > it.seen_upto)
        {
            gate.state = GateProgress::Open;
            gate.decision = None;
        }
        self.resolve_gate(it.target, GateProgress::Closed(it.cause), None, at);
    }

    /// The first end of a gate is its end.
    fn resolve_gate(&mut self, target: u64, state: GateProgress, decision: Option<GateVerdict>, at: Timestamp) {
        if let Some(gate) = self.gates.get_mut(&target)
            && gate.state == GateProgress::Open
        {
            gate.state = state;
            gate.decision = decision;
            gate.resolved_at = Some(at);
        }
    }

    // --- user actions ---

    fn applied(&mut self, user_action: &str, seq: u64) {
        self.user_actions.insert(user_action.to_owned(), UserActionOutcome::Applied { seq });
    }

    fn user_action_refused(&mut self, it: &entries::UserActionRefused, seq: u64) {
        let outcome = UserActionOutcome::Refused { reason: it.reason.clone(), seq };
        self.user_actions.insert(it.user_action.clone(), outcome);
    }

    fn cancel_requested(&mut self, it: &entries::CancelRequested, entry: &Entry) {
        self.applied(&it.user_action, entry.seq);
        self.cancel_requested = Some(CancelRequest { actor: it.actor.clone(), seq: entry.seq });
    }

    fn retry_requested(&mut self, it: &entries::RetryRequested, seq: u64) {
        self.applied(&it.user_action, seq);
        self.blocked = None;
        self.attempts = 0;
        self.retry_wanted = true;
        for target in &it.repeat_effects {
            self.change_activity(*target, |activity| activity.repeat_allowed = true);
        }
    }

    // --- progress ---

    fn parked(&mut self, it: &entries::Parked, at: Timestamp) {
        self.seen_upto = it.seen_upto;
        let waiting_for = it.waiting_for.clone();
        self.parked = Some(ParkedState { seen_upto: it.seen_upto, waiting_for, since: at });
    }

    fn blocked(&mut self, it: &entries::Blocked, entry: &Entry) {
        self.last_block = Some((it.code, it.site.clone()));
        self.blocked = Some(BlockedState {
            code: it.code,
            site: it.site.clone(),
            activity: it.activity.clone(),
            since: entry.time,
            seq: entry.seq,
        });
        self.retry_wanted = false;
        // A retry wants the next one.
        self.end_unheld_segment();
    }

    fn end(&mut self, phase: Phase, error: Option<String>, entry: &Entry) {
        self.terminal = Some(Terminal { phase, error, at: entry.time, seq: entry.seq });
        self.blocked = None;
        self.end_unheld_segment();
    }
}
