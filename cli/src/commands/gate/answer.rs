//! `ntro gate approve`, `reject` and `correct`.

use ntro_crds::gate::GateAction;
use ntro_crds::user_action::{GateSeen, Verb};
use ntro_crds::{Gate, duration};
use serde_json::{Value, json};

use super::{open_session, parse, read};
use crate::args::{GateAnswer, GateCorrect};
use crate::cluster::Cluster;
use crate::commands::shared::columns;
use crate::commands::shared::user_action::{self, NewUserAction};
use crate::error::{Failure, Outcome, Result};
use crate::operator_api::Session;
use crate::printer::Printer;

pub(super) async fn answer(
    args: &GateAnswer,
    verb: Verb,
    correction: Option<Value>,
    cluster: &Cluster,
    printer: Printer,
) -> Result<Outcome> {
    let namespace = cluster.namespace();
    let gate = read(cluster, &args.name).await?;
    let seen = seen(&gate, args)?;
    offers(&gate, verb)?;
    let person = cluster.whoami().await?;
    let mut action = NewUserAction::on_run(verb, &gate.spec.workflow, &gate.spec.run, &gate.spec.run_id);
    action.patience = duration::parse(&args.timeout).map_err(|e| Failure::Usage(format!("--timeout: {e}")))?;
    if args.message.is_some() || correction.is_some() {
        let session = open_session(cluster, &person, &gate).await?;
        let path = format!("/v1/runs/{namespace}/{}/drafts", gate.spec.run);
        if let Some(message) = &args.message {
            action.comment_digest = Some(draft(&session, &path, "comment", &args.name, &json!(message)).await?);
        }
        if let Some(correction) = correction {
            action.draft_digest = Some(draft(&session, &path, "correction", &args.name, &correction).await?);
        }
    }
    let revision = seen.revision;
    action.gate = Some(seen);
    user_action::perform(cluster, &person, action).await?;
    let done = match verb {
        Verb::Approve => "approved",
        Verb::Reject => "rejected",
        _ => "corrected",
    };
    printer.line(format!("gate/{} {done} (revision {revision}) by {}", args.name, person.name));
    Ok(Outcome::Done)
}

/// What the person saw: the current revision, which must be the one they name if they name one.
fn seen(gate: &Gate, args: &GateAnswer) -> Result<GateSeen> {
    let name = &args.name;
    let status = gate.status.clone().unwrap_or_default();
    if let Some(state) = status.state.filter(|s| s.is_terminal()) {
        let by: Vec<_> = status.decisions.iter().flatten().map(|d| d.actor.clone()).collect();
        let by = if by.is_empty() { String::new() } else { format!(" by {}", by.join(", ")) };
        let state = columns::word(Some(state)).to_lowercase();
        return Err(Failure::Refused(format!("gate {name} is closed: {state}{by}")));
    }
    let revision = status
        .revision
        .ok_or_else(|| Failure::Other(format!("gate {name} is not ready to be answered yet; try again")))?;
    if args.revision.is_some_and(|n| i64::from(n) != revision.n) {
        return Err(Failure::Refused(format!(
            "gate {name} shows revision {} now, not the one you saw; look at it again with `ntro gate show {name}`",
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

fn offers(gate: &Gate, verb: Verb) -> Result<()> {
    let wanted = match verb {
        Verb::Approve => GateAction::Approve,
        Verb::Reject => GateAction::Reject,
        _ => GateAction::Correct,
    };
    if gate.spec.actions.contains(&wanted) {
        return Ok(());
    }
    let offered: Vec<_> = gate.spec.actions.iter().map(|a| columns::word(Some(*a))).collect();
    Err(Failure::Invalid(format!("this gate takes {}, not {}", offered.join(" or "), verb.as_str())))
}

async fn draft(session: &Session, path: &str, kind: &str, gate: &str, content: &Value) -> Result<String> {
    let reply = parse(&session.post(path, &json!({"kind": kind, "gate": gate, "content": content})).await?)?;
    reply["digest"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::Other("the operator took the draft but named no digest".into()))
}

pub(super) async fn correct(args: &GateCorrect, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let file = args.file.display();
    let text = std::fs::read_to_string(&args.file).map_err(|e| Failure::Usage(format!("cannot read {file}: {e}")))?;
    let values: Value = serde_saphyr::from_str(&text).map_err(|e| {
        Failure::Usage(format!("{file} is neither JSON nor YAML: {}", e.to_string().lines().next().unwrap_or_default()))
    })?;
    answer(&args.answer, Verb::Correct, Some(values), cluster, printer).await
}
