//! What every controller and every request has at hand.

use std::sync::Arc;

use ntro_journal::{Journal, JournalError, RunState};
use uuid::Uuid;

use crate::args::Settings;
use crate::bundles::Bundles;
use crate::cache::tenants::Tenants;
use crate::clock::{Clock, ClockJump};
use crate::k8s::{Access, Events};
use crate::metrics::SharedMetrics;

/// Shared parts of the operator. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Context {
    /// The Kubernetes API.
    pub kube: Access,
    /// What every run is.
    pub journal: Journal,
    /// The code of runs.
    pub bundles: Arc<Bundles>,
    pub events: Events,
    pub metrics: SharedMetrics,
    pub clock: Arc<dyn Clock>,
    pub clock_jump: ClockJump,
    pub settings: Arc<Settings>,
    /// Which namespaces are served.
    pub tenants: Arc<Tenants>,
}

impl Context {
    /// The run with this name of the tenant that has the namespace now: runs of one that had it before are nobody's.
    pub(crate) async fn run_by_name(&self, namespace: &str, name: &str) -> Result<Option<Uuid>, JournalError> {
        match self.tenants.get(namespace) {
            Some(tenant) => self.journal.run_by_name(&tenant.uid, name).await,
            None => Ok(None),
        }
    }

    /// Whether the tenant whose run this is has its namespace now.
    pub(crate) fn serves(&self, run: &RunState) -> bool {
        self.tenants.serves(&run.namespace, &run.tenant)
    }
}
