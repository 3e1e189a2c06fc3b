//! `ntro gate`: the inbox of people.

use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use ntro_crds::gate::{GateAction, GateState};
use ntro_crds::user_action::{GateSeen, Verb};
use ntro_crds::{Gate, duration};
use serde_json::{Value, json};

use crate::args::{self, GateAnswer, GateCorrect, GateList};
use crate::cluster::{Cluster, Person};
use crate::commands::act::{self, Act};
use crate::commands::{columns, view};
use crate::error::{Failure, Outcome, Result};
use crate::operator_api::Session;
use crate::printer::{Printer, Table, yaml};

/// Runs `ntro gate …`.
pub async fn run(args: &args::Gate, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    match args {
        args::Gate::List(args) => list(args, cluster, printer).await,
        args::Gate::Show(args) => show(&args.name, cluster, printer).await,
        args::Gate::Approve(args) => answer(args, Verb::Approve, None, cluster, printer).await,
        args::Gate::Reject(args) => answer(args, Verb::Reject, None, cluster, printer).await,
        args::Gate::Correct(args) => correct(args, cluster, printer).await,
    }
}

fn api(cluster: &Cluster) -> Api<Gate> {
    Api::namespaced(cluster.client.clone(), cluster.namespace())
}

async fn get(cluster: &Cluster, name: &str) -> Result<Gate> {
    let what = format!("read Gate {}/{name}", cluster.namespace());
    api(cluster).get(name).await.map_err(|e| Failure::from_kube(&what, e))
}

async fn list(args: &GateList, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let what = format!("list gates in {}", cluster.namespace());
    let mut gates = api(cluster).list(&ListParams::default()).await.map_err(|e| Failure::from_kube(&what, e))?.items;
    gates.retain(|g| args.all || state(g) == Some(GateState::Open));
    gates.retain(|g| args.run.as_ref().is_none_or(|run| &g.spec.run == run));
    gates.sort_by_key(|g| (g.spec.due.clone(), g.creation_timestamp()));
    let now = Timestamp::now();
    printer.objects(&gates, || Table {
        header: vec!["NAME", "RUN", "STEP", "TITLE", "STATE", "DUE", "AGE", "REVISION", "DECIDED BY"],
        rows: gates
            .iter()
            .map(|g| {
                let status = g.status.clone().unwrap_or_default();
                let deciders: Vec<_> = status.decisions.iter().flatten().map(|d| d.actor.clone()).collect();
                vec![
                    g.name_any(),
                    g.spec.run.clone(),
                    g.spec.step.clone(),
                    g.spec.title.clone(),
                    columns::word(status.state),
                    columns::time(g.spec.due.as_ref()),
                    columns::age(g.creation_timestamp().as_ref(), now),
                    columns::text(status.revision.map(|r| r.n)),
                    if deciders.is_empty() { "-".into() } else { deciders.join(",") },
                ]
            })
            .collect(),
        wide_from: Some(7),
    })?;
    if gates.is_empty() && printer.for_people() {
        printer.progress(format!("no gate waits in {}", cluster.namespace()));
    }
    Ok(Outcome::Done)
}

fn state(gate: &Gate) -> Option<GateState> {
    gate.status.as_ref().and_then(|s| s.state)
}

async fn open_session(cluster: &Cluster, person: &Person, gate: &Gate) -> Result<Session> {
    view::open(cluster, person, &gate.spec.workflow, &gate.spec.run, &gate.spec.run_id).await
}

async fn show(name: &str, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let gate = get(cluster, name).await?;
    let person = cluster.whoami().await?;
    let session = open_session(cluster, &person, &gate).await?;
    let path = format!("/v1/runs/{}/{}/gates/{name}", cluster.namespace(), gate.spec.run);
    let content: Value = parse(&session.get(&path).await?)?;
    match printer.output() {
        args::Output::Json => printer.line(format!("{content:#}")),
        args::Output::Yaml => printer.bytes(yaml(&content)?.as_bytes()),
        args::Output::Name => printer.line(format!("gate/{name}")),
        args::Output::Table | args::Output::Wide => {
            super::gate_view::print(&gate, &content, printer);
        }
    }
    Ok(Outcome::Done)
}

fn parse(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|e| Failure::Other(format!("the operator's answer cannot be read: {e}")))
}

async fn answer(
    args: &GateAnswer,
    verb: Verb,
    correction: Option<Value>,
    cluster: &Cluster,
    printer: Printer,
) -> Result<Outcome> {
    let namespace = cluster.namespace();
    let gate = get(cluster, &args.name).await?;
    let seen = seen(&gate, args)?;
    offers(&gate, verb)?;
    let person = cluster.whoami().await?;
    let mut act = Act::on_run(verb, &gate.spec.workflow, &gate.spec.run, &gate.spec.run_id);
    act.patience = duration::parse(&args.timeout).map_err(|e| Failure::Usage(format!("--timeout: {e}")))?;
    if args.message.is_some() || correction.is_some() {
        let session = open_session(cluster, &person, &gate).await?;
        let path = format!("/v1/runs/{namespace}/{}/drafts", gate.spec.run);
        if let Some(message) = &args.message {
            act.comment_digest = Some(draft(&session, &path, "comment", &args.name, &json!(message)).await?);
        }
        if let Some(correction) = correction {
            act.draft_digest = Some(draft(&session, &path, "correction", &args.name, &correction).await?);
        }
    }
    let revision = seen.revision;
    act.gate = Some(seen);
    act::perform(cluster, &person, act).await?;
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

async fn correct(args: &GateCorrect, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let file = args.file.display();
    let text = std::fs::read_to_string(&args.file).map_err(|e| Failure::Usage(format!("cannot read {file}: {e}")))?;
    let values: Value = serde_saphyr::from_str(&text).map_err(|e| {
        Failure::Usage(format!("{file} is neither JSON nor YAML: {}", e.to_string().lines().next().unwrap_or_default()))
    })?;
    answer(&args.answer, Verb::Correct, Some(values), cluster, printer).await
}
