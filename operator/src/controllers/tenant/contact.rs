//! What a tenant's pods and people must know to reach the operator. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use ntro_crds::labels::{self, CA_CONFIG_MAP, CA_KEY};

use crate::args::Settings;
use crate::tls::server_name;

pub(super) type Contact = BTreeMap<String, String>;

/// `ca.crt`, and for people, who come through the API server: the operator's `namespace`, `pod` and `serverName`.
pub(super) fn contact(settings: &Settings, ca_pem: &str) -> Contact {
    let pod = settings.pod_name.clone().unwrap_or_else(|| format!("{}-0", settings.service_name));
    [
        (CA_KEY, ca_pem.to_owned()),
        ("namespace", settings.namespace.clone()),
        ("pod", pod),
        ("serverName", server_name(&settings.service_name, &settings.namespace)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

pub(super) fn config_map(namespace: &str, contact: Contact) -> ConfigMap {
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
