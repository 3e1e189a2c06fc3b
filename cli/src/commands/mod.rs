//! One file a command group; each command is a function of its arguments, the cluster and the printer.

mod act;
mod backfill;
mod check;
mod columns;
mod documents;
mod gate;
mod gate_view;
mod next;
mod run;
mod runbook;
mod slots;
mod tenant;
mod view;
mod workflow;
mod workflow_create;

use serde_json::Value;

use crate::args::{Cli, Command};
use crate::cluster::Cluster;
use crate::error::{Failure, Outcome, Result};
use crate::printer::{Printer, yaml};

/// Runs the command of `cli`.
pub async fn run(cli: &Cli, printer: Printer) -> Result<Outcome> {
    match &cli.command {
        Command::Crds => {
            crds(printer)?;
            return Ok(Outcome::Done);
        }
        Command::Runbook(args) => return runbook::run(args, printer),
        Command::Tenant(args) => return tenant::run(args, &cli.global, printer).await,
        Command::Workflow(crate::args::Workflow::Create(args)) => {
            return workflow_create::run(args, &cli.global, printer).await;
        }
        Command::Workflow(crate::args::Workflow::Next(args)) => {
            // As with a cluster, but for the namespace of its context: no kubeconfig is read for this.
            let namespace = cli.global.namespace.as_deref().or(cli.global.tenant.as_deref()).unwrap_or("default");
            if let Some(outcome) = next::of_manifests(args, namespace, printer)? {
                return Ok(outcome);
            }
        }
        _ => {}
    }
    let cluster = Cluster::connect(&cli.global).await?;
    match &cli.command {
        Command::Check(args) => check::run(args, &cluster, printer).await,
        Command::Workflow(args) => workflow::run(args, &cluster, printer).await,
        Command::Run(args) => run::run(args, &cluster, printer).await,
        Command::Gate(args) => gate::run(args, &cluster, printer).await,
        Command::Crds | Command::Runbook(_) | Command::Tenant(_) => Ok(Outcome::Done),
    }
}

fn crds(printer: Printer) -> Result<()> {
    for definition in ntro_crds::all() {
        printer.line("---");
        printer.bytes(yaml(&definition)?.as_bytes());
    }
    Ok(())
}

/// An object as it is applied: without empty status and server fields.
fn manifest<T: serde::Serialize>(object: &T) -> Result<Value> {
    let mut value =
        serde_json::to_value(object).map_err(|e| Failure::Other(format!("cannot write a manifest: {e}")))?;
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    Ok(value)
}
