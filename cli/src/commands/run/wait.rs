//! Waits for a run, for `ntro workflow run --wait`.

use std::time::{Duration, Instant};

use ntro_crds::workflow_run::RunPhase;

use super::get;
use crate::cluster::Cluster;
use crate::commands::shared::columns;
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::Printer;

const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// Waits until the run ends or needs a person; prints each change of its phase.
pub(in crate::commands) async fn wait(
    cluster: &Cluster,
    name: &str,
    timeout: Duration,
    printer: Printer,
) -> Result<ExitStatus> {
    let deadline = Instant::now() + timeout;
    let mut last = None;
    loop {
        let phase = get(cluster, name).await?.status.unwrap_or_default().phase;
        if phase != last {
            printer.progress(format!("{name}: {}", columns::variant(phase)));
            last = phase;
        }
        match phase {
            Some(RunPhase::Succeeded) => return Ok(ExitStatus::Success),
            Some(RunPhase::Failed) => return Ok(ExitStatus::RunFailed),
            Some(RunPhase::Cancelled) => return Ok(ExitStatus::RunCancelled),
            Some(RunPhase::Waiting | RunPhase::Blocked) => return Ok(ExitStatus::RunWaiting),
            _ if Instant::now() > deadline => {
                return Err(Failure::Timeout(format!(
                    "run `{name}` is still {} after {}s; it continues, see `ntro run get {name}`",
                    columns::variant(phase),
                    timeout.as_secs()
                )));
            }
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}
