//! `ntro run`: executions.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use ntro_crds::user_action::Verb;
use ntro_crds::workflow_run::Phase;
use ntro_crds::{WorkflowRun, labels};
use serde_json::Value;

use crate::args::{self, RunList, RunLogs, RunOutput};
use crate::cluster::Cluster;
use crate::commands::act::{self, Act};
use crate::commands::{columns, view};
use crate::error::{Failure, Outcome, Result};
use crate::operator_api::Session;
use crate::printer::{Printer, Table};

/// Runs `ntro run …`.
pub async fn run(args: &args::Run, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    match args {
        args::Run::List(args) => list(args, cluster, printer).await,
        args::Run::Get(args) => show(&args.name, cluster, printer).await,
        args::Run::Logs(args) => logs(args, cluster, printer).await,
        args::Run::Output(args) => output(args, cluster, printer).await,
        args::Run::Cancel(args) => cancel(&args.name, cluster, printer).await,
        args::Run::Retry(args) => retry(&args.name, cluster, printer).await,
    }
}

/// The runs of the namespace.
pub fn api(cluster: &Cluster) -> Api<WorkflowRun> {
    Api::namespaced(cluster.client.clone(), cluster.namespace())
}

async fn get(cluster: &Cluster, name: &str) -> Result<WorkflowRun> {
    let what = format!("read WorkflowRun {}/{name}", cluster.namespace());
    api(cluster).get(name).await.map_err(|e| Failure::from_kube(&what, e))
}

async fn list(args: &RunList, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let what = format!("list runs in {}", cluster.namespace());
    let mut runs = api(cluster).list(&ListParams::default()).await.map_err(|e| Failure::from_kube(&what, e))?.items;
    runs.retain(|r| args.workflow.as_ref().is_none_or(|w| &r.spec.request.workflow_ref.name == w));
    runs.sort_by_key(|r| std::cmp::Reverse(r.creation_timestamp()));
    let now = Timestamp::now();
    printer.objects(&runs, || Table {
        header: vec![
            "NAME", "WORKFLOW", "PERIOD", "PHASE", "WAITING", "SEGMENT", "AGE", "TRIGGER", "VERSION", "RUN ID",
        ],
        rows: runs.iter().map(|r| row(r, now)).collect(),
        wide_from: Some(7),
    })?;
    Ok(Outcome::Done)
}

/// The phase, and that of a run whose object was made before its slot and which has not begun.
fn phase(run: &WorkflowRun) -> String {
    match run.status.as_ref().and_then(|status| status.phase) {
        None if run.annotations().contains_key(labels::MADE_AHEAD) => "Scheduled".to_owned(),
        phase => columns::word(phase),
    }
}

fn row(run: &WorkflowRun, now: Timestamp) -> Vec<String> {
    let request = &run.spec.request;
    let status = run.status.clone().unwrap_or_default();
    let waiting: Vec<_> =
        status.waiting_for.iter().flatten().filter_map(|w| w.step.clone().or(w.name.clone())).collect();
    vec![
        run.name_any(),
        request.workflow_ref.name.clone(),
        columns::text(request.context.as_ref().and_then(|c| c.period.clone())),
        phase(run),
        if waiting.is_empty() { "-".into() } else { waiting.join(",") },
        columns::text(status.segment),
        columns::age(run.creation_timestamp().as_ref(), now),
        columns::word(Some(request.trigger.kind)),
        columns::text(status.pin.map(|p| p.runbook.version)),
        columns::text(status.run_id),
    ]
}

