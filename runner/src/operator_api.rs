//! The operator's API for pods: what is asked, and what its refusals say. Only this crate has the session.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use ntro_bundle::reference::Digest;
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::time::Instant;

use crate::body::Body;
use crate::download::{Download, Downloaded};
use crate::https::{Answer, Https, HttpsError, Question};
use crate::json_text::JsonText;

const PATIENCE: Duration = Duration::from_secs(15);
const BLOB_PATIENCE: Duration = Duration::from_mins(2);
const JSON: Option<&str> = Some("application/json");

/// How a request fails.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    /// No answer of the operator: refused, timed out, or something in between answered.
    #[error("no answer of the operator: {0}")]
    Unreachable(&'static str),
    #[error("the operator refused: {}", .0.code())]
    Refused(Refusal),
    /// The supervisor's own storage.
    #[error("own storage: {0}")]
    Local(io::Error),
}

impl From<HttpsError> for ApiError {
    fn from(error: HttpsError) -> Self {
        match error {
            HttpsError::Unreachable(class) => Self::Unreachable(class),
            HttpsError::Local(error) => Self::Local(error),
        }
    }
}

/// The error object of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal(Map<String, Value>);

impl Refusal {
    /// From the object as it came.
    pub(crate) fn new(body: Map<String, Value>) -> Self {
        Self(body)
    }

    /// One of our own.
    pub(crate) fn of(code: &str, message: &str) -> Self {
        let code = ("code".to_owned(), json!(code));
        Self([code, ("message".to_owned(), json!(message))].into_iter().collect())
    }

    /// One of the protocol's error codes.
    pub(crate) fn code(&self) -> &str {
        self.0.get("code").and_then(Value::as_str).unwrap_or("Invalid")
    }

    /// When to ask again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.0.get("retryAfterMs").and_then(Value::as_u64).map(Duration::from_millis)
    }

    /// The newest `seq` it tells of.
    pub(crate) fn newest_seq(&self) -> Option<u64> {
        self.0.get("entries")?.as_array()?.last()?.get("seq")?.as_u64()
    }

    /// The object.
    pub(crate) fn to_json(&self) -> JsonText {
        JsonText::of(&Value::Object(self.0.clone()))
    }
}

pub(crate) struct OperatorApi {
    https: Https,
    session: String,
    answered: Rc<Cell<Instant>>,
}

impl OperatorApi {
    /// Without a session: it can only attach.
    pub(crate) fn new(url: &Uri, ca_file: PathBuf) -> Self {
        Self { https: Https::new(url, ca_file), session: String::new(), answered: Rc::new(Cell::new(Instant::now())) }
    }

    /// The same operator with a session.
    pub(crate) fn with_session(self, session: String) -> Self {
        self.answered.set(Instant::now());
        Self { session, ..self }
    }

    /// The same session by other connections.
    pub(crate) fn apart(&self) -> Self {
        let answered = Rc::clone(&self.answered);
        Self { https: self.https.apart(), session: self.session.clone(), answered }
    }

    /// When a request under the session, blobs apart, was answered last.
    pub(crate) fn answered(&self) -> Instant {
        self.answered.get()
    }

    /// Becomes the holder with the pod's projected token.
    pub(crate) async fn attach(&self, token: &str, versions: &Value) -> Result<JsonText, ApiError> {
        let body = json!({"versions": versions}).to_string();
        self.json("attach", body.into(), token, PATIENCE).await
    }

    /// `append`, `poll` or `log`. `held` is how long the answer may be held back.
    pub(crate) async fn call(&self, op: &str, body: Bytes, held: Duration) -> Result<JsonText, ApiError> {
        let answer = self.json(op, body, &self.session, PATIENCE + held).await;
        if !matches!(answer, Err(ApiError::Unreachable(_))) {
            self.answered.set(Instant::now());
        }
        answer
    }

    /// Stores the first `size` bytes of a file under their digest.
    pub(crate) async fn put_blob(&self, digest: &Digest, file: &Rc<File>, size: u64) -> Result<(), ApiError> {
        let body = Body::file(Rc::clone(file), size);
        let content_type = Some("application/octet-stream");
        let path = format!("/v1/pod/blobs/{digest}");
        let question = self.question(Method::PUT, path, content_type, body, BLOB_PATIENCE);
        let answer = success(self.https.ask(question, None).await?)?;
        JsonText::object(answer).map(drop).ok_or(ApiError::Unreachable("NotJson"))
    }

    /// Fetches a blob into a file in `dir`. Other bytes than those of the digest are no answer.
    pub(crate) async fn get_blob(&self, digest: &Digest, dir: &Path) -> Result<Downloaded, ApiError> {
        let it = self.download(format!("/v1/pod/blobs/{digest}"), dir).await?;
        if it.digest == *digest { Ok(it) } else { Err(ApiError::Unreachable("OtherBytes")) }
    }

