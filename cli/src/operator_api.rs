//! The operator's read API, reached through the API server's port-forward: TLS with the tenant's published CA and the
//! operator's fixed name inside the tunnel, so that neither the API server nor a node sees payload.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use crate::cluster::Cluster;
use crate::error::{Failure, Result, chain};

/// Name of the ConfigMap in each tenant's namespace that says where the operator is and whom to trust.
pub const CONTACT: &str = "ntro-ca";
const PORT: u16 = 8443;

/// Where the operator of a tenant is, from the ConfigMap it publishes there.
#[derive(Debug, Clone)]
pub struct Contact {
    namespace: String,
    pod: String,
    server_name: String,
    ca: String,
}

/// An open read session: requests carry the one-time key whose hash a `view` act named.
pub struct Session {
    contact: Contact,
    cluster: Cluster,
    key: String,
}

impl Contact {
    /// Reads the contact of the tenant's namespace. Missing: the tenant is unknown or not prepared.
    pub async fn read(cluster: &Cluster) -> Result<Self> {
        let namespace = cluster.namespace();
        let map: ConfigMap =
            Api::namespaced(cluster.client.clone(), namespace).get(CONTACT).await.map_err(|e| match e {
                kube::Error::Api(s) if s.code == 404 => Failure::NotFound(format!(
                    "tenant `{namespace}` is unknown or not prepared: its namespace has no ConfigMap `{CONTACT}`; \
                 prepare it with `ntro tenant create {namespace}` and check that the operator runs"
                )),
                other => Failure::from_kube(&format!("read ConfigMap {namespace}/{CONTACT}"), other),
            })?;
        let data = map.data.unwrap_or_default();
        let field = |key: &str| {
            data.get(key).cloned().ok_or_else(|| {
                Failure::Other(format!(
                    "ConfigMap {namespace}/{CONTACT} has no `{key}`; the operator rewrites it when it starts"
                ))
            })
        };
        Ok(Self {
            namespace: field("namespace")?,
            pod: field("pod")?,
            server_name: field("serverName")?,
            ca: field("ca.crt")?,
        })
    }

    /// Namespace of the operator.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Name of its StatefulSet: its pod's without the number.
    pub fn workload(&self) -> &str {
        self.pod.rsplit_once('-').map_or(self.pod.as_str(), |(name, _)| name)
    }

    fn tls(&self) -> Result<TlsConnector> {
        let bad = |e: String| Failure::Other(format!("the published CA of the operator is not usable: {e}"));
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.ca.as_bytes()) {
            roots.add(certificate.map_err(|e| bad(format!("{e:?}")))?).map_err(|e| bad(e.to_string()))?;
        }
        Ok(TlsConnector::from(Arc::new(
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth(),
        )))
    }
}

impl Session {
    /// A session for requests with `key` (base64url of 32 random bytes).
    pub fn new(cluster: Cluster, contact: Contact, key: String) -> Self {
        Self { contact, cluster, key }
    }

    /// `GET path`, whole answer.
    pub async fn get(&self, path: &str) -> Result<Bytes> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    /// `POST path` with a JSON body, whole answer.
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Bytes> {
        self.request(Method::POST, path, Bytes::from(body.to_string())).await
    }

    /// `GET path`, handing each piece of the answer to `sink` as it arrives.
    pub async fn stream(&self, path: &str, mut sink: impl FnMut(&[u8])) -> Result<()> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let text = body.collect().await.map_err(|e| transport(&e))?.to_bytes();
            return Err(refused(status, path, &text));
        }
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame.map_err(|e| transport(&e))?.data_ref() {
                sink(data);
            }
        }
        Ok(())
    }

    async fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|e| transport(&e))?.to_bytes();
        if status.is_success() { Ok(bytes) } else { Err(refused(status, path, &bytes)) }
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<http::Response<hyper::body::Incoming>> {
        let Contact { namespace, pod, server_name, .. } = &self.contact;
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), namespace);
        let what = format!("open a port-forward to the operator (pod {namespace}/{pod})");
        let mut forward = pods.portforward(pod, &[PORT]).await.map_err(|e| Failure::from_kube(&what, e))?;
        let tunnel = forward.take_stream(PORT).ok_or_else(|| Failure::Other(format!("cannot {what}")))?;
        let name = ServerName::try_from(server_name.clone())
            .map_err(|e| Failure::Other(format!("`{server_name}` is no server name: {e}")))?;
        let stream = self.contact.tls()?.connect(name, tunnel).await.map_err(|e| transport(&e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| transport(&e))?;
        tokio::spawn(async move {
            // The forwarder lives as long as the connection it carries; an error shows up in the request.
            let _ = connection.await;
            drop(forward);
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, server_name)
            .header(header::AUTHORIZATION, format!("Ntro-Key {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|e| Failure::Other(format!("cannot ask for {path}: {e}")))?;
        sender.send_request(request).await.map_err(|e| transport(&e))
    }
}

fn transport(error: &dyn std::error::Error) -> Failure {
    Failure::Other(format!("the connection to the operator broke: {}; try again", chain(error)))
}

/// The operator answers errors as `{"code", "message"}`.
fn refused(status: StatusCode, path: &str, body: &[u8]) -> Failure {
    let message = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|v| v["message"].as_str().or_else(|| v["error"]["message"].as_str()).map(str::to_owned))
        .unwrap_or_else(|| status.to_string());
    let text = format!("the operator refused {path}: {message}");
    match status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Failure::Forbidden(text),
        StatusCode::NOT_FOUND => Failure::NotFound(text),
        _ => Failure::Other(text),
    }
}
