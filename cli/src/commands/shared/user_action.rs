//! Acts of people: create the `UserAction`, wait until the operator has judged it.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::PostParams;
use ntro_crds::names::{self, UserActionIdentity};
use ntro_crds::user_action::{GateSeen, Outcome as Judged, Verb};
use ntro_crds::{UserAction, UserActionSpec};

use crate::cluster::{Cluster, Person};
use crate::error::{Failure, Result};

/// How long the operator may take to judge an act.
const PATIENCE: Duration = Duration::from_mins(1);

/// What to do, on which run.
pub struct NewUserAction<'a> {
    /// The verb.
    pub verb: Verb,
    /// Name of the Workflow.
    pub workflow: &'a str,
    /// Name of the run.
    pub run: &'a str,
    /// Identity of the run.
    pub run_id: &'a str,
    /// The gate and what was seen of it.
    pub gate: Option<GateSeen>,
    /// Keyed digest of uploaded corrections.
    pub draft_digest: Option<String>,
    /// Keyed digest of an uploaded comment.
    pub comment_digest: Option<String>,
    /// Hash of a one-time key.
    pub key_hash: Option<String>,
    /// Effects that may be repeated.
    pub repeat_effects: Option<Vec<i64>>,
    /// Tells apart what may be done again, e.g. a second cancel after a retry.
    pub nonce: Option<String>,
    /// How long to wait for the operator's judgement.
    pub patience: Duration,
}

impl<'a> NewUserAction<'a> {
    /// An act without a gate.
    pub fn on_run(verb: Verb, workflow: &'a str, run: &'a str, run_id: &'a str) -> Self {
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
            patience: PATIENCE,
        }
    }

    fn name(&self, person: &Person, again: Option<&str>) -> String {
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
            other: again.or(self.nonce.as_deref()),
        };
        names::user_action(self.gate.as_ref().map_or(self.run, |g| g.name.as_str()), &identity)
    }
}

/// Creates the act and waits for the operator's judgement. The same act twice is one object, so repeating is safe.
pub async fn perform(cluster: &Cluster, person: &Person, action: NewUserAction<'_>) -> Result<()> {
    let namespace = cluster.namespace();
    let acts: Api<UserAction> = Api::namespaced(cluster.client.clone(), namespace);
    let what = format!(
        "{} {namespace}/{}",
        action.verb.as_str(),
        action.gate.as_ref().map_or(action.run, |g| g.name.as_str())
    );
    let mut name = action.name(person, None);
    // An act that did not count for a reason that passes may be made again, under another name.
    while let Some(uid) = refused_for_now(&acts, &name, &what).await? {
        name = action.name(person, Some(&uid));
    }
    let spec = UserActionSpec {
        actor: person.name.clone(),
        groups: (!person.groups.is_empty()).then(|| person.groups.iter().take(64).cloned().collect()),
        verb: action.verb,
        workflow: action.workflow.to_owned(),
        run: action.run.to_owned(),
        run_id: action.run_id.to_owned(),
        gate: action.gate,
        draft_digest: action.draft_digest,
        comment_digest: action.comment_digest,
        key_hash: action.key_hash,
        signal: None,
        repeat_effects: action.repeat_effects,
    };
    match acts.create(&PostParams::default(), &UserAction::new(&name, spec)).await {
        Ok(_) => {}
        Err(kube::Error::Api(s)) if s.code == 409 => {}
        Err(e) => return Err(Failure::from_kube(&what, e)),
    }
    let until = Instant::now() + action.patience;
    loop {
        let status = acts.get(&name).await.map_err(|e| Failure::from_kube(&what, e))?.status.unwrap_or_default();
        match status.outcome {
            Some(Judged::Accepted) => return Ok(()),
            Some(Judged::Refused) => {
                return Err(Failure::Refused(format!(
                    "cannot {what}: {}",
                    explain(status.reason.as_deref().unwrap_or("Refused"))
                )));
            }
            None if Instant::now() > until => {
                return Err(Failure::Timeout(format!(
                    "cannot {what}: the operator has not judged UserAction {name} within {} s; it will when it is back, \
                     `kubectl -n {namespace} get act {name}` shows it",
                    action.patience.as_secs()
                )));
            }
            None => tokio::time::sleep(Duration::from_millis(150)).await,
        }
    }
}

/// Reasons for which an act does not count that do not lie in what was decided.
const PASSING: [&str; 4] = ["ApprovalPolicyMissing", "DraftMissing", "NotInPolicy", "RunMissing"];

/// The UID of the act of that name, if it was refused for a reason that passes.
async fn refused_for_now(acts: &Api<UserAction>, name: &str, what: &str) -> Result<Option<String>> {
    let found = acts.get_opt(name).await.map_err(|e| Failure::from_kube(what, e))?;
    let passing = |act: &UserAction| {
        let reason = act.status.as_ref().and_then(|s| s.reason.as_deref());
        reason.is_some_and(|reason| PASSING.contains(&reason))
    };
    Ok(found.filter(passing).and_then(|act| act.metadata.uid))
}

/// What a reason means for the person, and what to do next.
fn explain(reason: &str) -> String {
    let text = match reason {
        "Superseded" => "what the gate shows has changed since; look at it again with `ntro gate show`",
        "AlreadyDecided" => "the gate has been answered already; see `ntro gate list --all`",
        "Expired" => "the gate has expired",
        "NotInPolicy" => "the workflow's gatePolicy does not name you or one of your groups for this gate",
        "NotDistinct" => "the workflow's gatePolicy wants another person for this gate",
        "ApprovalPolicyMissing" => {
            "the admission policy that proves who acts was missing or altered, or is not verified yet because the tenant is seconds old; repeat the command, and if it is refused again, an administrator has to restore the chart `ntro`"
        }
        "DraftMissing" | "DraftMismatch" => "what was uploaded with it is not there any more; repeat the command",
        "RunTerminal" | "Sealed" => "the run has ended",
        _ => return reason.to_owned(),
    };
    format!("{text} ({reason})")
}
