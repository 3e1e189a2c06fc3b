//! What every controller and every request has at hand.

use std::sync::Arc;

use ntro_journal::Journal;

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
