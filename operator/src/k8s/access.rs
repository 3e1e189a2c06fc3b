//! What of the cluster this operator may see, and how it begins to watch it.

use k8s_openapi::NamespaceResourceScope;
use kube::client::ClientBuilder;
use kube::runtime::watcher;
use kube::{Api, Client, Config, Resource};

use super::{ServerTime, list};

/// A client with the operator's scope. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Access {
    pub client: Client,
    /// The API server's clock, as the client's answers show it.
    pub server_time: ServerTime,
    /// The only namespace to look at; `None` for all.
    pub namespace: Option<String>,
    /// What every watch begins with.
    pub watch: watcher::Config,
}

impl Access {
    /// A client of the API server that the environment names, and its clock.
    pub(crate) async fn client() -> anyhow::Result<(Client, ServerTime)> {
        let server_time = ServerTime::default();
        let builder = ClientBuilder::try_from(Config::infer().await?)?;
        Ok((builder.with_layer(&server_time).build(), server_time))
    }

    /// Asks the API server how lists are best read.
    pub(crate) async fn new((client, server_time): (Client, ServerTime), namespace: Option<String>) -> Self {
        let mut access = Self { client, server_time, namespace, watch: watcher::Config::default() };
        access.watch = list::initial_list(&access.all()).await;
        access
    }

    /// An access that was never tried, for tests.
    #[cfg(test)]
    pub(crate) fn untried(client: Client) -> Self {
        Self { client, server_time: ServerTime::default(), namespace: None, watch: watcher::Config::default() }
    }

    /// All objects of a kind that this operator may see: of the cluster, or of its own namespace.
    pub(crate) fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            None => Api::all(self.client.clone()),
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
        }
    }

    /// The objects of a kind in one namespace.
    pub(crate) fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}
