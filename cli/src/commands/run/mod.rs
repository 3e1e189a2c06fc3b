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

use crate::args::RunCommand;
use crate::cluster::Cluster;
use crate::commands::shared::{columns, read_session};
use crate::error::{ExitStatus, Failure, Result};
use crate::operator_api::ReadSession;
use crate::printer::Printer;

pub(super) use wait::wait;

pub(super) async fn run(command: &RunCommand, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    match command {
        RunCommand::List(args) => list::run(args, cluster, printer).await,
        RunCommand::Get(args) => get::run(&args.name, cluster, printer).await,
        RunCommand::Logs(args) => logs::run(args, cluster, printer).await,
        RunCommand::Output(args) => output::run(args, cluster, printer).await,
        RunCommand::Cancel(args) => cancel::run(&args.name, cluster, printer).await,
        RunCommand::Retry(args) => retry::run(&args.name, cluster, printer).await,
    }
}

pub(super) fn api(cluster: &Cluster) -> Api<WorkflowRun> {
    Api::namespaced(cluster.client.clone(), cluster.namespace())
}

async fn get(cluster: &Cluster, name: &str) -> Result<WorkflowRun> {
    let what = format!("get WorkflowRun {}/{name}", cluster.namespace());
    api(cluster).get(name).await.map_err(|e| Failure::from_kube(&what, e))
}

/// A precreated object only exists for its slot: its run has not begun and has no phase yet.
fn is_precreated(run: &WorkflowRun) -> bool {
    run.annotations().contains_key(labels::PRECREATED)
}

fn phase(run: &WorkflowRun) -> String {
    match run.status.as_ref().and_then(|status| status.phase) {
        None if is_precreated(run) => "Scheduled".to_owned(),
        phase => columns::variant(phase),
    }
}

async fn open_session(cluster: &Cluster, run: &WorkflowRun) -> Result<ReadSession> {
    let person = cluster.whoami().await?;
    read_session::open(cluster, &person, &run.spec.request.workflow_ref.name, &run.name_any(), run_id(run)?).await
}

/// Absent until the operator has reconciled the run once.
fn run_id(run: &WorkflowRun) -> Result<&str> {
    run.status.as_ref().and_then(|s| s.run_id.as_deref()).ok_or_else(|| {
        let (name, workflow) = (run.name_any(), &run.spec.request.workflow_ref.name);
        Failure::Other(if is_precreated(run) {
            format!(
                "run `{name}` has not begun: its slot is due soon; try again then, or suspend Workflow `{workflow}` to prevent it"
            )
        } else {
            format!("run `{name}` has not been reconciled yet; try again")
        })
    })
}

fn api_path(cluster: &Cluster, run: &str, rest: &str) -> String {
    format!("/v1/runs/{}/{run}/{rest}", cluster.namespace())
}
