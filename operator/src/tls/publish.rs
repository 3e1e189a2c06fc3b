//! Tells every tenant namespace which certificate authority to trust.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use ntro_crds::labels::{self, CA_CONFIG_MAP, CA_KEY};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::controllers::Driver;
use crate::error::{Class, Next, Problem};
use crate::kube_ext::apply;
use crate::metrics::ControllerName;

/// How often it is checked that nobody removed or changed what was published. A check is a read.
const RECHECK: Duration = Duration::from_mins(5);

/// Keeps the ConfigMap of every tenant as it should be, until told to stop.
pub async fn run(context: Context, ca_pem: Arc<str>, shutdown: CancellationToken) {
    let driver = Driver::new(ControllerName::Tenant, context.clone());
    let mut tenants = context.tenants.subscribe();
    loop {
        let known = tenants.borrow_and_update().clone();
        context.metrics.set_tenants(known.len());
        let mut next = Next::After(RECHECK);
        for tenant in known.values().filter(|tenant| !tenant.terminating) {
            let pass = driver.pass(&tenant.namespace, CA_CONFIG_MAP, publish(&context, &tenant.namespace, &ca_pem));
            next = next.sooner(pass.await);
        }
        let wait = match next {
            Next::After(delay) => delay,
            Next::OnChange => RECHECK,
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            changed = tenants.changed() => if changed.is_err() { return },
        }
    }
}

/// Publishes to one namespace, and notes whether the namespace was prepared for a tenant at all.
async fn publish(context: &Context, namespace: &str, ca_pem: &str) -> Result<Next, Problem> {
    let api = context.namespaced::<ConfigMap>(namespace);
    let result = async {
        let current = api.get_opt(CA_CONFIG_MAP).await?;
        if current.as_ref().and_then(|map| map.data.as_ref()?.get(CA_KEY)).is_some_and(|pem| pem == ca_pem) {
            return Ok(false);
        }
        apply(&api, CA_CONFIG_MAP, &config_map(namespace, ca_pem)).await.map(|_| true)
    };
    let result = result.await;
    match &result {
        Ok(_) => context.tenants.set_prepared(namespace, true),
        Err(kube::Error::Api(status)) if status.is_forbidden() => context.tenants.set_prepared(namespace, false),
        Err(_) => {}
    }
    match result {
        Ok(written) => {
            if written {
                tracing::info!(namespace, "published the certificate authority");
            }
            Ok(Next::After(RECHECK))
        }
        Err(error) => {
            let problem = Problem::from(error);
            Err(match problem.class {
                Class::Waiting { .. } => Problem { reason: "TenantNotPrepared", ..problem },
                _ => problem,
            })
        }
    }
}

fn config_map(namespace: &str, ca_pem: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(CA_CONFIG_MAP.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_OPERATOR.to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(CA_KEY.to_owned(), ca_pem.to_owned())])),
        ..ConfigMap::default()
    }
}
