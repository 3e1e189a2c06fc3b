//! `/live`, `/ready` and `/metrics`, over TLS like every port of the operator.
//!
//! The first two are open and say nothing but their status. Metrics need a token for the audience `ntro-metrics`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use ntro_journal::Journal;

use crate::metrics::SharedMetrics;

/// Audience of tokens that may read metrics.
pub(crate) const METRICS_AUDIENCE: &str = "ntro-metrics";

/// What the operator still waits for before it is ready.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    pending: Mutex<BTreeSet<&'static str>>,
}

impl Readiness {
    /// Not ready before all of these are done.
    pub(crate) fn waiting_for(parts: impl IntoIterator<Item = &'static str>) -> Self {
        Self { pending: Mutex::new(parts.into_iter().collect()) }
    }

    /// One part is done.
    pub(crate) fn done(&self, part: &'static str) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// Whether nothing is pending.
    pub(crate) fn is_ready(&self) -> bool {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Health {
    /// The Kubernetes API, for token reviews.
    pub client: Client,
    /// What to show.
    pub metrics: SharedMetrics,
    /// Whether the operator is ready.
    pub readiness: Arc<Readiness>,
    /// What runs are counted in, once it is open.
    pub journal: Arc<OnceLock<Journal>>,
}

/// The routes of the health port.
pub(crate) fn router(health: Health) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// Only a restart brings back a journal whose writer is gone.
async fn live(State(health): State<Health>) -> StatusCode {
    let writable = health.journal.get().is_none_or(Journal::is_alive);
    if writable { StatusCode::NO_CONTENT } else { StatusCode::INTERNAL_SERVER_ERROR }
}

/// Free bytes of the volume without which nothing can be written any more.
const FULL: u64 = 4 << 20;

async fn ready(State(health): State<Health>) -> StatusCode {
    let full = health.journal.get().is_some_and(|journal| journal.free_bytes().is_ok_and(|free| free < FULL));
    if health.readiness.is_ready() && !full { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn metrics(State(health): State<Health>, headers: HeaderMap) -> Response {
    let Some(token) = bearer(&headers) else { return StatusCode::UNAUTHORIZED.into_response() };
    match is_scraper(&health.client, token).await {
        Ok(true) => {}
        Ok(false) => return StatusCode::FORBIDDEN.into_response(),
        Err(_) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
    if let Some(journal) = health.journal.get() {
        let runs = journal.in_memory();
        health.metrics.set_runs(runs.iter().map(AsRef::as_ref));
        health.metrics.set_storage(journal);
    }
    match health.metrics.encode() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn is_scraper(client: &Client, token: &str) -> kube::Result<bool> {
    let audience = vec![METRICS_AUDIENCE.to_owned()];
    let review = TokenReview {
        spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(audience.clone()) },
        ..TokenReview::default()
    };
    let reviewed = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    let status = reviewed.status.unwrap_or_default();
    Ok(status.authenticated == Some(true) && status.audiences == Some(audience))
}

/// The token of an `Authorization: Bearer` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use serde_json::json;
    use tower::ServiceExt;

    use super::*;
    use crate::metrics::Metrics;
    use crate::testing::api_server;

    fn health(readiness: Readiness) -> Health {
        let (client, _) = api_server(|asked| {
            let scraper = asked.body["spec"]["token"] == "scraper";
            let audiences = &asked.body["spec"]["audiences"];
            Some(json!({"spec": {}, "status": {"authenticated": scraper, "audiences": audiences}}))
        });
        Health { client, metrics: Arc::new(Metrics::new()), readiness: Arc::new(readiness), journal: Arc::default() }
    }

    async fn get(health: &Health, path: &str, token: Option<&str>) -> (StatusCode, String) {
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = router(health.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn live_is_not_ready_and_neither_says_anything() {
        let health = health(Readiness::waiting_for(["start"]));
        assert_eq!(get(&health, "/live", None).await, (StatusCode::NO_CONTENT, String::new()));
        assert_eq!(get(&health, "/ready", None).await, (StatusCode::SERVICE_UNAVAILABLE, String::new()));
        health.readiness.done("start");
        assert_eq!(get(&health, "/ready", None).await, (StatusCode::NO_CONTENT, String::new()));
    }

    #[tokio::test]
    async fn metrics_are_for_scrapers_with_a_token_of_their_own() {
        let health = health(Readiness::default());
        assert_eq!(get(&health, "/metrics", None).await, (StatusCode::UNAUTHORIZED, String::new()));
        assert_eq!(get(&health, "/metrics", Some("somebody")).await, (StatusCode::FORBIDDEN, String::new()));
        let (status, text) = get(&health, "/metrics", Some("scraper")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("ntro_tenants") && text.ends_with("# EOF\n"), "{text}");
    }
}
