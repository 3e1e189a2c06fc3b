//! One reconcile of a tenant's namespace.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use ntro_crds::Reason;

use super::Tenants;
use super::contact::{Contact, config_map};
use crate::error::{Class, Problem, Requeue};
use crate::k8s::{NamespacedName, apply};

/// How often it is checked that nobody removed or changed what was published. A check is a read.
const RECHECK: Requeue = Requeue::After(Duration::from_mins(5));
/// How often a namespace without our rights is tried again: preparing one takes a moment after its label appears.
const UNPREPARED: Duration = Duration::from_secs(3);

impl Tenants {
    /// There is nothing to validate: what is published is the operator's own.
    pub(super) async fn reconcile_one(&self, key: &NamespacedName) -> Result<Requeue, Problem> {
        if self.context.tenants.get(&key.namespace).is_none_or(|tenant| tenant.terminating) {
            return Ok(Requeue::OnChange);
        }
        let applied = match self.observe(key).await {
            Ok(current) if decide(current.as_ref(), &self.contact) => self.apply(key).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        self.summarize(key, applied)
    }

    async fn observe(&self, key: &NamespacedName) -> kube::Result<Option<ConfigMap>> {
        self.context.kube.namespaced::<ConfigMap>(&key.namespace).get_opt(&key.name).await
    }

    async fn apply(&self, key: &NamespacedName) -> kube::Result<()> {
        let api = self.context.kube.namespaced::<ConfigMap>(&key.namespace);
        apply(&api, &key.name, &config_map(&key.namespace, self.contact.clone())).await?;
        tracing::info!(namespace = key.namespace, "published the certificate authority");
        Ok(())
    }

    /// Notes whether the namespace was prepared for a tenant at all.
    fn summarize(&self, key: &NamespacedName, applied: kube::Result<()>) -> Result<Requeue, Problem> {
        let tenants = &self.context.tenants;
        match &applied {
            Ok(()) => tenants.set_prepared(&key.namespace, true),
            Err(kube::Error::Api(status)) if status.is_forbidden() => tenants.set_prepared(&key.namespace, false),
            Err(_) => {}
        }
        match applied.map_err(Problem::from) {
            Ok(()) => Ok(RECHECK),
            Err(problem) if matches!(problem.class, Class::Waiting { .. }) => {
                let class = Class::Waiting { after: UNPREPARED };
                Err(Problem { class, reason: Reason::TenantNotPrepared, ..problem })
            }
            Err(problem) => Err(problem),
        }
    }
}

/// Whether anything is to be written.
fn decide(current: Option<&ConfigMap>, wanted: &Contact) -> bool {
    current.is_none_or(|map| map.data.as_ref() != Some(wanted))
}
