//! HTTPS to one server, whose certificate one fixed authority has signed. Keeps a few connections.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::body::Body;
use crate::download::Download;

const CONNECT: Duration = Duration::from_secs(15);
const MAX_IDLE: usize = 8;
/// The most that is read of an answer that is no success.
const MAX_REFUSAL: usize = 8 << 20;

/// Why there was no answer. Texts of TLS and sockets are of no use in a log without payload: only classes.
#[derive(Debug, Error)]
pub(crate) enum HttpsError {
    #[error("{0}")]
    Unreachable(&'static str),
    #[error("cannot write what was received: {0}")]
    Local(io::Error),
}

/// One request.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) bearer: &'a str,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: Body,
    /// How long nothing may happen.
    pub(crate) patience: Duration,
}

/// `body` is empty if it went into a download.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after_s: Option<u64>,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Https {
    host: String,
    authority: String,
    port: u16,
    prefix: String,
    ca_file: PathBuf,
    idle: RefCell<Vec<SendRequest<Body>>>,
}

impl Https {
    pub(crate) fn new(url: &Uri, ca_file: PathBuf) -> Self {
        Self {
            host: url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned(),
            authority: url.authority().map(ToString::to_string).unwrap_or_default(),
            port: url.port_u16().unwrap_or(443),
            prefix: url.path().trim_end_matches('/').to_owned(),
            ca_file,
            idle: RefCell::default(),
        }
    }

    /// The same server, by other connections.
    pub(crate) fn apart(&self) -> Self {
        Self {
            host: self.host.clone(),
            authority: self.authority.clone(),
            port: self.port,
            prefix: self.prefix.clone(),
            ca_file: self.ca_file.clone(),
            idle: RefCell::default(),
        }
    }

    /// Asks once. The body of a success goes to `download`, if there is one.
    pub(crate) async fn ask(
        &self,
        question: Question<'_>,
        download: Option<&mut Download>,
    ) -> Result<Answer, HttpsError> {
        let patience = question.patience;
        let request = self.request(question)?;
        let progress = request.body().progress();
        let mut connection = self.connection().await?;
        let mut response = pin!(connection.send_request(request));
        let response = loop {
            let before = progress.get();
            match timeout(patience, &mut response).await {
                Ok(response) => break response.map_err(|_| HttpsError::Unreachable("Request"))?,
                Err(_) if progress.get() > before => {}
                Err(_) => return Err(HttpsError::Unreachable("TimedOut")),
            }
        };
        let (head, mut body) = response.into_parts();
        let mut collected = Vec::new();
        let mut sink = download.filter(|_| head.status.is_success());
        while let Some(bytes) = next(&mut body, patience).await? {
            match sink.as_mut() {
                Some(download) => download.take(&bytes).map_err(HttpsError::Local)?,
                None if !head.status.is_success() && collected.len() + bytes.len() > MAX_REFUSAL => {
                    return Err(HttpsError::Unreachable("TooLong"));
                }
                None => collected.extend_from_slice(&bytes),
            }
        }
        self.keep(connection);
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answer { status: head.status, retry_after_s: retry_after, body: collected })
    }

    fn request(&self, question: Question<'_>) -> Result<Request<Body>, HttpsError> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", question.bearer))
            .map_err(|_| HttpsError::Unreachable("BadToken"))?;
        authorization.set_sensitive(true);
        let mut request = Request::builder()
            .method(question.method)
            .uri(format!("{}{}", self.prefix, question.path))
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, authorization);
        if let Some(content_type) = question.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        request.body(question.body).map_err(|_| HttpsError::Unreachable("BadRequest"))
    }

    async fn connection(&self) -> Result<SendRequest<Body>, HttpsError> {
        loop {
            let Some(mut idle) = self.idle.borrow_mut().pop() else { break };
            if matches!(timeout(CONNECT, idle.ready()).await, Ok(Ok(()))) {
                return Ok(idle);
            }
        }
        timeout(CONNECT, self.connect()).await.unwrap_or(Err(HttpsError::Unreachable("TimedOut")))
    }

    async fn connect(&self) -> Result<SendRequest<Body>, HttpsError> {
        let failed = |class| move |_| HttpsError::Unreachable(class);
        let name = ServerName::try_from(self.host.clone()).map_err(|_| HttpsError::Unreachable("BadName"))?;
        let tls = TlsConnector::from(Arc::new(self.trust()?));
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed("Connect"))?;
        stream.set_nodelay(true).map_err(failed("Connect"))?;
        let stream = tls.connect(name, stream).await.map_err(failed("Tls"))?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|_| HttpsError::Unreachable("Handshake"))?;
        // How it ends shows in the request that is under way.
        tokio::task::spawn_local(async { drop(connection.await) });
        Ok(sender)
    }

    /// Read anew for each connection: the authority is rotated while pods live.
    fn trust(&self) -> Result<ClientConfig, HttpsError> {
        let unreadable = |_| HttpsError::Unreachable("CaFile");
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.ca_file).map_err(unreadable)? {
            let added = roots.add(certificate.map_err(unreadable)?);
            added.map_err(|_| HttpsError::Unreachable("CaFile"))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|_| HttpsError::Unreachable("Tls"))?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }

    fn keep(&self, connection: SendRequest<Body>) {
        let mut idle = self.idle.borrow_mut();
        if !connection.is_closed() && idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }
}

async fn next(body: &mut Incoming, patience: Duration) -> Result<Option<Bytes>, HttpsError> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        match timeout(patience, frame).await {
            Err(_) => return Err(HttpsError::Unreachable("TimedOut")),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(HttpsError::Unreachable("Response")),
            // What is no data are trailers.
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}
