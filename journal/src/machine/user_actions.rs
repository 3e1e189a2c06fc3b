//! User actions. Each has a UID and is applied or refused once; asked again, it has the outcome it had.

use jiff::Timestamp;
use uuid::Uuid;

use super::parts::{Gate, GateProgress, UserActionOutcome};
use super::state::RunState;
use super::{Consequence, Transition};
use crate::protocol::{EntryBody, GateCloseCause, Payload, RefusalReason, Verb, entries};

/// A decision of a gate that the gate's policy allows. `D` is what a person sent with it: a draft, or the payload it
/// became.
#[derive(Debug, Clone)]
pub struct GateDecision<D> {
    /// Which gate.
    pub gate_id: Uuid,
    /// Which revision was seen.
    pub revision: u32,
    /// Keyed digest of what was seen; checked if given.
    pub digest: Option<String>,
    /// What was said.
    pub verb: Verb,
    /// By whom.
    pub actor: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// UID of the `UserAction`.
    pub user_action: String,
    /// When the API server took it.
    pub acted_at: Timestamp,
    /// Why.
    pub comment: Option<D>,
    /// The values instead, or what is handed in.
    pub correction: Option<D>,
}

/// A signal to workflow code.
#[derive(Debug, Clone)]
pub struct SignalIn {
    /// Its name.
    pub name: String,
    /// The text of a JSON array.
    pub args: Payload,
    /// Who sent it.
    pub actor: String,
    /// UID of the `UserAction`.
    pub user_action: String,
}

/// A wish to resume a blocked run.
#[derive(Debug, Clone)]
pub struct Retry {
    /// By whom.
    pub actor: String,
    /// UID of the `UserAction`.
    pub user_action: String,
    /// The unknown effects that may be repeated, by their commands.
    pub repeat_effects: Vec<u64>,
}

/// Performs a user action unless it has an outcome already.
fn once(
    state: &RunState,
    now: Timestamp,
    user_action: &str,
    perform: impl FnOnce(&mut Transition) -> UserActionOutcome,
) -> Consequence<UserActionOutcome> {
    let mut transition = Transition::of(state, now);
    let known = state.user_actions.get(user_action).cloned();
    let outcome = known.unwrap_or_else(|| perform(&mut transition));
    transition.done(Ok(outcome))
}

/// The same for one that the journal itself may refuse: `decide` writes it and gives its `seq`, or a reason.
fn unless_refused(
    state: &RunState,
    now: Timestamp,
    (user_action, actor, verb): (&str, &str, &str),
    decide: impl FnOnce(&mut Transition) -> Result<u64, RefusalReason>,
) -> Consequence<UserActionOutcome> {
    once(state, now, user_action, |transition| match decide(transition) {
        Ok(seq) => UserActionOutcome::Applied { seq },
        Err(reason) => transition.refuse(user_action, actor, verb, reason.as_str()),
    })
}

impl Transition {
    fn refuse(&mut self, user_action: &str, actor: &str, verb: &str, reason: &str) -> UserActionOutcome {
        let seq = self.write(EntryBody::UserActionRefused(entries::UserActionRefused {
            user_action: user_action.to_owned(),
            actor: actor.to_owned(),
            verb: verb.to_owned(),
            reason: reason.to_owned(),
        }));
        UserActionOutcome::Refused { reason: reason.to_owned(), seq }
    }

    /// Refuses what comes too late for the run.
    fn alive(&self) -> Result<(), RefusalReason> {
        if self.state.terminal.is_some() {
            return Err(RefusalReason::RunEnded);
        }
        if self.state.cancel_requested.is_some() {
            return Err(RefusalReason::RunCancelled);
        }
        Ok(())
    }
}

/// Decides a gate. The first end of a gate is its only one, and it must be of the revision shown.
pub fn decide(state: &RunState, it: &GateDecision<Payload>, now: Timestamp) -> Consequence<UserActionOutcome> {
    unless_refused(state, now, (&it.user_action, &it.actor, it.verb.as_str()), |transition| {
        transition.alive()?;
        let gate = transition.state.gate(it.gate_id).ok_or(RefusalReason::UnknownGate)?;
        check_gate(gate, it, transition.state.fired_upto)?;
        let seq = transition.write(EntryBody::GateDecided(entries::GateDecided {
            target: gate.command,
            gate_id: it.gate_id,
            revision: it.revision,
            verb: it.verb,
            actor: it.actor.clone(),
            groups: it.groups.clone(),
            user_action: it.user_action.clone(),
            acted_at: crate::protocol::time::micros(it.acted_at),
            comment: it.comment.clone(),
            correction: it.correction.clone(),
        }));
        transition.wake();
        Ok(seq)
    })
}

