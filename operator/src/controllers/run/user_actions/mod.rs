//! User actions: evaluated in the order the API server took them, journaled, then answered in their status.
//!
//! The rule of who may decide a gate has three places: the admission policy `ntro-user-actions` (who acted, and whether RBAC
//! grants the verb), [`evaluate`] (the run's frozen gate policy), and the journal's machine (whether the gate is open, on this
//! revision, in time).

mod evaluate;
mod perform;
pub mod proof;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use ntro_crds::UserAction;
use ntro_crds::UserActionReason;
use ntro_crds::conditions::{self, Readiness};
use ntro_crds::reasons::ConditionReason as _;
use ntro_crds::user_action::{Outcome, UserActionStatus};
use ntro_crds::workflow_run::RunPin;
use ntro_journal::RunState;
use ntro_journal::failpoint;

use crate::cache::RunRef;
use crate::context::Context;
use crate::error::Problem;
use crate::k8s::patch_status_if_changed;
use crate::launch::pin;
use perform::{Answer, perform};

/// User actions that were answered are kept this long for people to look at; the journal keeps them for good.
const KEEP: SignedDuration = SignedDuration::from_hours(24);

fn is_answered(action: &UserAction) -> bool {
    action.status.as_ref().is_some_and(|status| status.outcome.is_some())
}

/// User actions without an answer, in the order the API server took them; names break ties.
pub fn pending(actions: &[Arc<UserAction>]) -> Vec<Arc<UserAction>> {
    let mut open: Vec<_> = actions.iter().filter(|action| !is_answered(action)).cloned().collect();
    open.sort_by_key(|action| (action.creation_timestamp(), action.name_any()));
    open
}

/// The run that a user action is about.
pub fn run_of(action: &UserAction) -> Option<RunRef> {
    Some(RunRef::new(action.namespace()?, action.spec.run.clone()))
}

/// Evaluates and answers these user actions of a run, one after the other.
pub async fn answer(
    context: &Context,
    state: &RunState,
    pin: &RunPin,
    actions: Vec<Arc<UserAction>>,
) -> Result<(), Problem> {
    if actions.is_empty() {
        return Ok(());
    }
    let proof = proof::verify(context, &state.namespace).await?;
    for action in actions {
        // Each is evaluated against the journal as the one before left it.
        let state = context.journal.state(state.run_id).await?;
        let answer = perform(&context.journal, &action, &state, pin, proof).await?;
        failpoint::hit("user-action-journaled");
        write_answer(context, &action, &answer).await?;
    }
    Ok(())
}

/// Answers every user action the API server has taken until now, and gives the time until which that is so: timers that are
/// due may fire only after the user actions that came before them.
pub async fn answer_all(context: &Context) -> Result<Timestamp, Problem> {
    let taken_until = context.clock.now();
    let actions = context.kube.all::<UserAction>().list(&ListParams::default()).await?;
    let mut by_run: BTreeMap<RunRef, Vec<Arc<UserAction>>> = BTreeMap::new();
    for action in actions.items.into_iter().filter(|action| !is_answered(action)) {
        if let Some(run) = run_of(&action) {
            by_run.entry(run).or_default().push(Arc::new(action));
        }
    }
    for (run, actions) in by_run {
        let Some(id) = context.journal.run_by_name(&run.namespace, &run.name).await? else { continue };
        let Ok(state) = context.journal.state(id).await else { continue };
        if let Some(pin) = pin::from_journal(&state.pin) {
            // What went wrong for one run stops no other one's timers; that run's own reconcile reports it.
            if let Err(error) = answer(context, &state, &pin, pending(&actions)).await {
                tracing::warn!(run_id = %id, reason = error.reason.as_str(), error = error.message, "could not answer user actions");
            }
        }
    }
    Ok(taken_until)
}

/// Refuses the user actions on a run that there is not.
pub async fn refuse_all(
    context: &Context,
    actions: &[Arc<UserAction>],
    reason: UserActionReason,
) -> Result<(), Problem> {
    for action in pending(actions) {
        write_answer(context, &action, &Answer::Refused(reason)).await?;
    }
    Ok(())
}

async fn write_answer(context: &Context, action: &UserAction, answer: &Answer) -> Result<(), Problem> {
    let api = context.kube.namespaced::<UserAction>(&action.namespace().unwrap_or_default());
    let generation = action.metadata.generation;
    let outcome = match answer {
        Answer::Accepted => Outcome::Accepted,
        Answer::Refused(_) => Outcome::Refused,
    };
    context.metrics.user_action(action.spec.verb, outcome);
    let (mut list, now) = (Vec::new(), context.clock.now());
    let message = "user action was evaluated";
    conditions::set_readiness(&mut list, &Readiness::Ready, answer, message, generation, now);
    let status = UserActionStatus {
        observed_generation: generation,
        outcome: Some(outcome),
        reason: Some(answer.word().to_owned()),
        conditions: Some(list),
    };
    match patch_status_if_changed(&api, &action.name_any(), action.status.as_ref(), &status).await {
        Ok(_) => Ok(()),
        // Somebody deleted it: it is in the journal all the same.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes user actions that were answered long ago; says when the next one is due.
pub async fn prune(
    context: &Context,
    actions: &[Arc<UserAction>],
    now: Timestamp,
) -> Result<Option<Timestamp>, Problem> {
    let mut next = None;
    for action in actions.iter().filter(|action| is_answered(action)) {
        let Some(created) = action.creation_timestamp() else { continue };
        let until = created.0.checked_add(KEEP).unwrap_or(Timestamp::MAX);
        if until > now {
            next = Some(next.map_or(until, |earlier: Timestamp| earlier.min(until)));
            continue;
        }
        let api = context.kube.namespaced::<UserAction>(&action.namespace().unwrap_or_default());
        match api.delete(&action.name_any(), &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(next)
}
