//! User actions: evaluated in the order the API server took them, journaled, then answered in their status.
//!
//! The rule of who may decide a gate has three places: the admission policy `ntro-user-actions` (who acted, and whether RBAC
//! grants the verb), [`evaluate`] (the run's frozen gate policy), and the journal's machine (whether the gate is open, on this
//! revision, in time).

mod evaluate;
mod perform;
pub(super) mod proof;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
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
use ntro_journal::failpoint;
use ntro_journal::machine::GateProgress;
use ntro_journal::{JournalError, RunState};

use crate::cache::RunRef;
use crate::context::{Context, JournalOrTenant};
use crate::error::{Class, Problem};
use crate::k8s::patch_status_if_changed;
use crate::launch::pin;
use perform::{Answer, perform};
use stored::stored_upto;

/// User actions that were answered are kept this long for people to look at; the journal keeps them for good.
const KEEP: SignedDuration = SignedDuration::from_hours(24);
/// What is said to a user action about which its reason says all.
pub(super) const ANSWERED: &str = "user action was answered";
/// User actions read at a time.
const PAGE: u32 = 500;

fn is_answered(action: &UserAction) -> bool {
    action.status.as_ref().is_some_and(|status| status.outcome.is_some())
}

/// User actions without an answer, in the order the API server took them; names break ties.
pub(super) fn pending(actions: &[Arc<UserAction>]) -> Vec<Arc<UserAction>> {
    let mut open: Vec<_> = actions.iter().filter(|action| !is_answered(action)).cloned().collect();
    open.sort_by_key(|action| (action.creation_timestamp(), action.name_any()));
    open
}

/// The run that a user action is about.
pub(super) fn run_of(action: &UserAction) -> Option<RunRef> {
    Some(RunRef::new(action.namespace()?, action.spec.run.clone()))
}

/// Evaluates and answers these user actions of a run, one after the other. One that is wrong in itself is refused; an error
/// means that this one and those after it are still without an answer.
pub(super) async fn answer(
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
        let answer = match perform(&context.journal, &action, &state, pin, proof).await {
            Err(problem) if matches!(problem.class, Class::Invalid) => {
                let (name, error) = (action.name_any(), &problem.message);
                tracing::warn!(namespace = state.namespace, user_action = name, error, "malformed user action");
                perform::refuse(&context.journal, &action, state.run_id, UserActionReason::Malformed.as_str()).await?
            }
            answer => answer?,
        };
        failpoint::hit("user-action-journaled");
        write_answer(context, &action, &answer, ANSWERED).await?;
    }
    Ok(())
}

/// Until when the user actions on runs are answered.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// What the API server's clock showed before it was asked, by namespace.
    asked: BTreeMap<String, Timestamp>,
    /// Runs with user actions that could not be answered.
    except: BTreeSet<RunRef>,
    /// Namespaces that could not be read.
    unread: BTreeSet<String>,
}

impl Answered {
    /// The time until which every user action on the run that the API server has taken is answered, by the API server's clock.
    /// `None` if that is not known: then nothing may happen to the run because nobody acted in time. While a gate is open, it
    /// is the time until which no action in time can come any more.
    pub(super) fn upto(&self, state: &RunState) -> Option<Timestamp> {
        if self.unread.contains(&state.namespace) || self.except.contains(&RunRef::of_journal(state)) {
            return None;
        }
        // Not asked for: its turn is the next one.
        let asked = self.asked.get(&state.namespace).copied().unwrap_or(Timestamp::MIN);
        let asks = state.gates.values().any(|gate| gate.state == GateProgress::Open);
        Some(if asks { stored_upto(asked) } else { asked })
    }

    /// The time until which all of them are stored and answered, in every namespace asked for.
    pub(super) fn all_upto(&self) -> Option<Timestamp> {
        let known = self.unread.is_empty() && self.except.is_empty();
        known.then(|| self.asked.values().min().copied().map(stored_upto)).flatten()
    }
}

/// Answers every user action that the API server has taken until now in these namespaces. The API server itself is asked: the
/// watch may be late. What goes wrong in a namespace or with a run is no other one's.
pub(super) async fn answer_in(context: &Context, namespaces: impl IntoIterator<Item = String>) -> Answered {
    let mut answered = Answered::default();
    for namespace in namespaces {
        let asked = context.server_now();
        let actions = match list(context, &namespace).await {
            Ok(actions) => actions,
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::warn!(namespace, error, "could not list user actions; nothing expires until they are known");
                answered.unread.insert(namespace);
                continue;
            }
        };
        for (run, actions) in actions {
            if let Err(problem) = answer_run(context, &run, &actions).await {
                let (reason, error) = (problem.reason.as_str(), &problem.message);
                tracing::warn!(namespace, run = run.name, reason, error, "could not answer user actions");
                answered.except.insert(run);
            }
        }
        answered.asked.insert(namespace, asked);
    }
    answered
}

async fn answer_run(context: &Context, run: &RunRef, actions: &[Arc<UserAction>]) -> Result<(), Problem> {
    let Some(id) = context.run_by_name(&run.namespace, &run.name).await? else { return Ok(()) };
    let state = match context.served_state(id).await {
        // Claimed, not begun: there is nothing that could expire.
        Err(JournalOrTenant::Journal(JournalError::UnknownRun(_))) => return Ok(()),
        Err(JournalOrTenant::Journal(JournalError::Purged { record, .. })) => {
            return refuse_all(context, actions, UserActionReason::Purged, &record.to_string()).await;
        }
        state => state?,
    };
    let pin = pin::readable(&state)?;
    answer(context, &state, &pin, pending(actions)).await
}

/// The user actions of a namespace without an answer, by run.
async fn list(context: &Context, namespace: &str) -> kube::Result<BTreeMap<RunRef, Vec<Arc<UserAction>>>> {
    let api = context.kube.namespaced::<UserAction>(namespace);
    let (mut by_run, mut page) = (BTreeMap::<_, Vec<_>>::new(), ListParams::default().limit(PAGE));
    loop {
        let actions = api.list(&page).await?;
        let rest = actions.metadata.continue_.filter(|rest| !rest.is_empty());
        for action in actions.items.into_iter().filter(|action| !is_answered(action)) {
            if let Some(run) = run_of(&action) {
                by_run.entry(run).or_default().push(Arc::new(action));
            }
        }
        match rest {
            Some(rest) => page = page.continue_token(&rest),
            None => return Ok(by_run),
        }
    }
}

/// Refuses the user actions on a run that there is not; `message` is for people.
pub(super) async fn refuse_all(
    context: &Context,
    actions: &[Arc<UserAction>],
    reason: UserActionReason,
    message: &str,
) -> Result<(), Problem> {
    for action in pending(actions) {
        write_answer(context, &action, &Answer::Refused(reason), message).await?;
    }
    Ok(())
}

async fn write_answer(context: &Context, action: &UserAction, answer: &Answer, message: &str) -> Result<(), Problem> {
    let api = context.kube.namespaced::<UserAction>(&action.namespace().unwrap_or_default());
    let generation = action.metadata.generation;
    let outcome = match answer {
        Answer::Accepted => Outcome::Accepted,
        Answer::Refused(_) => Outcome::Refused,
    };
    context.metrics.user_action(action.spec.verb, outcome);
    let (mut list, now) = (Vec::new(), context.clock.now());
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
pub(super) async fn prune(
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