fn check_gate(gate: &Gate, it: &GateDecision<Payload>, fired_upto: Option<Timestamp>) -> Result<(), RefusalReason> {
    match gate.state {
        GateProgress::Open => {}
        GateProgress::Decided => return Err(RefusalReason::AlreadyDecided),
        GateProgress::Closed(GateCloseCause::Expired) => return Err(RefusalReason::Expired),
        GateProgress::Closed(_) => return Err(RefusalReason::Closed),
    }
    if it.revision != gate.revision || it.digest.as_ref().is_some_and(|digest| *digest != gate.content_digest) {
        return Err(RefusalReason::Superseded);
    }
    // Once a timer as late as the gate's deadline has fired, workflow code has been told that nobody answered.
    if gate.due.is_some_and(|due| it.acted_at > due || fired_upto.is_some_and(|fired| fired >= due)) {
        return Err(RefusalReason::Expired);
    }
    let offers = |verb: Verb| gate.actions.iter().any(|action| action == verb.as_str());
    if Verb::ALL.iter().copied().any(offers) && !offers(it.verb) {
        return Err(RefusalReason::NotOffered);
    }
    Ok(())
}

/// Sends a signal.
pub fn signal(state: &RunState, it: &SignalIn, now: Timestamp) -> Consequence<UserActionOutcome> {
    unless_refused(state, now, (&it.user_action, &it.actor, "signal"), |transition| {
        transition.alive()?;
        if it.name == "user_action" {
            return Err(RefusalReason::Reserved);
        }
        let seq = transition.write(EntryBody::SignalReceived(entries::SignalReceived {
            name: it.name.clone(),
            args: it.args.clone(),
            actor: Some(it.actor.clone()),
            user_action: Some(it.user_action.clone()),
        }));
        transition.wake();
        Ok(seq)
    })
}

/// Asks for the run's end: at once if nobody holds it and its runbook does not ask to be told, else it has its grace.
pub fn cancel(state: &RunState, user_action: &str, actor: &str, now: Timestamp) -> Consequence<UserActionOutcome> {
    unless_refused(state, now, (user_action, actor, "cancel"), |transition| {
        transition.alive()?;
        let seq = transition.write(EntryBody::CancelRequested(entries::CancelRequested {
            actor: actor.to_owned(),
            user_action: user_action.to_owned(),
        }));
        transition.cancel();
        Ok(seq)
    })
}

/// Resumes a blocked run. Every unknown effect must be among `repeat_effects`, and nothing else.
pub fn retry(state: &RunState, it: &Retry, now: Timestamp) -> Consequence<UserActionOutcome> {
    unless_refused(state, now, (&it.user_action, &it.actor, "retry"), |transition| {
        transition.alive()?;
        if transition.state.blocked.is_none() {
            return Err(RefusalReason::NotBlocked);
        }
        let unknown =
            |target: &u64| transition.state.activities.get(target).is_some_and(super::Activity::unknown_effect);
        if !it.repeat_effects.iter().all(unknown) {
            return Err(RefusalReason::NothingToRepeat);
        }
        if transition.state.activities.keys().any(|target| unknown(target) && !it.repeat_effects.contains(target)) {
            return Err(RefusalReason::EffectUnknown);
        }
        let seq = transition.write(EntryBody::RetryRequested(entries::RetryRequested {
            actor: it.actor.clone(),
            user_action: it.user_action.clone(),
            repeat_effects: it.repeat_effects.clone(),
        }));
        if transition.state.holder().is_none() {
            transition.decide_next_segment(false);
        }
        Ok(seq)
    })
}

/// Records that a user action had no effect, for a reason the operator found.
pub fn refuse(
    state: &RunState,
    (user_action, actor, verb): (&str, &str, &str),
    reason: &str,
    now: Timestamp,
) -> Consequence<UserActionOutcome> {
    once(state, now, user_action, |transition| transition.refuse(user_action, actor, verb, reason))
}

/// Opens the run's payload to a person until then. Runs that have ended are read too.
pub fn view(
    state: &RunState,
    user_action: &str,
    actor: &str,
    until: Timestamp,
    now: Timestamp,
) -> Consequence<UserActionOutcome> {
    unless_refused(state, now, (user_action, actor, "view"), |transition| {
        let until = crate::protocol::time::micros(until);
        Ok(transition.write(EntryBody::ViewOpened(entries::ViewOpened {
            actor: actor.to_owned(),
            user_action: user_action.to_owned(),
            until,
        })))
    })
}

/// Records that a person has read `what`, once per view.
pub fn read(state: &RunState, actor: &str, what: &str, now: Timestamp) -> Consequence<()> {
    let mut transition = Transition::of(state, now);
    if !state.reads.contains(&(actor.to_owned(), what.to_owned())) {
        transition
            .write(EntryBody::PayloadRead(entries::PayloadRead { actor: actor.to_owned(), what: what.to_owned() }));
    }
    transition.done(Ok(()))
}
