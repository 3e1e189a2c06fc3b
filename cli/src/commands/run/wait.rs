//! Waiting for a run.

use std::time::Duration;

use ntro_crds::workflow_run::RunPhase;

use super::read;
use crate::cluster::Cluster;
use crate::commands::shared::columns;
use crate::error::{Failure, Outcome, Result};
use crate::printer::Printer;

/// Waits until the run has ended or needs a person, printing each change of its phase.
pub async fn wait(cluster: &Cluster, name: &str, timeout: Duration, printer: Printer) -> Result<Outcome> {
    let until = std::time::Instant::now() + timeout;
    let mut last = None;
    loop {
        let run = read(cluster, name).await?;
        let status = run.status.unwrap_or_default();
        let phase = status.phase;
        if phase != last {
            printer.progress(format!("{name}: {}", columns::word(phase)));
            last = phase;
        }
        match phase {
            Some(RunPhase::Succeeded) => return Ok(Outcome::Done),
            Some(RunPhase::Failed) => return Ok(Outcome::RunFailed),
            Some(RunPhase::Cancelled) => return Ok(Outcome::RunCancelled),
            Some(RunPhase::Waiting | RunPhase::Blocked) => return Ok(Outcome::RunWaits),
            _ if std::time::Instant::now() > until => {
                return Err(Failure::Timeout(format!(
                    "run {name} is still {} after {} s; it goes on, see `ntro run get {name}`",
                    columns::word(phase),
                    timeout.as_secs()
                )));
            }
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}