    /// Fetches the layer of the run's bundle into a file in `dir`.
    pub(crate) async fn bundle(&self, dir: &Path) -> Result<Downloaded, ApiError> {
        self.download("/v1/pod/bundle".to_owned(), dir).await
    }

    async fn download(&self, path: String, dir: &Path) -> Result<Downloaded, ApiError> {
        let mut download = Download::new(dir).map_err(ApiError::Local)?;
        let question = self.question(Method::GET, path, None, Body::empty(), BLOB_PATIENCE);
        success(self.https.ask(question, Some(&mut download)).await?)?;
        download.finish().map_err(ApiError::Local)
    }

    async fn json(&self, op: &str, body: Bytes, bearer: &str, patience: Duration) -> Result<JsonText, ApiError> {
        let path = format!("/v1/pod/{op}");
        let question = self.question(Method::POST, path, JSON, Body::bytes(body), patience);
        let answer = success(self.https.ask(Question { bearer, ..question }, None).await?)?;
        JsonText::object(answer).ok_or(ApiError::Unreachable("NotJson"))
    }

    fn question(
        &self,
        method: Method,
        path: String,
        content_type: Option<&'static str>,
        body: Body,
        patience: Duration,
    ) -> Question<'_> {
        Question { method, path, bearer: &self.session, content_type, body, patience }
    }
}

/// The body of a success.
fn success(answer: Answer) -> Result<Vec<u8>, ApiError> {
    if answer.status.is_success() { Ok(answer.body) } else { Err(refusal(&answer)) }
}

fn refusal(answer: &Answer) -> ApiError {
    let mut error = match serde_json::from_slice(&answer.body) {
        Ok(Value::Object(error)) => error,
        _ => Map::new(),
    };
    if let Some(Value::Object(inner)) = error.remove("error") {
        error = inner;
    }
    let code = error.get("code").and_then(Value::as_str).map(str::to_owned);
    if answer.status.is_server_error() && code.as_deref() != Some("NotYet") {
        return ApiError::Unreachable("ServerError");
    }
    if code.is_some() {
        if let (Some(seconds), false) = (answer.retry_after_s, error.contains_key("retryAfterMs")) {
            error.insert("retryAfterMs".to_owned(), json!(seconds.saturating_mul(1000)));
        }
        return ApiError::Refused(Refusal::new(error));
    }
    let code = match answer.status {
        StatusCode::TOO_MANY_REQUESTS => return ApiError::Unreachable("TooManyRequests"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => "Forbidden",
        StatusCode::PAYLOAD_TOO_LARGE => "TooLarge",
        status if status.is_client_error() => "Invalid",
        // Neither a success nor an error: not the operator.
        _ => return ApiError::Unreachable("Redirect"),
    };
    ApiError::Refused(Refusal::of(code, &format!("HTTP {}", answer.status.as_u16())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str, retry_after_s: Option<u64>) -> Result<(String, Option<Duration>), &'static str> {
        let status = StatusCode::from_u16(status).unwrap();
        match refusal(&Answer { status, retry_after_s, body: body.as_bytes().to_vec() }) {
            ApiError::Refused(refusal) => Ok((refusal.code().to_owned(), refusal.retry_after())),
            ApiError::Unreachable(class) => Err(class),
            ApiError::Local(_) => Err("Local"),
        }
    }

    #[test]
    fn what_an_answer_that_is_no_success_means() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let not_yet = r#"{"code":"NotYet","message":"m"}"#;
        assert_eq!(told(503, not_yet, Some(2)), Ok(("NotYet".to_owned(), ms(2000))));
        let both = r#"{"code":"NotYet","retryAfterMs":5}"#;
        assert_eq!(told(503, both, Some(2)), Ok(("NotYet".to_owned(), ms(5))));
        assert_eq!(told(503, "", None), Err("ServerError"));
        assert_eq!(told(500, r#"{"code":"Fenced"}"#, None), Err("ServerError"));
        assert_eq!(told(412, r#"{"error":{"code":"Fenced"}}"#, None), Ok(("Fenced".to_owned(), None)));
        assert_eq!(told(404, "<html>", None), Ok(("Forbidden".to_owned(), None)));
        assert_eq!(told(413, "too long", None), Ok(("TooLarge".to_owned(), None)));
        assert_eq!(told(400, "[]", None), Ok(("Invalid".to_owned(), None)));
        assert_eq!(told(429, "", None), Err("TooManyRequests"));
        assert_eq!(told(302, "", None), Err("Redirect"));
    }
}
