//! `ntro run cancel`.

use ntro_crds::user_action::Verb;

use super::{read, run_id};
use crate::cluster::Cluster;
use crate::commands::shared::user_action::{self, NewUserAction};
use crate::error::{Outcome, Result};
use crate::printer::Printer;

pub(super) async fn cancel(name: &str, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let run = read(cluster, name).await?;
    let person = cluster.whoami().await?;
    let action = NewUserAction::on_run(Verb::Cancel, &run.spec.request.workflow_ref.name, name, run_id(&run)?);
    user_action::perform(cluster, &person, action).await?;
    printer.line(format!("workflowrun/{name} cancel requested by {}", person.name));
    Ok(Outcome::Done)
}
