//! `ntro workflow` but for `create`, `next` and `backfill`: list, get, run, suspend, resume.

use jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use ntro_crds::workflow_run::{Context, Request, Trigger, TriggerKind, WorkflowRef};
use ntro_crds::{Workflow, WorkflowRun, WorkflowRunSpec, duration, labels, names};
use ntro_schedule::spec::period_of;
use serde_json::json;

use crate::args;
use crate::cluster::Cluster;
use crate::commands::{backfill, columns, manifest, next, run as runs};
use crate::error::{Failure, Outcome, Result};
use crate::printer::{Printer, Table};

/// Runs `ntro workflow …` but for `create`.
pub async fn run(args: &args::Workflow, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    match args {
        args::Workflow::List => list(cluster, printer).await,
        args::Workflow::Get(args) => show(&args.name, cluster, printer).await,
        args::Workflow::Run(args) => start(args, cluster, printer).await,
        args::Workflow::Next(args) => next::of_cluster(args, cluster, printer).await,
        args::Workflow::Backfill(args) => backfill::run(args, cluster, printer).await,
        args::Workflow::Suspend(args) => suspend(&args.name, true, cluster, printer).await,
        args::Workflow::Resume(args) => suspend(&args.name, false, cluster, printer).await,
        args::Workflow::Create(_) => Ok(Outcome::Done),
    }
}

fn api(cluster: &Cluster) -> Api<Workflow> {
    Api::namespaced(cluster.client.clone(), cluster.namespace())
}

/// Reads a Workflow of the tenant.
pub async fn get(cluster: &Cluster, name: &str) -> Result<Workflow> {
    let what = format!("read Workflow {}/{name}", cluster.namespace());
    api(cluster).get(name).await.map_err(|e| Failure::from_kube(&what, e))
}

async fn list(cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let what = format!("list workflows in {}", cluster.namespace());
    let items = api(cluster).list(&ListParams::default()).await.map_err(|e| Failure::from_kube(&what, e))?.items;
    let now = Timestamp::now();
    printer.objects(&items, || Table {
        header: vec![
            "NAME",
            "RUNBOOK",
            "VERSION",
            "ENTITY",
            "SCHEDULE",
            "READY",
            "NEXT",
            "ACTIVE",
            "AGE",
            "ZONE",
            "SUSPENDED",
        ],
        rows: items.iter().map(|w| row(w, now)).collect(),
        wide_from: Some(9),
    })?;
    Ok(Outcome::Done)
}

fn row(workflow: &Workflow, now: Timestamp) -> Vec<String> {
    let spec = &workflow.spec;
    let status = workflow.status.clone().unwrap_or_default();
    let ready = columns::condition(status.conditions.as_ref(), "Ready");
    vec![
        workflow.name_any(),
        spec.runbook_ref.name.clone(),
        columns::text(status.runbook.map(|r| r.version)),
        spec.entity.clone(),
        schedules(spec),
        ready.map_or_else(|| "-".into(), |c| if c.status == "True" { c.status.clone() } else { c.reason.clone() }),
        columns::time(status.next_schedule_time.as_ref()),
        status.active.map_or(0, |a| a.len()).to_string(),
        columns::age(workflow.creation_timestamp().as_ref(), now),
        columns::text(spec.time_zone.clone()),
        spec.suspend.unwrap_or(false).to_string(),
    ]
}

fn schedules(spec: &ntro_crds::WorkflowSpec) -> String {
    let all: Vec<_> = spec.schedule.iter().chain(spec.schedules.iter().flatten()).cloned().collect();
    if all.is_empty() { "-".into() } else { all.join("; ") }
}

