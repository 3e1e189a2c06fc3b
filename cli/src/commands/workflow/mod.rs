//! `ntro workflow`.

mod backfill;
mod create;
mod get;
mod list;
mod new_run;
mod next;
mod run;
mod suspend;

use kube::Api;
use ntro_crds::{Workflow, WorkflowSpec};

use crate::args::{GlobalArgs, WorkflowCommand};
use crate::cluster::Cluster;
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::Printer;

pub(super) async fn run(command: &WorkflowCommand, global: &GlobalArgs, printer: Printer) -> Result<ExitStatus> {
    let cluster = || Cluster::connect(global);
    match command {
        WorkflowCommand::Create(args) => create::run(args, global, printer).await,
        WorkflowCommand::List => list::run(&cluster().await?, printer).await,
        WorkflowCommand::Get(args) => get::run(&args.name, &cluster().await?, printer).await,
        WorkflowCommand::Run(args) => run::run(args, &cluster().await?, printer).await,
        WorkflowCommand::Next(args) => next::run(args, global, printer).await,
        WorkflowCommand::Backfill(args) => backfill::run(args, &cluster().await?, printer).await,
        WorkflowCommand::Suspend(args) => suspend::run(&args.name, true, &cluster().await?, printer).await,
        WorkflowCommand::Resume(args) => suspend::run(&args.name, false, &cluster().await?, printer).await,
    }
}

fn api(cluster: &Cluster) -> Api<Workflow> {
    Api::namespaced(cluster.client.clone(), cluster.namespace())
}

async fn get(cluster: &Cluster, name: &str) -> Result<Workflow> {
    let what = format!("get Workflow {}/{name}", cluster.namespace());
    api(cluster).get(name).await.map_err(|e| Failure::from_kube(&what, e))
}

fn schedules(spec: &WorkflowSpec) -> String {
    let all: Vec<_> = spec.schedule.iter().chain(spec.schedules.iter().flatten()).cloned().collect();
    if all.is_empty() { "-".into() } else { all.join("; ") }
}
