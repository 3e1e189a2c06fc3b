//! `ntro run cancel`.

use ntro_crds::user_action::Verb;

use super::{get, run_id};
use crate::cluster::Cluster;
use crate::commands::shared::user_action::{self, NewUserAction};
use crate::error::{ExitStatus, Result};
use crate::printer::Printer;

pub(super) async fn run(name: &str, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let run = get(cluster, name).await?;
    let person = cluster.whoami().await?;
    let action = NewUserAction::on_run(Verb::Cancel, &run.spec.request.workflow_ref.name, name, run_id(&run)?);
    user_action::submit(cluster, &person, action).await?;
    printer.line(format!("workflowrun/{name} cancellation requested by {}", person.name));
    Ok(ExitStatus::Success)
}
