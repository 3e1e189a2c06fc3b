//! A folder per command group, a file per verb.

mod check;
mod crds;
mod gate;
mod run;
mod runbook;
mod shared;
mod tenant;
mod workflow;

use crate::args::{Cli, Commands};
use crate::cluster::Cluster;
use crate::error::{ExitStatus, Result};
use crate::printer::Printer;

pub(crate) async fn run(cli: &Cli, printer: Printer) -> Result<ExitStatus> {
    let cluster = || Cluster::connect(&cli.global);
    match &cli.command {
        Commands::Check(args) => check::run(args, &cluster().await?, printer).await,
        Commands::Crds => crds::run(printer),
        Commands::Gate(command) => gate::run(command, &cluster().await?, printer).await,
        Commands::Run(command) => run::run(command, &cluster().await?, printer).await,
        Commands::Runbook(command) => runbook::run(command, printer),
        Commands::Tenant(command) => tenant::run(command, &cli.global, printer).await,
        Commands::Workflow(command) => workflow::run(command, &cli.global, printer).await,
    }
}
