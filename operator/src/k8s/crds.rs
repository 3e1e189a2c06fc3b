//! Waits until the custom resource definitions are installed, so that the order in which charts are installed does not
//! matter and a missing definition is no crash.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Returns once all our kinds are served, or when told to stop. Uses discovery, which every client may read.
pub(crate) async fn wait_for_crds(client: &Client, metrics: &Metrics, shutdown: &CancellationToken) {
    let wanted = wanted(&ntro_crds::all());
    let mut wait = FIRST_WAIT;
    let mut told = BTreeSet::new();
    loop {
        let missing = match served(client).await {
            Ok(served) => wanted.difference(&served).cloned().collect(),
            Err(error) => {
                tracing::warn!(error = %crate::error::chain(&error), "cannot ask the API server for our kinds");
                wanted.clone()
            }
        };
        metrics.set_crds_missing(missing.len());
        if missing.is_empty() {
            return;
        }
        if missing != told {
            tracing::warn!(missing = ?missing, "waiting for custom resource definitions");
            told = missing;
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn wanted(definitions: &[CustomResourceDefinition]) -> BTreeSet<String> {
    definitions.iter().map(|definition| definition.spec.names.plural.clone()).collect()
}

async fn served(client: &Client) -> kube::Result<BTreeSet<String>> {
    match client.list_api_group_resources(ntro_crds::API_VERSION).await {
        Ok(list) => Ok(list.resources.into_iter().map(|resource| resource.name).collect()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}
