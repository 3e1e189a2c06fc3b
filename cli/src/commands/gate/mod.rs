//! `ntro gate`.

mod answer;
mod list;
mod render;
mod show;

use kube::Api;
use ntro_crds::Gate;

use crate::args::GateCommand;
use crate::cluster::{Cluster, Person};
use crate::commands::shared::read_session;
use crate::error::{ExitStatus, Failure, Result};
use crate::operator_api::ReadSession;
use crate::printer::Printer;

use answer::GateAnswer;

pub(super) async fn run(command: &GateCommand, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    match command {
        GateCommand::List(args) => list::run(args, cluster, printer).await,
        GateCommand::Show(args) => show::run(&args.name, cluster, printer).await,
        GateCommand::Approve(args) => answer::run(args, GateAnswer::Approve, cluster, printer).await,
        GateCommand::Reject(args) => answer::run(args, GateAnswer::Reject, cluster, printer).await,
        GateCommand::Correct(args) => {
            answer::run(&args.answer, answer::read_correction(&args.file)?, cluster, printer).await
        }
    }
}

fn api(cluster: &Cluster) -> Api<Gate> {
    Api::namespaced(cluster.client.clone(), cluster.namespace())
}

async fn get(cluster: &Cluster, name: &str) -> Result<Gate> {
    let what = format!("get Gate {}/{name}", cluster.namespace());
    api(cluster).get(name).await.map_err(|e| Failure::from_kube(&what, e))
}

async fn open_session(cluster: &Cluster, person: &Person, gate: &Gate) -> Result<ReadSession> {
    read_session::open(cluster, person, &gate.spec.workflow, &gate.spec.run, &gate.spec.run_id).await
}
