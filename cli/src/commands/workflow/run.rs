//! `ntro workflow run`.

use jiff::Timestamp;
use kube::api::PostParams;
use ntro_crds::names;
use ntro_crds::workflow_run::{Trigger, TriggerKind};
use ntro_schedule::spec::period_of;

use super::get;
use super::new_run::new_run;
use crate::args::{OutputFormat, WorkflowRunArgs};
use crate::cluster::Cluster;
use crate::commands::run as runs;
use crate::commands::shared::{manifest, parse_timeout};
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::{Printer, Table};

pub(super) async fn run(args: &WorkflowRunArgs, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let namespace = cluster.namespace();
    let workflow = get(cluster, &args.name).await?;
    let timeout = parse_timeout(&args.timeout)?;
    let person = cluster.whoami().await?;
    let period = args.period.clone().unwrap_or_else(|| period_of(&workflow.spec, Timestamp::now()));
    let name = args.run_name.clone().unwrap_or_else(|| names::manual_run(&args.name, rand::random()));
    let trigger = Trigger { kind: TriggerKind::Manual, initiator: person.name, scheduled_time: None, parent: None };
    let run = new_run(&workflow, namespace, &name, period, trigger);
    if args.dry_run {
        printer.objects(&[manifest(&run)?], || Table {
            rows: vec![vec![format!("workflowrun/{name} (dry run)")]],
            ..Table::default()
        })?;
        return Ok(ExitStatus::Success);
    }
    match runs::api(cluster).create(&PostParams::default(), &run).await {
        Ok(_) => {}
        Err(kube::Error::Api(s)) if s.code == 409 && args.run_name.is_some() => {
            printer.progress(format!("run `{name}` already exists, not started again"));
        }
        Err(e) => return Err(Failure::from_kube(&format!("start a run of Workflow {namespace}/{}", args.name), e)),
    }
    match printer.output() {
        OutputFormat::Json | OutputFormat::Yaml => printer.objects(&[manifest(&run)?], Table::default)?,
        OutputFormat::Name => printer.line(format!("workflowrun/{name}")),
        OutputFormat::Table | OutputFormat::Wide => printer.line(format!("workflowrun/{name} started")),
    }
    if args.wait { runs::wait(cluster, &name, timeout, printer).await } else { Ok(ExitStatus::Success) }
}
