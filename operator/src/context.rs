//! What every controller and every request has at hand.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};

use ntro_journal::Journal;

use crate::args::Settings;
use crate::bundles::Bundles;
use crate::clock::Clock;
use crate::clock_set::ClockSet;
use crate::kube_ext::Events;
use crate::listing::scoped;
use crate::metrics::SharedMetrics;
use crate::pace::Pace;
use crate::tenants::Tenants;

/// Shared parts of the operator. Cloning is cheap.
#[derive(Clone)]
pub struct Context {
    /// The Kubernetes API.
    pub client: Client,
    /// What every run is.
    pub journal: Journal,
    /// The code of runs.
    pub bundles: Arc<Bundles>,
    /// Tells people what happened.
    pub events: Events,
    /// Counters.
    pub metrics: SharedMetrics,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Tells when the clock was set.
    pub clock_set: ClockSet,
    /// What the operator was told at its start.
    pub settings: Arc<Settings>,
    /// Which namespaces are served.
    pub tenants: Arc<Tenants>,
    /// How watches begin.
    pub watching: watcher::Config,
    /// What can wait while runs are being started.
    pub pace: Pace,
}

impl Context {
    /// All objects of a kind that this operator may see: of the cluster, or of its own namespace.
    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        scoped(&self.client, &self.settings)
    }

    /// The objects of a kind in one namespace.
    pub fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}
