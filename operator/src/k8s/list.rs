//! How watches read what is there already when they begin.

use kube::api::{Api, WatchParams};
use kube::runtime::watcher;
use ntro_crds::Runbook;

/// Watches that begin with a stream of what is there, from the API server's memory, where it knows that (Kubernetes 1.34, or
/// the feature gate `WatchList`); otherwise with pages read from etcd, which takes four times as long.
pub(super) async fn initial_list(api: &Api<Runbook>) -> watcher::Config {
    // Nothing has this name: the answer is only whether the API server does it.
    let params = WatchParams::default().fields("metadata.name=-").timeout(1).initial_events();
    match api.watch(&params, "").await {
        Ok(_) => watcher::Config::default().streaming_lists(),
        Err(error) => {
            tracing::info!(error = %crate::error::chain(&error), "the API server does not stream lists; reading them in pages");
            watcher::Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::InitialListStrategy;
    use serde_json::json;

    use super::*;
    use crate::testing::api_server;

    #[tokio::test]
    async fn lists_are_streamed_only_by_an_api_server_that_does_it() {
        let (client, mut asked) = api_server(|_| Some(json!({})));
        assert_eq!(initial_list(&Api::all(client)).await.initial_list_strategy, InitialListStrategy::StreamingList);
        assert!(asked.recv().await.unwrap().path.contains("sendInitialEvents=true"));
        let (client, _asked) = api_server(|_| None);
        assert_eq!(initial_list(&Api::all(client)).await.initial_list_strategy, InitialListStrategy::ListWatch);
    }
}
