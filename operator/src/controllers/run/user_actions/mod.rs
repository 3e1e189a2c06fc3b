//! Acts of people: judged in the order the API server took them, journaled, then answered in their status.

pub mod judge;
pub mod proof;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::DeleteParams;
use ntro_crds::UserAction;
use ntro_crds::conditions::{self, Readiness};
use ntro_crds::user_action::{Outcome, UserActionStatus, Verb};
use ntro_crds::workflow_run::Pin;
use ntro_journal::protocol as journal;
use ntro_journal::{ActOutcome, DraftRef, GateAct, Journal, JournalError, RunState, machine};
use uuid::Uuid;

use crate::context::Context;
use crate::error::{Class, Problem};
use crate::failpoint;
use crate::kube_ext::patch_status_if_changed;
use judge::{Proof, Verdict, judge};

/// How long a view opens the read API.
const VIEW: SignedDuration = SignedDuration::from_mins(10);
/// Acts that were judged are kept this long for people to look at; the journal keeps them for good.
const KEEP: SignedDuration = SignedDuration::from_hours(24);

/// A failure of the journal, classified.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub fn problem(error: JournalError) -> Problem {
    let class = match error.class() {
        ntro_journal::ErrorClass::Invalid => Class::Invalid,
        ntro_journal::ErrorClass::Waiting => Class::Waiting { after: std::time::Duration::from_secs(1) },
        ntro_journal::ErrorClass::Transient => Class::Transient,
        ntro_journal::ErrorClass::Bug => Class::Bug,
    };
    Problem { class, reason: error.reason(), message: crate::error::chain(&error) }
}

/// Something that cannot happen did.
pub fn defect(error: impl std::error::Error + 'static) -> Problem {
    Problem { class: Class::Bug, reason: "Defect", message: crate::error::chain(&error) }
}

/// Acts without an outcome, in the order the API server took them; names break ties.
pub fn pending(acts: &[Arc<UserAction>]) -> Vec<Arc<UserAction>> {
    let mut open: Vec<_> =
        acts.iter().filter(|act| act.status.as_ref().is_none_or(|status| status.outcome.is_none())).cloned().collect();
    open.sort_by_key(|act| (act.creation_timestamp(), act.name_any()));
    open
}

/// Judges and answers every pending act of a run.
pub async fn process(
    context: &Context,
    journal: &Journal,
    state: &RunState,
    pin: &Pin,
    acts: &[Arc<UserAction>],
) -> Result<(), Problem> {
    let open = pending(acts);
    if open.is_empty() {
        return Ok(());
    }
    let proof = proof::verify(context, journal, &state.namespace).await?;
    for act in open {
        // Each act is judged against the journal as the one before left it.
        let state = journal.state(state.run_id).await.map_err(problem)?;
        let outcome = perform(journal, &act, &state, pin, proof).await?;
        failpoint::hit("act-journaled");
        answer(context, &act, &outcome).await?;
    }
    Ok(())
}

/// Answers acts of a run that nobody knows.
pub async fn refuse_all(context: &Context, acts: &[Arc<UserAction>], reason: &'static str) -> Result<(), Problem> {
    for act in pending(acts) {
        answer(context, &act, &Err(reason.to_owned())).await?;
    }
    Ok(())
}

