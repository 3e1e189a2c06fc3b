//! What runner pods ask.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt as _;
use ntro_bundle::artifact::LAYER_MEDIA_TYPE;
use ntro_crds::WorkflowRun;
use ntro_journal::blobs::BlobBytes;
use ntro_journal::failpoint;
use ntro_journal::protocol::{
    AppendRequest, AttachReply, AttachRequest, EntriesReply, ErrorCode, LogRequest, PollRequest, Sha256Digest,
};
use ntro_journal::{AttachPod, JournalError, PublishedHead, RunState, Session};
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use super::Api;
use super::identity::{IdentityError, JobPod, identify};
use super::reply::Refusal;
use crate::bundles::Pinned;
use crate::error::Classified;
use crate::health::bearer;

/// When a pod asks again if its Job is not recorded yet.
const NOT_YET_MS: u64 = 500;

/// A pod that has attached before.
pub(super) struct Attached(Session);

impl FromRequestParts<Api> for Attached {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let token = bearer(&parts.headers).ok_or_else(Refusal::forbidden)?;
        let session = api.context.journal.session(token).ok_or_else(Refusal::forbidden)?;
        // Moving blobs for longer than a lease is no silence.
        api.context.journal.renew(&session);
        Ok(Self(session))
    }
}

/// A body of the protocol. What is none is told apart from what is too large.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // What serde says quotes what it read, and that may be payload: only the place is told.
    serde_json::from_slice(body)
        .map_err(|e| Refusal::invalid(format!("not a request: line {}, column {}", e.line(), e.column())))
}

