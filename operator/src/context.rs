//! What every controller and every request has at hand.

use std::sync::Arc;

use kube::{Api, Client};

use crate::args::{Scope, Settings};
use crate::clock::Clock;
use crate::kube_ext::{Events, Kind};
use crate::metrics::SharedMetrics;
use crate::tenants::Tenants;

/// Shared parts of the operator. Cloning is cheap.
#[derive(Clone)]
pub struct Context {
    /// The Kubernetes API.
    pub client: Client,
    /// Tells people what happened.
    pub events: Events,
    /// Counters.
    pub metrics: SharedMetrics,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the operator was told at its start.
    pub settings: Arc<Settings>,
    /// Which namespaces are served.
    pub tenants: Arc<Tenants>,
}

impl Context {
    /// All objects of a kind that this operator may see: of the cluster, or of its own namespace.
    pub fn all<K: Kind>(&self) -> Api<K> {
        match self.settings.scope {
            Scope::Cluster => Api::all(self.client.clone()),
            Scope::Namespace => Api::namespaced(self.client.clone(), &self.settings.namespace),
        }
    }

    /// The objects of a kind in one namespace.
    pub fn namespaced<K: Kind>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }
}
