//! `ntro gate`: the inbox of people.

mod answer;
mod list;
mod render;
mod show;

use kube::Api;
use ntro_crds::Gate;
use ntro_crds::user_action::Verb;
use serde_json::Value;

use crate::args;
use crate::cluster::{Cluster, Person};
use crate::commands::shared::read_session;
use crate::error::{Failure, Outcome, Result};
use crate::operator_api::Session;
use crate::printer::Printer;

/// Runs `ntro gate …`.
pub async fn run(args: &args::Gate, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    match args {
        args::Gate::List(args) => list::list(args, cluster, printer).await,
        args::Gate::Show(args) => show::show(&args.name, cluster, printer).await,
        args::Gate::Approve(args) => answer::answer(args, Verb::Approve, None, cluster, printer).await,
        args::Gate::Reject(args) => answer::answer(args, Verb::Reject, None, cluster, printer).await,
        args::Gate::Correct(args) => answer::correct(args, cluster, printer).await,
    }
}

fn api(cluster: &Cluster) -> Api<Gate> {
    Api::namespaced(cluster.client.clone(), cluster.namespace())
}

async fn read(cluster: &Cluster, name: &str) -> Result<Gate> {
    let what = format!("read Gate {}/{name}", cluster.namespace());
    api(cluster).get(name).await.map_err(|e| Failure::from_kube(&what, e))
}

async fn open_session(cluster: &Cluster, person: &Person, gate: &Gate) -> Result<Session> {
    read_session::open(cluster, person, &gate.spec.workflow, &gate.spec.run, &gate.spec.run_id).await
}

fn parse(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|e| Failure::Other(format!("the operator's answer cannot be read: {e}")))
}
