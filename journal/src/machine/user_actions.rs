//! People act. Every act has a UID and is applied or refused once; asked again, it has the outcome it had.

use jiff::Timestamp;
use uuid::Uuid;

use super::parts::{ActOutcome, Gate, GateState};
use super::state::RunState;
use super::{Draft, Outcome};
use crate::protocol::{EntryBody, GateCloseCause, Payload, Verb};

/// Reasons for which the journal itself refuses an act.
pub mod reason {
    /// The run has ended.
    pub const RUN_ENDED: &str = "RunEnded";
    /// The run is being cancelled, or was asked to be already.
    pub const RUN_CANCELLED: &str = "RunCancelled";
    /// The run has no such gate.
    pub const UNKNOWN_GATE: &str = "UnknownGate";
    /// Somebody was first.
    pub const ALREADY_DECIDED: &str = "AlreadyDecided";
    /// Workflow code went on without an answer.
    pub const CLOSED: &str = "Closed";
    /// Its time ran out.
    pub const EXPIRED: &str = "Expired";
    /// What was seen is not what is shown now.
    pub const SUPERSEDED: &str = "Superseded";
    /// The gate does not offer the verb.
    pub const NOT_OFFERED: &str = "NotOffered";
    /// A retry of a run that is not blocked.
    pub const NOT_BLOCKED: &str = "NotBlocked";
    /// A retry that leaves an unknown effect undecided.
    pub const EFFECT_UNKNOWN: &str = "EffectUnknown";
    /// A retry that allows to repeat what needs no allowance.
    pub const NOTHING_TO_REPEAT: &str = "NothingToRepeat";
    /// A signal whose name belongs to the gates.
    pub const RESERVED: &str = "Reserved";
    /// The act names a draft that is not there.
    pub const DRAFT_MISSING: &str = "DraftMissing";
}

/// A decision of a gate that the gate's policy allows.
#[derive(Debug, Clone)]
pub struct Decide {
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
    /// UID of the act.
    pub act: String,
    /// When the API server took it.
    pub acted_at: Timestamp,
    /// Why.
    pub comment: Option<Payload>,
    /// The values instead, or what is handed in.
    pub correction: Option<Payload>,
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
    /// UID of the act.
    pub act: String,
}

/// A wish that a blocked run goes on.
#[derive(Debug, Clone)]
pub struct Retry {
    /// By whom.
    pub actor: String,
    /// UID of the act.
    pub act: String,
    /// The unknown effects that may be repeated, by their commands.
    pub repeats: Vec<u64>,
}

/// Runs `judge` unless the act has an outcome already, and writes the refusal if it gives a reason.
fn once(
    state: &RunState,
    now: Timestamp,
    (act, actor, verb): (&str, &str, &str),
    judge: impl FnOnce(&mut Draft) -> Result<u64, &'static str>,
) -> Outcome<ActOutcome> {
    let mut draft = Draft::of(state, now);
    let outcome = match state.acts.get(act) {
        Some(outcome) => outcome.clone(),
        None => match judge(&mut draft) {
            Ok(seq) => ActOutcome::Applied { seq },
            Err(reason) => draft.refuse(act, actor, verb, reason),
        },
    };
    draft.done(Ok(outcome))
}

impl Draft {
    fn refuse(&mut self, act: &str, actor: &str, verb: &str, reason: &str) -> ActOutcome {
        let seq = self.write(EntryBody::ActRefused {
            act: act.to_owned(),
            actor: actor.to_owned(),
            verb: verb.to_owned(),
            reason: reason.to_owned(),
        });
        ActOutcome::Refused { reason: reason.to_owned(), seq }
    }

    /// Refuses what comes too late for the run.
    fn alive(&self) -> Result<(), &'static str> {
        if self.state.terminal.is_some() {
            return Err(reason::RUN_ENDED);
        }
        if self.state.cancel_requested.is_some() {
            return Err(reason::RUN_CANCELLED);
        }
        Ok(())
    }
}

/// Decides a gate. The first end of a gate is its only one, and it must be of the revision shown.
pub fn decide(state: &RunState, it: &Decide, now: Timestamp) -> Outcome<ActOutcome> {
    once(state, now, (&it.act, &it.actor, it.verb.as_str()), |draft| {
        draft.alive()?;
        let gate = draft.state.gate(it.gate_id).ok_or(reason::UNKNOWN_GATE)?;
        judge_gate(gate, it, draft.state.fired_upto)?;
        let seq = draft.write(EntryBody::GateDecided {
            target: gate.command,
            gate_id: it.gate_id,
            revision: it.revision,
            verb: it.verb,
            actor: it.actor.clone(),
            groups: it.groups.clone(),
            act: it.act.clone(),
            acted_at: crate::protocol::time::micros(it.acted_at),
            comment: it.comment.clone(),
            correction: it.correction.clone(),
        });
        draft.wake();
        Ok(seq)
    })
}

