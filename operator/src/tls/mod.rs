//! The certificate authority on the data volume and the server certificate it signs.
//!
//! The authority is made once and lives as long as the volume. Server certificates are short, live in memory only and
//! are replaced long before they end, without a restart.

mod authority;
mod serve;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

pub(crate) use authority::{Authority, TlsError};
pub(crate) use serve::serve;

use crate::clock::Clock;

/// How long a server certificate is valid.
const LEAF_LIFETIME: Duration = Duration::from_hours(30 * 24);
/// How often a server certificate is replaced.
const LEAF_ROTATION: Duration = Duration::from_hours(10 * 24);
/// Time until a failed replacement is tried again.
const ROTATION_RETRY: Duration = Duration::from_mins(10);

/// The name clients expect of the operator, however they reach it.
pub(crate) fn server_name(service: &str, namespace: &str) -> String {
    format!("{service}.{namespace}.svc")
}

/// The names the operator's Service can be dialled by.
pub(crate) fn server_names(service: &str, namespace: &str) -> Vec<String> {
    let name = server_name(service, namespace);
    vec![format!("{name}.cluster.local"), name]
}

/// The server certificate in use.
#[derive(Debug)]
pub(crate) struct ServerCertificate {
    authority: Authority,
    names: Vec<String>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl ServerCertificate {
    /// A first certificate for these names.
    pub(crate) fn new(authority: Authority, names: Vec<String>, clock: &dyn Clock) -> Result<Arc<Self>, TlsError> {
        let first = authority.leaf(&names, clock.now(), LEAF_LIFETIME)?;
        Ok(Arc::new(Self { authority, names, current: RwLock::new(Arc::new(first)) }))
    }

    /// The certificate of the authority, as PEM: what clients must trust.
    pub(crate) fn ca_pem(&self) -> &str {
        self.authority.ca_pem()
    }

    /// Replaces the certificate in use. Connections that are open keep theirs.
    pub(crate) fn rotate(&self, clock: &dyn Clock) -> Result<(), TlsError> {
        let next = self.authority.leaf(&self.names, clock.now(), LEAF_LIFETIME)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    /// Replaces the certificate in time, until told to stop.
    pub(crate) async fn keep_fresh(self: Arc<Self>, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
        let mut wait = LEAF_ROTATION;
        while shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            wait = match self.rotate(clock.as_ref()) {
                Ok(()) => LEAF_ROTATION,
                Err(error) => {
                    tracing::error!(error = %crate::error::chain(&error), "could not replace the server certificate");
                    ROTATION_RETRY
                }
            };
        }
    }

    /// Configuration of a server that shows whatever certificate is current.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::Router;
    use axum::routing::get;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::clock::SystemClock;

    async fn peer_certificate(address: std::net::SocketAddr, ca_pem: &str, name: &str) -> Result<Vec<u8>, String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = connector.connect(name, tcp).await.map_err(|e| e.to_string())?;
        Ok(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec())
    }

    #[tokio::test]
    async fn clients_that_trust_the_authority_connect_by_the_service_name_before_and_after_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(dir.path(), SystemClock::default().now()).unwrap();
        let certificate =
            ServerCertificate::new(authority, server_names("ntro", "ntro-system"), &SystemClock::default()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "here" }));
        let server = tokio::spawn(serve(listener, certificate.server_config().unwrap(), router, stop.clone()));

        let ca = certificate.ca_pem().to_owned();
        let before = peer_certificate(address, &ca, "ntro.ntro-system.svc").await.unwrap();
        assert!(peer_certificate(address, &ca, "elsewhere.example").await.is_err());
        // A restart reads the same authority: what clients trust stays.
        let reloaded = Authority::load_or_create(dir.path(), SystemClock::default().now()).unwrap();
        assert_eq!(reloaded.ca_pem(), ca);
        certificate.rotate(&SystemClock::default()).unwrap();
        let after = peer_certificate(address, &ca, "ntro.ntro-system.svc.cluster.local").await.unwrap();
        assert_ne!(before, after);

        stop.cancel();
        server.await.unwrap();
    }
}
