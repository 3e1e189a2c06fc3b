//! What must hold before a holder's entry is written, beyond its form.

use super::append::{Stop, invalid};
use super::parts::{Activity, ActivityState, Gate};
use super::{Refusal, Transition};
use crate::protocol::entries::PodReleased;
use crate::protocol::{AppendRequest, BlockCode, ErrorCode, PodEntry, RUNNING_MAX, ReleaseCause, RetryCause, Verb};

impl Transition {
    pub(super) fn check_rule(&self, entry: &PodEntry, request: &AppendRequest) -> Result<(), Stop> {
        match entry {
            PodEntry::Released(it) => self.check_release(it, request.epoch),
            PodEntry::Parked(it) => self.check_quiet(it.seen_upto),
            PodEntry::ActivityScheduled(it) => {
                let requires = self.state.pin.policy(&it.activity).requires;
                self.check_requirement(&it.activity, requires.as_deref(), it.seen_upto)
            }
            PodEntry::ActivityStarted(it) => {
                self.check_news(request.head)?;
                self.check_start(it.target, it.attempt, it.cause)
            }
            PodEntry::ActivityCompleted(it) => self.check_end(it.target, it.attempt, false),
            PodEntry::ActivityAttemptFailed(it) => self.check_end(it.target, it.attempt, false),
            PodEntry::ActivityFailed(it) => self.check_end(it.target, it.attempt, true),
            PodEntry::ActivityCancelRequested(it) => check_target(self.state.activities.contains_key(&it.target)),
            PodEntry::TimerCancelled(it) => check_target(self.state.timers.contains_key(&it.target)),
            PodEntry::GateRevised(it) => check_target(self.state.gates.contains_key(&it.target)),
            PodEntry::GateClosed(it) => check_target(self.state.gates.contains_key(&it.target)),
            PodEntry::SignalIgnored(it) => check_target(self.state.deliveries.binary_search(&it.signal).is_ok()),
            PodEntry::TimerStarted(_)
            | PodEntry::GateOpened(_)
            | PodEntry::StepsChanged(_)
            | PodEntry::Blocked(_)
            | PodEntry::RunCompleted(_)
            | PodEntry::RunFailed(_) => Ok(()),
        }
    }

    /// The newest gate of the required step must have been approved, and workflow code must have been told so: what it does
    /// for another reason, such as a timer that fired first, no person has approved.
    fn check_requirement(&self, activity: &str, requires: Option<&str>, seen_upto: u64) -> Result<(), Stop> {
        let Some(step) = requires else { return Ok(()) };
        // Commands are numbered in the order of opening, so the last gate of the step is the newest.
        let newest = self.state.gates.values().rfind(|gate| gate.step == step);
        let decision = newest.and_then(|gate: &Gate| gate.decision.as_ref());
        if decision.is_some_and(|decision| decision.verb == Verb::Approve && decision.seq <= seen_upto) {
            return Ok(());
        }
        let message = format!("{activity} requires the gate of step {step} to be approved");
        let refusal = Refusal::new(ErrorCode::RequirementNotMet, message);
        Err(Stop::Block(BlockCode::RequirementNotMet, Some(activity.to_owned()), refusal))
    }

    /// Who does not know yet that the run is cancelled begins nothing more.
    fn check_news(&self, head: u64) -> Result<(), Stop> {
        let cancelled = self.state.cancel_requested.as_ref().is_some_and(|cancel| cancel.seq > head);
        if cancelled { unread() } else { Ok(()) }
    }

    fn check_start(&self, target: u64, attempt: u32, cause: Option<RetryCause>) -> Result<(), Stop> {
        let Some(activity) = self.state.activities.get(&target) else {
            return invalid("target is not an activity");
        };
        let ended = matches!(activity.state, ActivityState::Completed | ActivityState::Failed);
        if ended || activity.cancel_requested {
            return invalid("the activity has ended");
        }
        if attempt != activity.attempt + 1 {
            return invalid(format!("the next attempt is {}", activity.attempt + 1));
        }
        check_cause(activity, cause)?;
        if self.state.under_way.len() >= RUNNING_MAX {
            return invalid(format!("{RUNNING_MAX} attempts are under way"));
        }
        // It was scheduled after an approval, and may have waited since: that must still count.
        self.check_requirement(&activity.name, activity.requires.as_deref(), self.state.last_delivery())
    }

    /// An attempt that was begun may end; `after_failure` allows the end of one already reported as failed.
    fn check_end(&self, target: u64, attempt: u32, after_failure: bool) -> Result<(), Stop> {
        let Some(activity) = self.state.activities.get(&target) else {
            return invalid("target is not an activity");
        };
        let open = activity.state == ActivityState::Running
            || (after_failure && activity.state == ActivityState::AttemptFailed);
        if attempt != activity.attempt || !open {
            return invalid(format!("attempt {attempt} of {target} is not under way"));
        }
        Ok(())
    }

    /// A run may rest when it was told everything and no activity is under way.
    fn check_quiet(&self, seen_upto: u64) -> Result<(), Stop> {
        if seen_upto < self.state.last_delivery() {
            return unread();
        }
        let busy = self.state.activities.values().any(|activity| {
            !activity.cancel_requested && !matches!(activity.state, ActivityState::Completed | ActivityState::Failed)
        });
        if busy { invalid("an activity is under way") } else { Ok(()) }
    }

    fn check_release(&self, it: &PodReleased, epoch: u64) -> Result<(), Stop> {
        if it.epoch.is_some_and(|said| said != epoch) {
            return invalid("epoch differs from the request's");
        }
        match it.cause {
            ReleaseCause::Parked if self.state.parked.is_none() => invalid("the run is not parked"),
            ReleaseCause::Parked if !self.state.resting() => unread(),
            ReleaseCause::Finished if self.state.terminal.is_none() => invalid("the run has not ended"),
            ReleaseCause::PodGone | ReleaseCause::LeaseExpired | ReleaseCause::Outage => {
                invalid("a pod cannot say that of itself")
            }
            ReleaseCause::Parked
            | ReleaseCause::Finished
            | ReleaseCause::Blocked
            | ReleaseCause::Cancelled
            | ReleaseCause::Evicted => Ok(()),
        }
    }
}

/// The first attempt needs none, a further one says why it may be made.
fn check_cause(activity: &Activity, cause: Option<RetryCause>) -> Result<(), Stop> {
    let reported = activity.state == ActivityState::AttemptFailed;
    match cause {
        None if activity.attempt > 0 => invalid("a further attempt has a cause"),
        Some(_) if activity.attempt == 0 => invalid("the first attempt has no cause"),
        Some(RetryCause::Failure) if !reported => invalid("no failure was reported"),
        Some(_) if !reported && !activity.effect.repeatable() && !activity.repeat_allowed => {
            let message = "nobody knows whether the effect happened, and no person allowed to repeat it";
            Err(Refusal::new(ErrorCode::NotAllowedToRepeat, message).into())
        }
        None | Some(_) => Ok(()),
    }
}

fn check_target(known: bool) -> Result<(), Stop> {
    if known { Ok(()) } else { invalid("the target does not exist") }
}

fn unread() -> Result<(), Stop> {
    Err(Refusal::new(ErrorCode::Unread, "entries must be delivered first").into())
}