pub(super) async fn attach(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<AttachReply>, Response> {
    failpoint::hit("attach-before");
    let token = bearer(&headers).ok_or_else(|| Refusal::forbidden().into_response())?;
    let request: AttachRequest = parse(&body).map_err(IntoResponse::into_response)?;
    let context = &api.context;
    if !context.tenants.is_listed() {
        return Err(StatusCode::SERVICE_UNAVAILABLE.into_response());
    }
    let found = match identify(&context.kube.client, &context.tenants, token).await {
        Ok(found) => found,
        Err(IdentityError::NotRecognized(why)) => {
            tracing::info!(why, "rejected attach: pod not recognized");
            return Err(Refusal::forbidden().into_response());
        }
        Err(IdentityError::Unavailable(error)) => {
            tracing::warn!(error = %crate::error::chain(&error), "cannot identify a pod");
            return Err(StatusCode::SERVICE_UNAVAILABLE.into_response());
        }
    };
    let run = run_of(&api, &found).await?;
    let published = published(&api, &run).await.map_err(|error| {
        tracing::warn!(error = %crate::error::chain(&error), "cannot read what was published about a run");
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    })?;
    let pod = AttachPod {
        pod_name: found.pod.name,
        pod_uid: found.pod.uid,
        job_uid: found.job_uid,
        versions: request.versions,
        published,
    };
    let reply = context.journal.attach(run.run_id, pod).await.map_err(refused)?;
    failpoint::hit("attach-after");
    tracing::info!(run_id = %reply.run_id, segment = reply.segment, epoch = reply.epoch, "runner attached");
    Ok(Json(reply))
}

/// The run a pod belongs to: its label is a hint, the Job recorded in that run's journal decides.
async fn run_of(api: &Api, found: &JobPod) -> Result<std::sync::Arc<RunState>, Response> {
    let forbidden = || Refusal::forbidden().into_response();
    let run_id = found.run_id_hint.as_deref().and_then(|hint| hint.parse::<Uuid>().ok());
    let state = api.context.journal.state(run_id.ok_or_else(forbidden)?).await.map_err(refused)?;
    if state.namespace != found.pod.namespace {
        return Err(forbidden());
    }
    if !api.context.serves(&state) {
        return Err(Refusal::not_yet("the tenant of the run is not served", NOT_YET_MS).into_response());
    }
    if state.current_job().is_none() {
        return Err(Refusal::not_yet("the segment's Job is not recorded yet", NOT_YET_MS).into_response());
    }
    Ok(state)
}

/// What the run's resource says of its journal: a store that is behind it must not execute.
async fn published(api: &Api, run: &RunState) -> Result<Option<PublishedHead>, kube::Error> {
    let runs = api.context.kube.namespaced::<WorkflowRun>(&run.namespace);
    let Some(object) = runs.get_opt(&run.name).await? else { return Ok(None) };
    let Some(status) = object.status.filter(|status| status.run_id == Some(run.run_id.to_string())) else {
        return Ok(None);
    };
    let published = status
        .journal
        .and_then(|journal| Some(PublishedHead { length: u64::try_from(journal.length).ok()?, head: journal.head }));
    Ok(published)
}

/// The answer to an error of the journal.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
pub(super) fn refused(error: JournalError) -> Response {
    let Some((_, wire)) = error.wire() else {
        tracing::error!(error = %crate::error::chain(&error), "the journal failed");
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    Refusal(wire).into_response()
}

pub(super) async fn append(
    State(api): State<Api>,
    Attached(session): Attached,
    body: Bytes,
) -> Result<Json<EntriesReply>, Response> {
    let request: AppendRequest = parse(&body).map_err(IntoResponse::into_response)?;
    failpoint::hit("append-before-commit");
    let reply = api.context.journal.append(&session, request).await.map_err(refused)?;
    failpoint::hit("append-after-commit");
    Ok(Json(reply))
}

pub(super) async fn poll(
    State(api): State<Api>,
    Attached(session): Attached,
    body: Bytes,
) -> Result<Json<EntriesReply>, Response> {
    let request: PollRequest = parse(&body).map_err(IntoResponse::into_response)?;
    tokio::select! {
        reply = api.context.journal.poll(&session, request) => reply.map(Json).map_err(refused),
        () = api.shutdown.cancelled() => Ok(Json(EntriesReply { entries: Vec::new(), more: false })),
    }
}

pub(super) async fn log(
    State(api): State<Api>,
    Attached(session): Attached,
    body: Bytes,
) -> Result<Json<serde_json::Value>, Response> {
    let request: LogRequest = parse(&body).map_err(IntoResponse::into_response)?;
    api.context.journal.log(&session, request).await.map(|()| Json(json!({}))).map_err(refused)
}

fn digest(text: &str) -> Result<Sha256Digest, Refusal> {
    text.parse().map_err(|_| Refusal::invalid("not a digest"))
}

pub(super) async fn put_blob(
    State(api): State<Api>,
    Attached(session): Attached,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<serde_json::Value>, Response> {
    let digest = digest(&name).map_err(IntoResponse::into_response)?;
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let size = length.ok_or_else(|| Refusal::invalid("a blob is sent with its Content-Length").into_response())?;
    let pieces = body.into_data_stream().map_err(std::io::Error::other);
    api.context.journal.put_blob(&session, digest, size, pieces).await.map(|()| Json(json!({}))).map_err(refused)
}

pub(super) async fn get_blob(
    State(api): State<Api>,
    Attached(session): Attached,
    Path(name): Path<String>,
) -> Result<Response, Response> {
    let digest = digest(&name).map_err(IntoResponse::into_response)?;
    let blob = api.context.journal.get_blob(session.run_id, digest).await.map_err(refused)?;
    Ok(streamed("application/octet-stream", blob))
}

/// A blob, piece by piece. One that turns out to be damaged ends in the middle: fewer bytes come than were said.
pub(super) fn streamed(media_type: &str, blob: BlobBytes) -> Response {
    let kind = media_type.parse().unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers = [(CONTENT_TYPE, kind), (CONTENT_LENGTH, HeaderValue::from(blob.size))];
    (headers, Body::from_stream(blob.pieces)).into_response()
}

pub(super) async fn bundle(State(api): State<Api>, Attached(session): Attached) -> Result<Response, Response> {
    let state = api.context.journal.state(session.run_id).await.map_err(refused)?;
    let Some(pinned) = Pinned::of(&state.namespace, &state.pin) else {
        tracing::error!(run_id = %state.run_id, "the run's pin names no bundle");
        return Err(Refusal::new(ErrorCode::Invalid, "the run is pinned to no bundle").into_response());
    };
    match api.context.bundles.layer_of(&pinned).await {
        Ok(bytes) => Ok(([(CONTENT_TYPE, LAYER_MEDIA_TYPE)], bytes).into_response()),
        Err(error) => {
            let message = crate::error::chain(&error);
            tracing::warn!(run_id = %state.run_id, reason = error.reason().as_str(), error = message, "bundle not available");
            Err(StatusCode::SERVICE_UNAVAILABLE.into_response())
        }
    }
}
