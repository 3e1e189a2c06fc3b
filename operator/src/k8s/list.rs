//! How everything that is there is read at the start.

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, WatchParams};
use kube::runtime::watcher;
use kube::{Client, Resource};
use ntro_crds::Runbook;

use crate::args::{Scope, Settings};

/// Watches that begin with a stream of what is there, from the API server's memory, where it knows that (Kubernetes 1.34, or
/// the feature gate `WatchList`); otherwise with pages read from etcd, which takes four times as long.
pub async fn strategy(client: &Client, settings: &Settings) -> watcher::Config {
    let api: Api<Runbook> = scoped(client, settings);
    // Nothing has this name: the answer is only whether the API server does it.
    let params = WatchParams::default().fields("metadata.name=-").timeout(1).initial_events();
    match api.watch(&params, "").await {
        Ok(_) => watcher::Config::default().streaming_lists(),
        Err(error) => {
            tracing::info!(error = %crate::error::chain(&error), "the API server streams no lists: they are read in pages");
            watcher::Config::default()
        }
    }
}

/// All objects of a kind that this operator may see: of the cluster, or of its own namespace.
pub fn scoped<K>(client: &Client, settings: &Settings) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match settings.scope {
        Scope::Cluster => Api::all(client.clone()),
        Scope::Namespace => Api::namespaced(client.clone(), &settings.namespace),
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
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::for_tests(directory.path());
        let (client, mut asked) = api_server(|_| Some(json!({})));
        assert_eq!(strategy(&client, &settings).await.initial_list_strategy, InitialListStrategy::StreamingList);
        assert!(asked.recv().await.unwrap().path.contains("sendInitialEvents=true"));
        let (client, _asked) = api_server(|_| None);
        assert_eq!(strategy(&client, &settings).await.initial_list_strategy, InitialListStrategy::ListWatch);
    }
}
