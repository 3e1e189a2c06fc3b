//! `ntro workflow`.

mod backfill;
mod create;
mod get;
mod list;
mod next;
mod run;
mod suspend;

use kube::Api;
use ntro_crds::Workflow;

use crate::args::{self, Global};
use crate::cluster::Cluster;
use crate::error::{Failure, Outcome, Result};
use crate::printer::Printer;

/// Runs `ntro workflow …`. Manifests are created, and their slots listed, without a cluster where none is needed.
pub async fn run(args: &args::Workflow, global: &Global, printer: Printer) -> Result<Outcome> {
    match args {
        args::Workflow::Create(args) => return create::run(args, global, printer).await,
        args::Workflow::Next(args) => {
            // As with a cluster, but for the namespace of its context: no kubeconfig is read for this.
            let namespace = global.namespace.as_deref().or(global.tenant.as_deref()).unwrap_or("default");
            if let Some(outcome) = next::of_manifests(args, namespace, printer)? {
                return Ok(outcome);
            }
        }
        _ => {}
    }
    let cluster = &Cluster::connect(global).await?;
    match args {
        args::Workflow::List => list::list(cluster, printer).await,
        args::Workflow::Get(args) => get::show(&args.name, cluster, printer).await,
        args::Workflow::Run(args) => run::start(args, cluster, printer).await,
        args::Workflow::Next(args) => next::of_cluster(args, cluster, printer).await,
        args::Workflow::Backfill(args) => backfill::run(args, cluster, printer).await,
        args::Workflow::Suspend(args) => suspend::suspend(&args.name, true, cluster, printer).await,
        args::Workflow::Resume(args) => suspend::suspend(&args.name, false, cluster, printer).await,
        args::Workflow::Create(_) => Ok(Outcome::Done),
    }
}

fn api(cluster: &Cluster) -> Api<Workflow> {
    Api::namespaced(cluster.client.clone(), cluster.namespace())
}

/// Reads a Workflow of the tenant.
async fn read(cluster: &Cluster, name: &str) -> Result<Workflow> {
    let what = format!("read Workflow {}/{name}", cluster.namespace());
    api(cluster).get(name).await.map_err(|e| Failure::from_kube(&what, e))
}

fn schedules(spec: &ntro_crds::WorkflowSpec) -> String {
    let all: Vec<_> = spec.schedule.iter().chain(spec.schedules.iter().flatten()).cloned().collect();
    if all.is_empty() { "-".into() } else { all.join("; ") }
}