/// Journals the act; `Err` holds the reason for which it does not count.
async fn perform(
    journal: &Journal,
    act: &UserAction,
    state: &RunState,
    pin: &Pin,
    proof: Proof,
) -> Result<Result<(), String>, Problem> {
    let spec = &act.spec;
    let (id, actor, uid) = (state.run_id, spec.actor.as_str(), act.uid().unwrap_or_default());
    let verdict = match state.acts.get(&uid) {
        Some(known) => return Ok(told(known.clone())),
        None => judge(act, state, pin, proof),
    };
    let outcome = match verdict {
        Verdict::Refuse(reason) => journal.refuse(id, &uid, actor, spec.verb.as_str(), reason).await,
        Verdict::Cancel => journal.cancel(id, &uid, actor).await,
        Verdict::Retry => {
            let repeats = spec.repeats.iter().flatten().filter_map(|n| u64::try_from(*n).ok()).collect();
            journal.retry(id, &uid, actor, repeats).await
        }
        Verdict::View { key_hash } => {
            let until = journal.now().checked_add(VIEW).unwrap_or(Timestamp::MAX);
            journal.view(id, &uid, actor, &key_hash, until).await
        }
        Verdict::Signal { name } => {
            let Some(draft) = draft(journal, id, actor, spec.draft_digest.as_deref()).await? else {
                return missing(journal, act, id).await;
            };
            let args = match &draft {
                Some(draft) => journal.draft_text(id, draft).await.map_err(problem)?.unwrap_or_default(),
                None => "[]".to_owned(),
            };
            journal.signal(id, &uid, actor, &name, args).await
        }
        Verdict::Decide { gate, seen } => {
            let comment = draft(journal, id, actor, spec.comment_digest.as_deref()).await?;
            let correction = draft(journal, id, actor, spec.draft_digest.as_deref()).await?;
            let (Some(comment), Some(correction)) = (comment, correction) else {
                return missing(journal, act, id).await;
            };
            let decision = GateAct {
                gate_id: gate,
                revision: u32::try_from(seen.revision).unwrap_or(0),
                digest: Some(seen.digest),
                verb: verb(spec.verb),
                actor: actor.to_owned(),
                groups: spec.groups.clone().unwrap_or_default(),
                act: uid,
                acted_at: act.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
                comment,
                correction,
            };
            journal.decide(id, decision).await
        }
    };
    Ok(told(outcome.map_err(problem)?))
}

/// The draft an act names: `Some(None)` if it names none, `None` if it is not there or somebody else sent it.
async fn draft(
    journal: &Journal,
    run: Uuid,
    actor: &str,
    digest: Option<&str>,
) -> Result<Option<Option<DraftRef>>, Problem> {
    let Some(digest) = digest else { return Ok(Some(None)) };
    Ok(journal.draft_sent_by(run, actor, digest).await.map_err(problem)?.map(Some))
}

async fn missing(journal: &Journal, act: &UserAction, run: Uuid) -> Result<Result<(), String>, Problem> {
    let (uid, spec) = (act.uid().unwrap_or_default(), &act.spec);
    let outcome = journal.refuse(run, &uid, &spec.actor, spec.verb.as_str(), machine::reason::DRAFT_MISSING).await;
    Ok(told(outcome.map_err(problem)?))
}

fn told(outcome: ActOutcome) -> Result<(), String> {
    match outcome {
        ActOutcome::Applied { .. } => Ok(()),
        ActOutcome::Refused { reason, .. } => Err(reason),
    }
}

fn verb(verb: Verb) -> journal::Verb {
    match verb {
        Verb::Reject => journal::Verb::Reject,
        Verb::Correct => journal::Verb::Correct,
        Verb::Submit => journal::Verb::Submit,
        _ => journal::Verb::Approve,
    }
}

async fn answer(context: &Context, act: &UserAction, outcome: &Result<(), String>) -> Result<(), Problem> {
    let namespace = act.namespace().unwrap_or_default();
    let api = context.namespaced::<UserAction>(&namespace);
    let generation = act.metadata.generation;
    let (outcome, reason) = match outcome {
        Ok(()) => (Outcome::Accepted, "Accepted"),
        Err(reason) => (Outcome::Refused, reason.as_str()),
    };
    context.metrics.act(act.spec.verb, outcome);
    let mut list = Vec::new();
    conditions::set_readiness(
        &mut list,
        &Readiness::Ready,
        reason,
        "the act was judged",
        generation,
        context.clock.now(),
    );
    let status = UserActionStatus {
        observed_generation: generation,
        outcome: Some(outcome),
        reason: Some(reason.to_owned()),
        conditions: Some(list),
    };
    match patch_status_if_changed(&api, &act.name_any(), act.status.as_ref(), &status).await {
        Ok(_) => Ok(()),
        // Somebody deleted it: it is in the journal all the same.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes acts that were judged long ago; says when the next one is due.
pub async fn prune(context: &Context, acts: &[Arc<UserAction>], now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    let mut next = None;
    for act in acts.iter().filter(|act| act.status.as_ref().is_some_and(|status| status.outcome.is_some())) {
        let Some(made) = act.creation_timestamp() else { continue };
        let until = made.0.checked_add(KEEP).unwrap_or(Timestamp::MAX);
        if until > now {
            next = Some(next.map_or(until, |earlier: Timestamp| earlier.min(until)));
            continue;
        }
        let api = context.namespaced::<UserAction>(&act.namespace().unwrap_or_default());
        match api.delete(&act.name_any(), &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(next)
}
