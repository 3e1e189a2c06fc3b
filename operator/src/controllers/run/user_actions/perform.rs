//! Journals a user action.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use ntro_crds::UserAction;
use ntro_crds::reasons::ConditionReason;
use ntro_crds::user_action::GateSeen;
use ntro_crds::workflow_run::RunPin;
use ntro_crds::{Reason, UserActionReason};
use ntro_journal::protocol::{RefusalReason, Verb};
use ntro_journal::{DraftRef, GateDecision, Journal, RunState, UserActionOutcome};
use uuid::Uuid;

use super::evaluate::{Proof, Verdict, evaluate};
use crate::error::{Class, Problem};

/// How long a view opens the read API.
const VIEW: SignedDuration = SignedDuration::from_mins(10);

/// What a user action came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    /// It does not count, for this reason.
    Refused(UserActionReason),
}

impl ConditionReason for &Answer {
    fn word(self) -> &'static str {
        match self {
            Answer::Accepted => Reason::Accepted.word(),
            Answer::Refused(reason) => reason.word(),
        }
    }
}

impl TryFrom<UserActionOutcome> for Answer {
    type Error = Problem;

    fn try_from(outcome: UserActionOutcome) -> Result<Self, Problem> {
        match outcome {
            UserActionOutcome::Applied { .. } => Ok(Self::Accepted),
            UserActionOutcome::Refused { reason, .. } => UserActionReason::try_from(reason.as_str())
                .map(Self::Refused)
                .map_err(|unknown| Problem::new(Class::Bug, Reason::FormatTooNew, unknown.to_string())),
        }
    }
}

/// The draft that a user action names.
enum Drafted {
    /// It names none.
    None,
    Sent(DraftRef),
    /// It is not there, or somebody else sent it.
    Missing,
}

impl Drafted {
    async fn find(journal: &Journal, run: Uuid, actor: &str, digest: Option<&str>) -> Result<Self, Problem> {
        let Some(digest) = digest else { return Ok(Self::None) };
        Ok(journal.draft_sent_by(run, actor, digest).await?.map_or(Self::Missing, Self::Sent))
    }

    fn sent(self) -> Option<DraftRef> {
        match self {
            Self::Sent(draft) => Some(draft),
            Self::None | Self::Missing => None,
        }
    }
}

/// Evaluates a user action and journals what it comes to. Asked again, it gives the answer it gave.
pub(super) async fn perform(
    journal: &Journal,
    action: &UserAction,
    state: &RunState,
    pin: &RunPin,
    proof: Proof,
) -> Result<Answer, Problem> {
    let spec = &action.spec;
    let (id, actor, uid) = (state.run_id, spec.actor.as_str(), action.uid().unwrap_or_default());
    if let Some(known) = state.user_actions.get(&uid) {
        return known.clone().try_into();
    }
    let outcome = match evaluate(action, state, pin, proof) {
        Verdict::Refuse(reason) => journal.refuse(id, &uid, actor, spec.verb.as_str(), reason.as_str()).await?,
        Verdict::Cancel => journal.cancel(id, &uid, actor).await?,
        Verdict::Retry => {
            let repeat_effects = spec.repeat_effects.iter().flatten().filter_map(|n| u64::try_from(*n).ok()).collect();
            journal.retry(id, &uid, actor, repeat_effects).await?
        }
        Verdict::View { key_hash } => {
            let until = journal.now().checked_add(VIEW).unwrap_or(Timestamp::MAX);
            journal.view(id, &uid, actor, &key_hash, until).await?
        }
        Verdict::Signal { name } => {
            let args = match Drafted::find(journal, id, actor, spec.draft_digest.as_deref()).await? {
                Drafted::None => "[]".to_owned(),
                Drafted::Sent(draft) => match journal.draft_text(id, &draft, acted_at(action)).await? {
                    Some(text) => text,
                    None => return refuse_without_draft(journal, action, id).await,
                },
                Drafted::Missing => return refuse_without_draft(journal, action, id).await,
            };
            journal.signal(id, &uid, actor, &name, args).await?
        }
        Verdict::Decide { gate, verb, seen } => return decide(journal, action, id, gate, verb, seen).await,
    };
    outcome.try_into()
}

async fn decide(
    journal: &Journal,
    action: &UserAction,
    id: Uuid,
    gate_id: Uuid,
    verb: Verb,
    seen: GateSeen,
) -> Result<Answer, Problem> {
    let spec = &action.spec;
    let comment = Drafted::find(journal, id, &spec.actor, spec.comment_digest.as_deref()).await?;
    let correction = Drafted::find(journal, id, &spec.actor, spec.draft_digest.as_deref()).await?;
    let (comment, correction) = match (comment, correction) {
        (Drafted::Missing, _) | (_, Drafted::Missing) => return refuse_without_draft(journal, action, id).await,
        (comment, correction) => (comment.sent(), correction.sent()),
    };
    let decision = GateDecision {
        gate_id,
        revision: u32::try_from(seen.revision).unwrap_or(0),
        digest: Some(seen.digest),
        verb,
        actor: spec.actor.clone(),
        groups: spec.groups.clone().unwrap_or_default(),
        user_action: action.uid().unwrap_or_default(),
        acted_at: acted_at(action),
        comment,
        correction,
    };
    journal.decide(id, decision).await?.try_into()
}

/// When the API server took the action.
fn acted_at(action: &UserAction) -> Timestamp {
    action.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

async fn refuse_without_draft(journal: &Journal, action: &UserAction, run: Uuid) -> Result<Answer, Problem> {
    refuse(journal, action, run, RefusalReason::DraftMissing.as_str()).await
}

/// Journals that a user action has no effect.
pub(super) async fn refuse(
    journal: &Journal,
    action: &UserAction,
    run: Uuid,
    reason: &'static str,
) -> Result<Answer, Problem> {
    let (uid, spec) = (action.uid().unwrap_or_default(), &action.spec);
    journal.refuse(run, &uid, &spec.actor, spec.verb.as_str(), reason).await?.try_into()
}
