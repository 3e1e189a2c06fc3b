//! Refusals as they stand on the wire: `{"code", "message", "retryAfterMs"?}` with the status of the code.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ntro_journal::protocol::{ErrorCode, WireError};

#[derive(Debug)]
pub(crate) struct Refusal(pub WireError);

impl Refusal {
    /// A refusal with a code and a sentence.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(WireError { code, message: message.into(), retry_after_ms: None, entries: Vec::new() })
    }

    /// The one answer to whoever may not know whether what they asked for exists.
    pub(crate) fn forbidden() -> Self {
        Self::new(ErrorCode::Forbidden, "forbidden")
    }

    /// Not a request of the protocol.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// Not now.
    pub(crate) fn not_yet(message: impl Into<String>, retry_after_ms: u64) -> Self {
        let mut refusal = Self::new(ErrorCode::NotYet, message);
        refusal.0.retry_after_ms = Some(retry_after_ms);
        refusal
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.0.retry_after_ms.map(|ms| ms.div_ceil(1000));
        let mut response = (status, Json(self.0)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