fn judge_gate(gate: &Gate, it: &Decide, fired_upto: Option<Timestamp>) -> Result<(), &'static str> {
    match gate.state {
        GateState::Open => {}
        GateState::Decided => return Err(reason::ALREADY_DECIDED),
        GateState::Closed(GateCloseCause::Expired) => return Err(reason::EXPIRED),
        GateState::Closed(_) => return Err(reason::CLOSED),
    }
    if it.revision != gate.revision || it.digest.as_ref().is_some_and(|digest| *digest != gate.content_digest) {
        return Err(reason::SUPERSEDED);
    }
    // Once a timer as late as the gate's deadline has fired, workflow code has been told that nobody answered.
    if gate.due.is_some_and(|due| it.acted_at > due || fired_upto.is_some_and(|fired| fired >= due)) {
        return Err(reason::EXPIRED);
    }
    let verbs = [Verb::Approve, Verb::Reject, Verb::Correct, Verb::Submit];
    let offers = |verb: Verb| gate.actions.iter().any(|action| action == verb.as_str());
    if verbs.into_iter().any(offers) && !offers(it.verb) {
        return Err(reason::NOT_OFFERED);
    }
    Ok(())
}

/// Sends a signal.
pub fn signal(state: &RunState, it: &SignalIn, now: Timestamp) -> Outcome<ActOutcome> {
    once(state, now, (&it.act, &it.actor, "signal"), |draft| {
        draft.alive()?;
        if it.name == "user_action" {
            return Err(reason::RESERVED);
        }
        let seq = draft.write(EntryBody::SignalReceived {
            name: it.name.clone(),
            args: it.args.clone(),
            actor: Some(it.actor.clone()),
            act: Some(it.act.clone()),
        });
        draft.wake();
        Ok(seq)
    })
}

/// Asks for the run's end: at once if nobody holds it, else the holder has its grace.
pub fn cancel(state: &RunState, act: &str, actor: &str, now: Timestamp) -> Outcome<ActOutcome> {
    once(state, now, (act, actor, "cancel"), |draft| {
        draft.alive()?;
        let seq = draft.write(EntryBody::CancelRequested { actor: actor.to_owned(), act: act.to_owned() });
        if draft.state.holder().is_none() {
            draft.settle(false);
        }
        Ok(seq)
    })
}

/// Lets a blocked run go on. Every unknown effect must be among `repeats`, and nothing else.
pub fn retry(state: &RunState, it: &Retry, now: Timestamp) -> Outcome<ActOutcome> {
    once(state, now, (&it.act, &it.actor, "retry"), |draft| {
        draft.alive()?;
        if draft.state.blocked.is_none() {
            return Err(reason::NOT_BLOCKED);
        }
        let unknown = |target: &u64| draft.state.activities.get(target).is_some_and(super::Activity::unknown_effect);
        if !it.repeats.iter().all(unknown) {
            return Err(reason::NOTHING_TO_REPEAT);
        }
        if draft.state.activities.keys().any(|target| unknown(target) && !it.repeats.contains(target)) {
            return Err(reason::EFFECT_UNKNOWN);
        }
        let seq = draft.write(EntryBody::RetryRequested {
            actor: it.actor.clone(),
            act: it.act.clone(),
            repeats: it.repeats.clone(),
        });
        if draft.state.holder().is_none() {
            draft.settle(false);
        }
        Ok(seq)
    })
}

/// Records that an act had no effect, for a reason the operator found.
pub fn refuse(
    state: &RunState,
    (act, actor, verb): (&str, &str, &str),
    reason: &'static str,
    now: Timestamp,
) -> Outcome<ActOutcome> {
    once(state, now, (act, actor, verb), |_| Err(reason))
}

/// Opens the run's payload to a person until then. Runs that have ended are read too.
pub fn view(state: &RunState, act: &str, actor: &str, until: Timestamp, now: Timestamp) -> Outcome<ActOutcome> {
    once(state, now, (act, actor, "view"), |draft| {
        let until = crate::protocol::time::micros(until);
        Ok(draft.write(EntryBody::ViewOpened { actor: actor.to_owned(), act: act.to_owned(), until }))
    })
}

/// Records that a person has read `what`, once per view.
pub fn read(state: &RunState, actor: &str, what: &str, now: Timestamp) -> Outcome<()> {
    let mut draft = Draft::of(state, now);
    if !state.reads.contains(&(actor.to_owned(), what.to_owned())) {
        draft.write(EntryBody::PayloadRead { actor: actor.to_owned(), what: what.to_owned() });
    }
    draft.done(Ok(()))
}