async fn show(name: &str, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let workflow = get(cluster, name).await?;
    if !printer.for_people() {
        printer.objects(&[workflow], Table::default)?;
        return Ok(Outcome::Done);
    }
    let spec = &workflow.spec;
    let status = workflow.status.clone().unwrap_or_default();
    let field = |key: &str, value: String| printer.line(format!("{key:<10} {value}"));
    field("workflow", format!("{}/{name}", cluster.namespace()));
    field(
        "runbook",
        format!(
            "{} {}",
            spec.runbook_ref.name,
            columns::text(status.runbook.map(|r| format!("{} {}", r.version, r.digest)))
        ),
    );
    field("entity", spec.entity.clone());
    field("schedule", format!("{} ({})", schedules(spec), spec.time_zone.as_deref().unwrap_or("UTC")));
    field("suspended", spec.suspend.unwrap_or(false).to_string());
    let next = next::in_words(&workflow, cluster.namespace(), Timestamp::now());
    field("next", if next.is_empty() { "-".to_owned() } else { next.join(&format!("\n{:11}", "")) });
    field("last", columns::time(status.last_schedule_time.as_ref()));
    if let Some(missed) = status.missed {
        field("missed", format!("{}, last {} ({})", missed.count, columns::time(Some(&missed.time)), missed.reason));
    }
    for slot in status.queued.iter().flatten() {
        let time = columns::time(Some(&slot.time));
        field("queued", format!("{time} for {}, behind {} ({})", slot.period, slot.behind, slot.reason));
    }
    field("succeeded", columns::time(status.last_successful_time.as_ref()));
    field("failed", columns::time(status.last_failure_time.as_ref()));
    for condition in status.conditions.iter().flatten() {
        field(&condition.type_, format!("{} {} {}", condition.status, condition.reason, condition.message));
    }
    let active: Vec<_> = status.active.into_iter().flatten().map(|a| vec![a.name, columns::text(a.period)]).collect();
    if !active.is_empty() {
        printer.line("");
        printer.table(&Table { header: vec!["ACTIVE RUN", "PERIOD"], rows: active, wide_from: None });
    }
    Ok(Outcome::Done)
}

async fn start(args: &args::WorkflowRun, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let namespace = cluster.namespace();
    let workflow = get(cluster, &args.name).await?;
    let timeout = duration::parse(&args.timeout).map_err(|e| Failure::Usage(format!("--timeout: {e}")))?;
    let person = cluster.whoami().await?;
    let period = args.period.clone().unwrap_or_else(|| period_of(&workflow.spec, Timestamp::now()));
    let name = args.run_name.clone().unwrap_or_else(|| names::manual_run(&args.name, rand::random()));
    let run = WorkflowRun {
        metadata: kube::api::ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.to_owned()),
            labels: Some(
                [
                    (labels::WORKFLOW.to_owned(), args.name.clone()),
                    (labels::WORKFLOW_UID.to_owned(), workflow.uid().unwrap_or_default()),
                ]
                .into(),
            ),
            ..Default::default()
        },
        spec: WorkflowRunSpec {
            request: Request {
                workflow_ref: WorkflowRef { name: args.name.clone() },
                context: Some(Context { period: Some(period) }),
                trigger: Trigger {
                    kind: TriggerKind::Manual,
                    initiator: person.name,
                    scheduled_time: None,
                    parent: None,
                },
            },
        },
        status: None,
    };
    if args.dry_run {
        printer.objects(&[manifest(&run)?], || Table {
            rows: vec![vec![format!("workflowrun/{name} (dry run)")]],
            ..Table::default()
        })?;
        return Ok(Outcome::Done);
    }
    match runs::api(cluster).create(&PostParams::default(), &run).await {
        Ok(_) => {}
        Err(kube::Error::Api(s)) if s.code == 409 && args.run_name.is_some() => {
            printer.progress(format!("run {name} exists already; nothing was started"));
        }
        Err(e) => return Err(Failure::from_kube(&format!("start a run of Workflow {namespace}/{}", args.name), e)),
    }
    match printer.output() {
        args::Output::Json | args::Output::Yaml => printer.objects(&[manifest(&run)?], Table::default)?,
        args::Output::Name => printer.line(format!("workflowrun/{name}")),
        args::Output::Table | args::Output::Wide => printer.line(format!("workflowrun/{name} started")),
    }
    if args.wait { runs::wait(cluster, &name, timeout, printer).await } else { Ok(Outcome::Done) }
}

async fn suspend(name: &str, suspend: bool, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    // Resuming removes the field instead of setting it to false, so that it does not fight a manifest without it.
    let patch = json!({"spec": {"suspend": suspend.then_some(true)}});
    let what = format!("{} Workflow {}/{name}", if suspend { "suspend" } else { "resume" }, cluster.namespace());
    let params = PatchParams { field_manager: Some(labels::CLI_FIELD_MANAGER.into()), ..PatchParams::default() };
    api(cluster).patch(name, &params, &Patch::Merge(patch)).await.map_err(|e| Failure::from_kube(&what, e))?;
    printer.line(format!("workflow/{name} {}", if suspend { "suspended" } else { "resumed" }));
    Ok(Outcome::Done)
}
