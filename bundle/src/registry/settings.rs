//! How a registry is talked to.

use std::time::Duration;

use oci_client::client::{Certificate, CertificateEncoding};

use super::error::RegistryError;
use crate::credentials::Credentials;
use crate::limits::BundleLimits;

/// How to talk to a registry.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// Speak HTTP without TLS.
    pub plain_http: bool,
    /// Certificates to trust besides the well-known ones and the system's, as PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Who asks. They are sent to every registry this client is used with.
    pub credentials: Credentials,
    /// Limit for each request, its retries included.
    pub timeout: Duration,
    /// Largest bundles that are pulled.
    pub limits: BundleLimits,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            plain_http: false,
            ca_pem: None,
            credentials: Credentials::Anonymous,
            timeout: Duration::from_mins(1),
            limits: BundleLimits::default(),
        }
    }
}

impl RegistrySettings {
    /// What is trusted besides the system's certificates.
    pub(super) fn roots(&self) -> Result<Vec<Certificate>, RegistryError> {
        // Built-in roots, so that a binary alone in an image can reach public registries.
        let mut roots: Vec<Certificate> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .map(|der| Certificate { encoding: CertificateEncoding::Der, data: der.to_vec() })
            .collect();
        roots.extend(self.ca_pem.as_deref().map(split_pem).transpose()?.unwrap_or_default());
        Ok(roots)
    }
}

/// The certificates of a PEM text.
fn split_pem(pem: &[u8]) -> Result<Vec<Certificate>, RegistryError> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let invalid = || RegistryError::SettingsInvalid("the CA bundle holds no PEM certificate".to_owned());
    let text = std::str::from_utf8(pem).map_err(|_| invalid())?;
    let mut certificates = Vec::new();
    for block in text.split(BEGIN).skip(1) {
        let body = block.split_once(END).ok_or_else(invalid)?.0;
        let data = format!("{BEGIN}{body}{END}\n").into_bytes();
        certificates.push(Certificate { encoding: CertificateEncoding::Pem, data });
    }
    if certificates.is_empty() { Err(invalid()) } else { Ok(certificates) }
}
