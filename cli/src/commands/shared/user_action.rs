//! Creates a `UserAction` and waits until the operator has accepted or refused it.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::PostParams;
use ntro_crds::names::{self, UserActionIdentity};
use ntro_crds::reasons::UserActionReason;
use ntro_crds::user_action::{GateSeen, Outcome, Verb};
use ntro_crds::{UserAction, UserActionSpec, UserActionStatus};

use crate::cluster::{Cluster, Person};
use crate::error::{Failure, Result};

const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(150);
/// The schema's bound on `spec.groups`.
const MAX_GROUPS: usize = 64;

pub(crate) struct NewUserAction<'a> {
    pub(crate) verb: Verb,
    pub(crate) workflow: &'a str,
    pub(crate) run: &'a str,
    pub(crate) run_id: &'a str,
    pub(crate) gate: Option<GateSeen>,
    /// Keyed digest of uploaded corrections.
    pub(crate) draft_digest: Option<String>,
    /// Keyed digest of an uploaded comment.
    pub(crate) comment_digest: Option<String>,
    /// Hash of a one-time key.
    pub(crate) key_hash: Option<String>,
    pub(crate) repeat_effects: Option<Vec<i64>>,
    /// Distinguishes actions that may be repeated, e.g. a second cancel after a retry.
    pub(crate) nonce: Option<String>,
    pub(crate) timeout: Duration,
}

impl<'a> NewUserAction<'a> {
    pub(crate) fn on_run(verb: Verb, workflow: &'a str, run: &'a str, run_id: &'a str) -> Self {
        Self {
            verb,
            workflow,
            run,
            run_id,
            gate: None,
            draft_digest: None,
            comment_digest: None,
            key_hash: None,
            repeat_effects: None,
            nonce: None,
            timeout: DEFAULT_TIMEOUT,
        }
    }

    fn target(&self) -> &str {
        self.gate.as_ref().map_or(self.run, |gate| gate.name.as_str())
    }

    /// The same action of the same person has the same name, so that a repeated command acts once. `refused` is the UID of
    /// a refused one that it replaces.
    fn object_name(&self, person: &Person, refused: Option<&str>) -> String {
        let identity = UserActionIdentity {
            actor: &person.name,
            verb: self.verb.as_str(),
            run_id: self.run_id,
            gate_id: self.gate.as_ref().map(|g| g.gate_id.as_str()),
            revision: self.gate.as_ref().map(|g| g.revision),
            digest: self.gate.as_ref().map(|g| g.digest.as_str()),
            draft_digest: self.draft_digest.as_deref(),
            comment_digest: self.comment_digest.as_deref(),
            key_hash: self.key_hash.as_deref(),
            other: refused.or(self.nonce.as_deref()),
        };
        names::user_action(self.target(), &identity)
    }

    fn into_spec(self, person: &Person) -> UserActionSpec {
        UserActionSpec {
            actor: person.name.clone(),
            groups: (!person.groups.is_empty()).then(|| person.groups.iter().take(MAX_GROUPS).cloned().collect()),
            verb: self.verb,
            workflow: self.workflow.to_owned(),
            run: self.run.to_owned(),
            run_id: self.run_id.to_owned(),
            gate: self.gate,
            draft_digest: self.draft_digest,
            comment_digest: self.comment_digest,
            key_hash: self.key_hash,
            signal: None,
            repeat_effects: self.repeat_effects,
        }
    }
}

/// Creates the action and waits for its outcome.
pub(crate) async fn submit(cluster: &Cluster, person: &Person, action: NewUserAction<'_>) -> Result<()> {
    let actions: Api<UserAction> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let what = format!("{} {}/{}", action.verb.as_str(), cluster.namespace(), action.target());
    let mut name = action.object_name(person, None);
    while let Some(uid) = temporarily_refused(&actions, &name, &what).await? {
        name = action.object_name(person, Some(&uid));
    }
    let timeout = action.timeout;
    match actions.create(&PostParams::default(), &UserAction::new(&name, action.into_spec(person))).await {
        Ok(_) => {}
        Err(kube::Error::Api(s)) if s.code == 409 => {}
        Err(e) => return Err(Failure::from_kube(&what, e)),
    }
    wait(&actions, &name, &what, timeout).await
}

