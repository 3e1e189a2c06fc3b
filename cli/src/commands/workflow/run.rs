//! `ntro workflow run`.

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::PostParams;
use ntro_crds::workflow_run::{Request, RunContext, Trigger, TriggerKind, WorkflowRef};
use ntro_crds::{WorkflowRun, WorkflowRunSpec, duration, labels, names};
use ntro_schedule::spec::period_of;

use super::read;
use crate::args;
use crate::cluster::Cluster;
use crate::commands::run as runs;
use crate::commands::shared::manifest;
use crate::error::{Failure, Outcome, Result};
use crate::printer::{Printer, Table};

pub(super) async fn start(args: &args::WorkflowRun, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let namespace = cluster.namespace();
    let workflow = read(cluster, &args.name).await?;
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
                context: Some(RunContext { period: Some(period) }),
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
