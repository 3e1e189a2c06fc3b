//! Tells every tenant namespace where the operator is and which certificate authority to trust.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use ntro_crds::labels::{self, CA_CONFIG_MAP, CA_KEY};
use tokio_util::sync::CancellationToken;

use crate::args::Settings;
use crate::context::Context;
use crate::controllers::Driver;
use crate::error::{Class, Next, Problem};
use crate::kube_ext::apply;
use crate::metrics::ControllerName;

/// How often it is checked that nobody removed or changed what was published. A check is a read.
const RECHECK: Duration = Duration::from_mins(5);

/// How often a namespace without our rights is tried again: preparing one takes a moment after its label appears.
const UNPREPARED: Duration = Duration::from_secs(3);

/// Keeps the `ConfigMap` of every tenant as it should be, until told to stop.
pub async fn run(context: Context, ca_pem: Arc<str>, shutdown: CancellationToken) {
    let contact = contact(&context.settings, &ca_pem);
    let driver = Driver::new(ControllerName::Tenant, context.clone());
    let mut tenants = context.tenants.subscribe();
    loop {
        let known = tenants.borrow_and_update().clone();
        context.metrics.set_tenants(known.len());
        let mut next = Next::After(RECHECK);
        for tenant in known.values().filter(|tenant| !tenant.terminating) {
            let pass = driver.pass(&tenant.namespace, CA_CONFIG_MAP, publish(&context, &tenant.namespace, &contact));
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
async fn publish(context: &Context, namespace: &str, contact: &Contact) -> Result<Next, Problem> {
    let api = context.namespaced::<ConfigMap>(namespace);
    let result = async {
        let current = api.get_opt(CA_CONFIG_MAP).await?;
        if current.as_ref().is_some_and(|map| map.data.as_ref() == Some(contact)) {
            return Ok(false);
        }
        apply(&api, CA_CONFIG_MAP, &config_map(namespace, contact.clone())).await.map(|_| true)
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
                Class::Waiting { .. } => {
                    Problem { class: Class::Waiting { after: UNPREPARED }, reason: "TenantNotPrepared", ..problem }
                }
                _ => problem,
            })
        }
    }
}

/// What a tenant's pods and people must know to dial the operator.
type Contact = BTreeMap<String, String>;

/// `ca.crt`, and for people, who come through the API server: the operator's `namespace`, `pod` and `serverName`.
fn contact(settings: &Settings, ca_pem: &str) -> Contact {
    let pod = settings.pod_name.clone().unwrap_or_else(|| format!("{}-0", settings.service_name));
    [
        (CA_KEY, ca_pem.to_owned()),
        ("namespace", settings.namespace.clone()),
        ("pod", pod),
        ("serverName", super::server_name(&settings.service_name, &settings.namespace)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn config_map(namespace: &str, contact: Contact) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(CA_CONFIG_MAP.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_OPERATOR.to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(contact),
        ..ConfigMap::default()
    }
}
