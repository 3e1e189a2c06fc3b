//! A folder per command group, a file per verb; each verb is a function of its arguments, the cluster and the printer.

mod check;
mod crds;
mod gate;
mod run;
mod runbook;
mod shared;
mod tenant;
mod workflow;

use crate::args::{Cli, Command};
use crate::cluster::Cluster;
use crate::error::{Outcome, Result};
use crate::printer::Printer;

/// Runs the command of `cli`.
pub async fn run(cli: &Cli, printer: Printer) -> Result<Outcome> {
    let cluster = || Cluster::connect(&cli.global);
    match &cli.command {
        Command::Check(args) => check::run(args, &cluster().await?, printer).await,
        Command::Crds => crds::run(printer),
        Command::Gate(args) => gate::run(args, &cluster().await?, printer).await,
        Command::Run(args) => run::run(args, &cluster().await?, printer).await,
        Command::Runbook(args) => runbook::run(args, printer),
        Command::Tenant(args) => tenant::run(args, &cli.global, printer).await,
        Command::Workflow(args) => workflow::run(args, &cli.global, printer).await,
    }
}
