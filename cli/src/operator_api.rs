//! The operator's read API, reached through the API server's port-forward: TLS with the tenant's published CA and the
//! operator's fixed name inside the tunnel, so that neither the API server nor a node sees payload.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use ntro_crds::labels::{CA_CONFIG_MAP, CA_KEY};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use crate::cluster::Cluster;
use crate::error::{Failure, Result, chain};

const PORT: u16 = 8443;

/// Where the operator is and whom to trust, from the ConfigMap that it publishes in each tenant's namespace.
#[derive(Debug, Clone)]
pub(crate) struct OperatorContact {
    namespace: String,
    pod: String,
    server_name: String,
    ca: String,
}

/// Requests carry the one-time key whose hash the user action `view` named.
pub(crate) struct ReadSession {
    contact: OperatorContact,
    cluster: Cluster,
    key: String,
}

impl OperatorContact {
    pub(crate) async fn read(cluster: &Cluster) -> Result<Self> {
        let namespace = cluster.namespace();
        let map: ConfigMap =
            Api::namespaced(cluster.client.clone(), namespace).get(CA_CONFIG_MAP).await.map_err(|e| match e {
                kube::Error::Api(s) if s.code == 404 => Failure::NotFound(format!(
                    "tenant `{namespace}` not found or not prepared: no ConfigMap {namespace}/{CA_CONFIG_MAP}; \
                     run `ntro tenant create {namespace}` and check that the operator is running"
                )),
                other => Failure::from_kube(&format!("get ConfigMap {namespace}/{CA_CONFIG_MAP}"), other),
            })?;
        let data = map.data.unwrap_or_default();
        let field = |key: &str| {
            data.get(key).cloned().ok_or_else(|| {
                Failure::Other(format!(
                    "invalid ConfigMap {namespace}/{CA_CONFIG_MAP}: no key `{key}`; restart the operator to restore it"
                ))
            })
        };
        Ok(Self {
            namespace: field("namespace")?,
            pod: field("pod")?,
            server_name: field("serverName")?,
            ca: field(CA_KEY)?,
        })
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Name of the operator's StatefulSet: its pod's without the ordinal.
    pub(crate) fn stateful_set(&self) -> &str {
        self.pod.rsplit_once('-').map_or(self.pod.as_str(), |(name, _)| name)
    }

    fn tls(&self) -> Result<TlsConnector> {
        let bad = |e: String| Failure::Other(format!("invalid CA certificate of the operator: {e}"));
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.ca.as_bytes()) {
            roots.add(certificate.map_err(|e| bad(format!("{e:?}")))?).map_err(|e| bad(e.to_string()))?;
        }
        Ok(TlsConnector::from(Arc::new(
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth(),
        )))
    }
}

impl ReadSession {
    /// `key` is the base64url of 32 random bytes.
    pub(crate) fn new(cluster: Cluster, contact: OperatorContact, key: String) -> Self {
        Self { contact, cluster, key }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Bytes> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn get_json(&self, path: &str) -> Result<serde_json::Value> {
        parse(&self.get(path).await?)
    }

    pub(crate) async fn post_json(&self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
        parse(&self.request(Method::POST, path, Bytes::from(body.to_string())).await?)
    }

    /// Hands each piece of the answer to `sink` as it arrives.
    pub(crate) async fn stream(&self, path: &str, mut sink: impl FnMut(&[u8])) -> Result<()> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let text = body.collect().await.map_err(|e| transport(&e))?.to_bytes();
            return Err(failure(status, path, &text));
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
        if status.is_success() { Ok(bytes) } else { Err(failure(status, path, &bytes)) }
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<http::Response<hyper::body::Incoming>> {
        let OperatorContact { namespace, pod, server_name, .. } = &self.contact;
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), namespace);
        let what = format!("open a port-forward to pod {namespace}/{pod}");
        let mut forward = pods.portforward(pod, &[PORT]).await.map_err(|e| Failure::from_kube(&what, e))?;
        let tunnel = forward.take_stream(PORT).ok_or_else(|| Failure::Other(format!("cannot {what}")))?;
        let name = ServerName::try_from(server_name.clone())
            .map_err(|e| Failure::Other(format!("invalid server name `{server_name}` of the operator: {e}")))?;
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
            .map_err(|e| Failure::Other(format!("cannot request `{path}` from the operator: {e}")))?;
        sender.send_request(request).await.map_err(|e| transport(&e))
    }
}

fn transport(error: &dyn std::error::Error) -> Failure {
    Failure::Other(format!("connection to the operator lost: {}; try again", chain(error)))
}

fn parse(bytes: &[u8]) -> Result<serde_json::Value> {
    serde_json::from_slice(bytes).map_err(|e| Failure::Other(format!("invalid answer of the operator: {e}")))
}

/// The operator answers errors as `{"code", "message"}`.
fn failure(status: StatusCode, path: &str, body: &[u8]) -> Failure {
    let message = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|v| v["message"].as_str().or_else(|| v["error"]["message"].as_str()).map(str::to_owned))
        .unwrap_or_else(|| status.to_string());
    let text = format!("the operator refused `{path}`: {message}");
    match status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Failure::Forbidden(text),
        StatusCode::NOT_FOUND => Failure::NotFound(text),
        _ => Failure::Other(text),
    }
}
