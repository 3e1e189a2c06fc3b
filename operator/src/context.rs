//! What every controller and every request has at hand.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ntro_crds::{Reason, labels};
use ntro_journal::{Journal, JournalError, RunState};
use uuid::Uuid;

use crate::args::Settings;
use crate::bundles::Bundles;
use crate::cache::tenants::{Tenant, Tenants};
use crate::clock::{Clock, ClockJump};
use crate::error::{Class, Problem};
use crate::k8s::{Access, Events};
use crate::metrics::SharedMetrics;

/// When what waits for its tenant is looked at again, whatever happens.
const TENANT_RETRY: Duration = Duration::from_secs(30);

/// Why there is no state of a run to work with.
pub(crate) enum JournalOrTenant {
    Journal(JournalError),
    Tenant(Problem),
}

impl From<JournalOrTenant> for Problem {
    fn from(error: JournalOrTenant) -> Self {
        match error {
            JournalOrTenant::Journal(error) => error.into(),
            JournalOrTenant::Tenant(problem) => problem,
        }
    }
}

/// Nothing is decided about what belongs to no tenant now.
fn not_served(message: String) -> Problem {
    Problem::new(Class::Waiting { after: TENANT_RETRY }, Reason::TenantUnknown, message)
}

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
    /// What the API server's clock shows now at least: what people did in time is told by it. Our own time before the first
    /// answer.
    pub(crate) fn server_now(&self) -> Timestamp {
        self.kube.server_time.now().unwrap_or_else(|| self.clock.now())
    }

    /// The run with this name of the tenant that has the namespace now: runs of one that had it before are nobody's. Of a
    /// namespace that is no tenant's, nothing is known and nothing decided.
    pub(crate) async fn run_by_name(&self, namespace: &str, name: &str) -> Result<Option<Uuid>, Problem> {
        Ok(self.journal.run_by_name(&self.tenant(namespace)?.uid, name).await?)
    }

    /// The tenant that has this namespace now.
    pub(crate) fn tenant(&self, namespace: &str) -> Result<Tenant, Problem> {
        let message = || format!("namespace {namespace} is no tenant: it lacks the label {}", labels::TENANT);
        self.tenants.get(namespace).ok_or_else(|| not_served(message()))
    }

    /// The state of a run, unless the tenant that it was begun for does not have its namespace now.
    pub(crate) async fn served_state(&self, run_id: Uuid) -> Result<Arc<RunState>, JournalOrTenant> {
        let state = self.journal.state(run_id).await.map_err(JournalOrTenant::Journal)?;
        if self.serves(&state) {
            return Ok(state);
        }
        let (slug, namespace) = (&state.tenant.slug, &state.namespace);
        let message = format!("run belongs to tenant {slug}, and namespace {namespace} is not that tenant's now");
        Err(JournalOrTenant::Tenant(not_served(message)))
    }

    /// Whether the tenant whose run this is has its namespace now.
    pub(crate) fn serves(&self, run: &RunState) -> bool {
        self.tenants.serves(&run.namespace, &run.tenant)
    }
}
