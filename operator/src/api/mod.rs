//! The HTTPS API of runner pods (`/v1/pod/…`) and of people who read (`/v1/runs/…`).
//!
//! Nobody gets here by network position: pods show a token the API server vouches for, people a one-time key that a
//! user action of theirs opened. What is foreign and what does not exist get the same answer.

pub(crate) mod identity;
mod pods;
mod readers;
pub(crate) mod reply;
mod text;

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

use reply::Refusal;

/// Largest request that is no blob, bytes: several entries of the largest size.
const MAX_REQUEST: usize = 4 << 20;
/// Largest `attach`, bytes.
const MAX_ATTACH: usize = 64 << 10;
/// Largest draft of a person, bytes.
const MAX_DRAFT: usize = 16 << 20;
/// Longest time of a request that is no long poll or stream.
const TIMEOUT: Duration = Duration::from_mins(2);
/// Longest time in which a pod sends a blob.
const BLOB_TIMEOUT: Duration = Duration::from_mins(10);

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Api {
    /// The shared parts.
    pub context: Context,
    /// Ends long polls and streams.
    pub shutdown: CancellationToken,
}

/// The routes of the API port.
pub(crate) fn router(api: Api) -> Router {
    let pods = Router::new()
        .route("/attach", post(pods::attach).layer(DefaultBodyLimit::max(MAX_ATTACH)))
        .route("/append", post(pods::append).layer(DefaultBodyLimit::max(MAX_REQUEST)))
        .route("/poll", post(pods::poll).layer(DefaultBodyLimit::max(MAX_ATTACH)))
        .route("/log", post(pods::log).layer(DefaultBodyLimit::max(MAX_REQUEST)))
        .route("/blobs/{digest}", put(pods::put_blob).get(pods::get_blob))
        .route("/bundle", get(pods::bundle));
    let people = Router::new()
        .route("/gates/{gate}", get(readers::gate))
        .route("/outputs", get(readers::outputs))
        .route("/outputs/{*name}", get(readers::output))
        .route("/logs", get(readers::logs))
        .route("/audit", get(readers::audit))
        .route("/result", get(readers::result))
        .route("/steps", get(readers::steps))
        .route("/drafts", post(readers::draft).layer(DefaultBodyLimit::max(MAX_DRAFT)));
    Router::new()
        .nest("/v1/pod", pods)
        .nest("/v1/runs/{namespace}/{run}", people)
        // Paths are no secret, but why tell strangers which of them exist.
        .fallback(|| async { Refusal::forbidden() })
        .method_not_allowed_fallback(|| async { Refusal::forbidden() })
        .layer(middleware::from_fn_with_state(api.clone(), watched))
        .with_state(api)
}

/// Counts and bounds every request.
async fn watched(State(api): State<Api>, request: Request, next: Next) -> Response {
    let since = Instant::now();
    let op = operation(request.uri().path());
    let timeout = if op == "blobs" { BLOB_TIMEOUT } else { TIMEOUT };
    let response = match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    };
    api.context.metrics.request(op, code(response.status()), since);
    response
}

/// The operation of a path, one of a fixed set.
fn operation(path: &str) -> &'static str {
    const PODS: [&str; 6] = ["attach", "append", "poll", "log", "blobs", "bundle"];
    const PEOPLE: [&str; 7] = ["gates", "outputs", "logs", "audit", "result", "steps", "drafts"];
    let mut parts = path.trim_start_matches('/').split('/').skip(1);
    let known = |names: &[&'static str], part: Option<&str>| {
        names.iter().copied().find(|name| Some(*name) == part).unwrap_or("other")
    };
    match parts.next() {
        Some("pod") => known(&PODS, parts.next()),
        Some("runs") => known(&PEOPLE, parts.nth(2)),
        _ => "other",
    }
}

/// The class of a status, one of a fixed set.
fn code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "ok",
        400 => "invalid",
        403 => "forbidden",
        409 => "conflict",
        410 => "sealed",
        412 => "fenced",
        413 => "too_large",
        503 => "not_yet",
        code if (400..500).contains(&code) => "refused",
        _ => "error",
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod operation_tests {
    use super::*;

    #[test]
    fn operations_are_a_fixed_set() {
        for (path, op) in [
            ("/v1/pod/append", "append"),
            ("/v1/pod/blobs/sha256:00", "blobs"),
            ("/v1/pod/secrets", "other"),
            ("/v1/runs/acme/nav-1/gates/g", "gates"),
            ("/v1/runs/acme/nav-1/outputs", "outputs"),
            ("/v1/runs/acme/nav-1", "other"),
            ("/", "other"),
        ] {
            assert_eq!(operation(path), op, "{path}");
        }
    }
}
