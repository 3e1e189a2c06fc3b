//! `ntro run retry`.

use ntro_crds::user_action::Verb;

use super::{get, run_id};
use crate::cluster::Cluster;
use crate::commands::shared::columns;
use crate::commands::shared::user_action::{self, NewUserAction};
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::Printer;

pub(super) async fn run(name: &str, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let run = get(cluster, name).await?;
    let status = run.status.clone().unwrap_or_default();
    let Some(blocked) = status.blocked else {
        return Err(Failure::Invalid(format!(
            "cannot retry run `{name}`: it is not blocked but {}",
            columns::variant(status.phase)
        )));
    };
    let person = cluster.whoami().await?;
    let mut action = NewUserAction::on_run(Verb::Retry, &run.spec.request.workflow_ref.name, name, run_id(&run)?);
    // One retry for each time the run was blocked: the journal has grown in between.
    action.nonce = status.journal.map(|j| j.length.to_string());
    action.repeat_effects = blocked.repeat_effects;
    user_action::submit(cluster, &person, action).await?;
    printer.line(format!("workflowrun/{name} resumed after {} by {}", blocked.code, person.name));
    Ok(ExitStatus::Success)
}