async fn show(name: &str, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let run = get(cluster, name).await?;
    if !printer.for_people() {
        printer.objects(&[run], Table::default)?;
        return Ok(Outcome::Done);
    }
    let request = &run.spec.request;
    let status = run.status.clone().unwrap_or_default();
    let field = |key: &str, value: String| printer.line(format!("{key:<10} {value}"));
    field("run", format!("{}/{name}", cluster.namespace()));
    field("workflow", request.workflow_ref.name.clone());
    field("period", columns::text(request.context.as_ref().and_then(|c| c.period.clone())));
    field("trigger", format!("{} by {}", columns::word(Some(request.trigger.kind)), request.trigger.initiator));
    if let Some(pin) = &status.pin {
        field("runbook", format!("{} {} {}", pin.runbook.name, pin.runbook.version, pin.runbook.digest));
        field("entity", pin.entity.clone());
    }
    field("phase", phase(&run));
    field("run id", columns::text(status.run_id.as_ref()));
    field("started", columns::time(status.start_time.as_ref()));
    field("ended", columns::time(status.completion_time.as_ref()));
    if let Some(blocked) = &status.blocked {
        let site = blocked.site.as_ref().map(|s| format!(" at {s}")).unwrap_or_default();
        let activity = blocked.activity.as_ref().map(|a| format!(", activity {a}")).unwrap_or_default();
        field("blocked", format!("{}{site}{activity}", blocked.code));
        printer.line(format!("           `ntro run logs {name}` says more; `ntro run retry {name}` lets it go on"));
    }
    if let Some(ready) = columns::condition(status.conditions.as_ref(), "Ready").filter(|c| c.status != "True") {
        field("ready", format!("{} {}: {}", ready.status, ready.reason, ready.message));
    }
    lists(&status, printer);
    Ok(Outcome::Done)
}

fn lists(status: &ntro_crds::WorkflowRunStatus, printer: Printer) {
    let steps: Vec<_> = status
        .steps
        .iter()
        .flatten()
        .map(|s| vec![s.id.clone(), columns::word(Some(s.status)), s.title.clone().unwrap_or_default()])
        .collect();
    let waiting: Vec<_> = status
        .waiting_for
        .iter()
        .flatten()
        .map(|w| {
            let what = w.step.clone().or(w.name.clone()).unwrap_or_default();
            vec![columns::word(Some(w.kind)), what, columns::time(w.until.as_ref())]
        })
        .collect();
    let outputs: Vec<_> =
        status.outputs.iter().flatten().map(|o| vec![o.name.clone(), o.size.to_string(), o.digest.clone()]).collect();
    for (header, rows) in [
        (vec!["STEP", "STATUS", "TITLE"], steps),
        (vec!["WAITS FOR", "WHAT", "UNTIL"], waiting),
        (vec!["OUTPUT", "BYTES", "DIGEST"], outputs),
    ] {
        if !rows.is_empty() {
            printer.line("");
            printer.table(&Table { header, rows, wide_from: None });
        }
    }
}

async fn session(cluster: &Cluster, run: &WorkflowRun) -> Result<Session> {
    let person = cluster.whoami().await?;
    view::open(cluster, &person, &run.spec.request.workflow_ref.name, &run.name_any(), run_id(run)?).await
}

/// The identity of a run, drawn when the operator first saw it.
fn run_id(run: &WorkflowRun) -> Result<&str> {
    run.status.as_ref().and_then(|s| s.run_id.as_deref()).ok_or_else(|| {
        let (name, workflow) = (run.name_any(), &run.spec.request.workflow_ref.name);
        Failure::Other(if run.annotations().contains_key(labels::MADE_AHEAD) {
            format!(
                "run {name} has not begun: its slot is about to be due; try again then, or suspend Workflow {workflow} to have it not begin"
            )
        } else {
            format!("run {name} has not been taken up by the operator yet; try again")
        })
    })
}

fn path(cluster: &Cluster, run: &str, rest: &str) -> String {
    format!("/v1/runs/{}/{run}/{rest}", cluster.namespace())
}

async fn logs(args: &RunLogs, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let run = get(cluster, &args.name).await?;
    let session = session(cluster, &run).await?;
    let segment = args.segment.map(|n| format!("&segment={n}")).unwrap_or_default();
    let path = path(cluster, &args.name, &format!("logs?follow={}{segment}", args.follow));
    session.stream(&path, |piece| printer.bytes(piece)).await?;
    Ok(Outcome::Done)
}