async fn wait(actions: &Api<UserAction>, name: &str, what: &str, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let action = actions.get(name).await.map_err(|e| Failure::from_kube(what, e))?;
        let status = action.status.unwrap_or_default();
        match status.outcome {
            Some(Outcome::Accepted) => return Ok(()),
            Some(Outcome::Refused) => return Err(Failure::Refused(format!("cannot {what}: {}", explain(&status)))),
            None if Instant::now() > deadline => {
                return Err(Failure::Timeout(format!(
                    "cannot {what}: the operator did not process UserAction `{name}` within {}s; it will once it is back, \
                     see `kubectl get -n {} act {name}`",
                    timeout.as_secs(),
                    action.metadata.namespace.unwrap_or_default(),
                )));
            }
            None => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// The UID of the action of that name if it was refused for a reason outside what it decides. It may be submitted again
/// under another name, as the outcome of an object is final.
async fn temporarily_refused(actions: &Api<UserAction>, name: &str, what: &str) -> Result<Option<String>> {
    let found = actions.get_opt(name).await.map_err(|e| Failure::from_kube(what, e))?;
    let temporary = found.filter(|action| {
        let reason = action.status.as_ref().and_then(|s| s.reason.as_deref());
        reason.and_then(|word| UserActionReason::try_from(word).ok()).is_some_and(UserActionReason::is_passing)
    });
    Ok(temporary.and_then(|action| action.metadata.uid))
}

fn explain(status: &UserActionStatus) -> String {
    let reason = status.reason.as_deref().unwrap_or("Refused");
    match UserActionReason::try_from(reason).map(advice) {
        Ok(advice) => format!("{advice} ({reason})"),
        // Of a newer operator.
        Err(_) => reason.to_owned(),
    }
}

/// What a refusal means for the person, and what to do next.
fn advice(reason: UserActionReason) -> &'static str {
    use UserActionReason as R;
    match reason {
        R::Superseded => "the gate's content has changed since; review it with `ntro gate show`",
        R::AlreadyDecided => "the gate has already been answered; see `ntro gate list --all`",
        R::Closed => "the runbook's code has closed the gate",
        R::Expired => "the gate has expired",
        R::NotInPolicy => "the workflow's gatePolicy names neither you nor one of your groups for this gate",
        R::NotDistinct => "the workflow's gatePolicy requires a different person for this gate",
        R::ApprovalPolicyMissing => {
            "the admission policy that proves who acts is missing or altered, or not verified yet in a new tenant; \
             try again, and if it is refused again, ask an administrator to restore the chart `ntro`"
        }
        R::DraftMissing => "its uploaded content is no longer available; try again",
        R::Purged => "the run's journal was purged, as the tenant's retention wants it; see when with `ntro run get`",
        R::RunEnded => "the run has ended",
        R::RunCancelled => "the run is being cancelled",
        R::RunMismatch => "it names a run that was replaced by another of the same name; look at the run again",
        R::WorkflowMismatch => "it names another Workflow than the run's; look at the run again",
        R::GateMismatch | R::UnknownGate => "the run has no such gate; see `ntro gate list`",
        R::ClassMismatch => "it names another class than the gate's; review the gate with `ntro gate show`",
        R::Incomplete => "it lacks what its verb needs",
        R::RunMissing => "there is no such run",
        R::JournalBehind => {
            "the operator's journal is older than the run's published status; its latest backup must be restored"
        }
        R::JournalCorrupt => "the run's journal is damaged; the operator's latest backup must be restored",
        R::AlreadyRan => "a run of this name has already ended, or another run uses its name",
        R::NotOffered => "the gate does not offer this; review it with `ntro gate show`",
        R::NotBlocked => "the run is not blocked, so there is nothing to resume",
        R::EffectUnknown => {
            "nobody knows whether some effects of the run have happened; check each, then name those to repeat"
        }
        R::NothingToRepeat => "it names an effect that needs no permission to be repeated; look at the run again",
        R::Reserved => "this signal name is reserved for gates; decide the gate with `ntro gate`",
        R::Malformed => "what it carries is not what its verb takes; the arguments of a signal are a JSON array",
    }
}
