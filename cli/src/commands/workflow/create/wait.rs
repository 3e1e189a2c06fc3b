//! Waits until what was applied is ready.

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use ntro_crds::{Runbook, conditions};

use crate::cluster::Cluster;
use crate::commands::shared::columns;
use crate::commands::workflow;
use crate::error::{Failure, Result};
use crate::printer::Printer;

const TIMEOUT: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// What decides whether an object is ready.
struct ReadyState {
    name: String,
    generation: Option<i64>,
    observed_generation: Option<i64>,
    conditions: Option<Vec<Condition>>,
}

/// Fails with the operator's message if one of the two is stalled.
pub(super) async fn wait_ready(cluster: &Cluster, runbook: &str, workflow: &str, printer: Printer) -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    let mut last = None;
    loop {
        let mut pending = None;
        for observed in [get_runbook(cluster, runbook).await?, get_workflow(cluster, workflow).await?] {
            pending = observed.pending()?;
            if pending.is_some() {
                break;
            }
        }
        let Some(pending) = pending else {
            printer.line(format!("workflow/{workflow} is ready"));
            return Ok(());
        };
        if Instant::now() > deadline {
            return Err(Failure::Timeout(format!("not ready after {}s: {pending}", TIMEOUT.as_secs())));
        }
        if last.as_ref() != Some(&pending) {
            printer.progress(&pending);
            last = Some(pending);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn get_runbook(cluster: &Cluster, name: &str) -> Result<ReadyState> {
    let api: Api<Runbook> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let what = format!("get Runbook {}/{name}", cluster.namespace());
    let object = api.get(name).await.map_err(|e| Failure::from_kube(&what, e))?;
    let (observed_generation, conditions) =
        object.status.map(|s| (s.observed_generation, s.conditions)).unwrap_or_default();
    let generation = object.metadata.generation;
    Ok(ReadyState { name: format!("runbook/{name}"), generation, observed_generation, conditions })
}

async fn get_workflow(cluster: &Cluster, name: &str) -> Result<ReadyState> {
    let object = workflow::get(cluster, name).await?;
    let (observed_generation, conditions) =
        object.status.map(|s| (s.observed_generation, s.conditions)).unwrap_or_default();
    let generation = object.metadata.generation;
    Ok(ReadyState { name: format!("workflow/{name}"), generation, observed_generation, conditions })
}

impl ReadyState {
    /// Why it is not ready yet.
    fn pending(&self) -> Result<Option<String>> {
        let conditions = self.conditions.as_ref();
        let condition = |kind| columns::condition(conditions, kind);
        if let Some(stalled) = condition(conditions::STALLED).filter(|c| c.status == "True") {
            let Self { name, .. } = self;
            return Err(Failure::Invalid(format!("{name} is stalled: {} ({})", stalled.message, stalled.reason)));
        }
        let ready = condition(conditions::READY);
        if self.observed_generation == self.generation && ready.is_some_and(|c| c.status == "True") {
            return Ok(None);
        }
        Ok(Some(format!("{}: {}", self.name, ready.map_or("not reconciled yet", |c| c.message.as_str()))))
    }
}
