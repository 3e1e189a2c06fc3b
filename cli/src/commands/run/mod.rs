//! `ntro run`.

mod cancel;
mod get;
mod list;
mod logs;
mod output;
mod retry;
mod wait;

use kube::{Api, ResourceExt as _};
use ntro_crds::{WorkflowRun, labels};

use crate::args;
use crate::cluster::Cluster;
use crate::commands::shared::{columns, read_session};
use crate::error::{Failure, Outcome, Result};
use crate::operator_api::Session;
use crate::printer::Printer;

pub use wait::wait;

/// Runs `ntro run …`.
pub async fn run(args: &args::Run, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    match args {
        args::Run::List(args) => list::list(args, cluster, printer).await,
        args::Run::Get(args) => get::show(&args.name, cluster, printer).await,
        args::Run::Logs(args) => logs::logs(args, cluster, printer).await,
        args::Run::Output(args) => output::output(args, cluster, printer).await,
        args::Run::Cancel(args) => cancel::cancel(&args.name, cluster, printer).await,
        args::Run::Retry(args) => retry::retry(&args.name, cluster, printer).await,
    }
}

/// The runs of the namespace.
pub fn api(cluster: &Cluster) -> Api<WorkflowRun> {
    Api::namespaced(cluster.client.clone(), cluster.namespace())
}

async fn read(cluster: &Cluster, name: &str) -> Result<WorkflowRun> {
    let what = format!("read WorkflowRun {}/{name}", cluster.namespace());
    api(cluster).get(name).await.map_err(|e| Failure::from_kube(&what, e))
}

/// The phase, and that of a run whose object was made before its slot and which has not begun.
fn phase(run: &WorkflowRun) -> String {
    match run.status.as_ref().and_then(|status| status.phase) {
        None if run.annotations().contains_key(labels::PRECREATED) => "Scheduled".to_owned(),
        phase => columns::word(phase),
    }
}

async fn session(cluster: &Cluster, run: &WorkflowRun) -> Result<Session> {
    let person = cluster.whoami().await?;
    read_session::open(cluster, &person, &run.spec.request.workflow_ref.name, &run.name_any(), run_id(run)?).await
}

/// The identity of a run, drawn when the operator first saw it.
fn run_id(run: &WorkflowRun) -> Result<&str> {
    run.status.as_ref().and_then(|s| s.run_id.as_deref()).ok_or_else(|| {
        let (name, workflow) = (run.name_any(), &run.spec.request.workflow_ref.name);
        Failure::Other(if run.annotations().contains_key(labels::PRECREATED) {
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
