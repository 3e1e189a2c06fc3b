//! `ntro gate approve`, `reject` and `correct`.

use std::path::Path;

use ntro_crds::Gate;
use ntro_crds::gate::GateAction;
use ntro_crds::user_action::{GateSeen, Verb};
use serde_json::{Value, json};

use super::{get, open_session};
use crate::args::GateAnswerArgs;
use crate::cluster::Cluster;
use crate::commands::shared::user_action::{self, NewUserAction};
use crate::commands::shared::{columns, parse_timeout};
use crate::error::{ExitStatus, Failure, Result};
use crate::operator_api::ReadSession;
use crate::printer::Printer;

pub(super) enum GateAnswer {
    Approve,
    Reject,
    Correct(Value),
}

impl GateAnswer {
    fn verb(&self) -> Verb {
        match self {
            Self::Approve => Verb::Approve,
            Self::Reject => Verb::Reject,
            Self::Correct(_) => Verb::Correct,
        }
    }

    fn action(&self) -> GateAction {
        match self {
            Self::Approve => GateAction::Approve,
            Self::Reject => GateAction::Reject,
            Self::Correct(_) => GateAction::Correct,
        }
    }

    fn past_tense(&self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Reject => "rejected",
            Self::Correct(_) => "corrected",
        }
    }
}

pub(super) fn read_correction(path: &Path) -> Result<GateAnswer> {
    let file = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| Failure::Usage(format!("cannot read `{file}`: {e}")))?;
    let values = serde_saphyr::from_str(&text).map_err(|e| {
        let reason = e.to_string();
        Failure::Usage(format!("`{file}` is neither JSON nor YAML: {}", reason.lines().next().unwrap_or_default()))
    })?;
    Ok(GateAnswer::Correct(values))
}

pub(super) async fn run(
    args: &GateAnswerArgs,
    answer: GateAnswer,
    cluster: &Cluster,
    printer: Printer,
) -> Result<ExitStatus> {
    let gate = get(cluster, &args.name).await?;
    let seen = seen(&gate, args)?;
    check_offered(&gate, &answer)?;
    let person = cluster.whoami().await?;
    let (verb, past_tense) = (answer.verb(), answer.past_tense());
    let mut action = NewUserAction::on_run(verb, &gate.spec.workflow, &gate.spec.run, &gate.spec.run_id);
    action.timeout = parse_timeout(&args.timeout)?;
    let correction = if let GateAnswer::Correct(values) = answer { Some(values) } else { None };
    if args.message.is_some() || correction.is_some() {
        let session = open_session(cluster, &person, &gate).await?;
        let path = format!("/v1/runs/{}/{}/drafts", cluster.namespace(), gate.spec.run);
        if let Some(message) = &args.message {
            action.comment_digest = Some(upload(&session, &path, "comment", &args.name, &json!(message)).await?);
        }
        if let Some(values) = correction {
            action.draft_digest = Some(upload(&session, &path, "correction", &args.name, &values).await?);
        }
    }
    let revision = seen.revision;
    action.gate = Some(seen);
    user_action::submit(cluster, &person, action).await?;
    printer.line(format!("gate/{} {past_tense} (revision {revision}) by {}", args.name, person.name));
    Ok(ExitStatus::Success)
}

/// The current revision, which must be the one that the person names, if any.
fn seen(gate: &Gate, args: &GateAnswerArgs) -> Result<GateSeen> {
    let name = &args.name;
    let status = gate.status.clone().unwrap_or_default();
    if let Some(state) = status.state.filter(|s| s.is_terminal()) {
        let by: Vec<_> = status.decisions.iter().flatten().map(|d| d.actor.clone()).collect();
        let by = if by.is_empty() { String::new() } else { format!(" by {}", by.join(", ")) };
        let state = columns::variant(Some(state)).to_lowercase();
        return Err(Failure::Refused(format!("gate `{name}` is closed: {state}{by}")));
    }
    let revision = status
        .revision
        .ok_or_else(|| Failure::Other(format!("gate `{name}` cannot be answered yet: no revision; try again")))?;
    if args.revision.is_some_and(|n| i64::from(n) != revision.n) {
        return Err(Failure::Refused(format!(
            "gate `{name}` has changed: its current revision is {}; review it with `ntro gate show {name}`",
            revision.n
        )));
    }
    Ok(GateSeen {
        name: name.clone(),
        gate_id: gate.spec.gate_id.clone(),
        class: gate.spec.class.clone(),
        revision: revision.n,
        digest: revision.digest,
    })
}

fn check_offered(gate: &Gate, answer: &GateAnswer) -> Result<()> {
    if gate.spec.actions.contains(&answer.action()) {
        return Ok(());
    }
    let offered: Vec<_> = gate.spec.actions.iter().map(|a| columns::variant(Some(*a))).collect();
    Err(Failure::Invalid(format!(
        "cannot {} this gate: it only accepts {}",
        answer.verb().as_str(),
        offered.join(" or ")
    )))
}

/// Gives the keyed digest of the draft.
async fn upload(session: &ReadSession, path: &str, kind: &str, gate: &str, content: &Value) -> Result<String> {
    let reply = session.post_json(path, &json!({"kind": kind, "gate": gate, "content": content})).await?;
    reply["digest"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::Other(format!("invalid answer of the operator: no digest of the {kind}")))
}