async fn output(args: &RunOutput, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let run = get(cluster, &args.name).await?;
    let session = session(cluster, &run).await?;
    if args.audit {
        session.stream(&path(cluster, &args.name, "audit"), |piece| printer.bytes(piece)).await?;
        return Ok(Outcome::Done);
    }
    if let Some(name) = &args.wanted {
        let bytes = session.get(&path(cluster, &args.name, &format!("outputs/{}", escape(name)))).await?;
        match &args.file {
            Some(file) => {
                std::fs::write(file, &bytes)
                    .map_err(|e| Failure::Other(format!("cannot write {}: {e}", file.display())))?;
                printer.progress(format!("{} bytes written to {}", bytes.len(), file.display()));
            }
            None => printer.bytes(&bytes),
        }
        return Ok(Outcome::Done);
    }
    let read = |bytes: bytes::Bytes| {
        serde_json::from_slice::<Value>(&bytes)
            .map_err(|e| Failure::Other(format!("the operator's answer cannot be read: {e}")))
    };
    let outputs = read(session.get(&path(cluster, &args.name, "outputs")).await?)?;
    let result = read(session.get(&path(cluster, &args.name, "result")).await?)?;
    if !printer.for_people() {
        printer.line(format!("{:#}", serde_json::json!({"result": result["result"], "outputs": outputs["outputs"]})));
        return Ok(Outcome::Done);
    }
    printer.line(format!("{:#}", result["result"]));
    let rows: Vec<_> = outputs["outputs"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|o| vec![word(&o["name"]), o["size"].to_string(), word(&o["mediaType"]), word(&o["digest"])])
        .collect();
    printer.line("");
    printer.table(&Table { header: vec!["OUTPUT", "BYTES", "TYPE", "DIGEST"], rows, wide_from: None });
    Ok(Outcome::Done)
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

/// Percent-encodes what may not stand in a path segment.
fn escape(segment: &str) -> String {
    segment.bytes().fold(String::new(), |mut text, byte| {
        use std::fmt::Write as _;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

async fn cancel(name: &str, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let run = get(cluster, name).await?;
    let person = cluster.whoami().await?;
    let act = Act::on_run(Verb::Cancel, &run.spec.request.workflow_ref.name, name, run_id(&run)?);
    act::perform(cluster, &person, act).await?;
    printer.line(format!("workflowrun/{name} cancel requested by {}", person.name));
    Ok(Outcome::Done)
}

async fn retry(name: &str, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let run = get(cluster, name).await?;
    let status = run.status.clone().unwrap_or_default();
    let Some(blocked) = status.blocked else {
        return Err(Failure::Invalid(format!(
            "run {name} is not blocked but {}: there is nothing to retry",
            columns::word(status.phase)
        )));
    };
    let person = cluster.whoami().await?;
    let mut act = Act::on_run(Verb::Retry, &run.spec.request.workflow_ref.name, name, run_id(&run)?);
    // One retry for each time the run was blocked: the journal has grown in between.
    act.nonce = status.journal.map(|j| j.length.to_string());
    act.repeats = blocked.repeats;
    act::perform(cluster, &person, act).await?;
    printer.line(format!("workflowrun/{name} goes on after {} by {}", blocked.code, person.name));
    Ok(Outcome::Done)
}

/// Waits until the run has ended or needs a person, printing each change of its phase.
pub async fn wait(cluster: &Cluster, name: &str, timeout: Duration, printer: Printer) -> Result<Outcome> {
    let until = std::time::Instant::now() + timeout;
    let mut last = None;
    loop {
        let run = get(cluster, name).await?;
        let status = run.status.unwrap_or_default();
        let phase = status.phase;
        if phase != last {
            printer.progress(format!("{name}: {}", columns::word(phase)));
            last = phase;
        }
        match phase {
            Some(Phase::Succeeded) => return Ok(Outcome::Done),
            Some(Phase::Failed) => return Ok(Outcome::RunFailed),
            Some(Phase::Cancelled) => return Ok(Outcome::RunCancelled),
            Some(Phase::Waiting | Phase::Blocked) => return Ok(Outcome::RunWaits),
            _ if std::time::Instant::now() > until => {
                return Err(Failure::Timeout(format!(
                    "run {name} is still {} after {} s; it goes on, see `ntro run get {name}`",
                    columns::word(phase),
                    timeout.as_secs()
                )));
            }
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}
