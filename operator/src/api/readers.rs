//! What people read and send, under the one-time key that a user action of theirs opened.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Query, RawPathParams, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ntro_bundle::reference::Digest;
use ntro_journal::protocol::Payload;
use ntro_journal::{Journal, RunState};
use serde::Deserialize;
use serde_json::{Value, json};

use super::pods::{refused, streamed};
use super::reply::Refusal;
use super::{Api, text};

/// Log lines per read of the store.
const LOG_PAGE: u32 = 1000;
/// How long to wait for a further log line before looking whether the run has ended.
const LOG_WAIT: Duration = Duration::from_secs(5);

/// A person who may read one run.
pub(super) struct Reader {
    journal: Journal,
    state: Arc<RunState>,
    actor: String,
    key_hash: String,
}

impl FromRequestParts<Api> for Reader {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        let forbidden = || Refusal::forbidden().into_response();
        let params = RawPathParams::from_request_parts(parts, api).await.map_err(|_| forbidden())?;
        let param = |name: &str| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
        let (Some(namespace), Some(run)) = (param("namespace"), param("run")) else { return Err(forbidden()) };
        let key_hash = key_hash(&parts.headers).ok_or_else(forbidden)?;
        let journal = api.context.journal.clone();
        let tenant = api.context.tenants.get(&namespace).ok_or_else(forbidden)?;
        let view = journal.view_key(&tenant.uid, &key_hash).await.map_err(refused)?.ok_or_else(forbidden)?;
        let state = journal.state(view.run_id).await.map_err(refused)?;
        // The key opens one run of one namespace, by its identity; the address must be that run's.
        if !api.context.serves(&state) || state.namespace != namespace || state.name != run {
            return Err(forbidden());
        }
        Ok(Self { journal, state, actor: view.actor, key_hash })
    }
}

/// `sha256:<hex>` of the key as it was sent.
fn key_hash(headers: &HeaderMap) -> Option<String> {
    let key = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Ntro-Key ")?.trim();
    // 32 random bytes make 43 characters of base64url: anything much shorter could be guessed.
    (43..=128).contains(&key.len()).then(|| Digest::of(key.as_bytes()).to_string())
}

impl Reader {
    /// Journals that this person reads `what`, before it is given out.
    async fn reads(&self, what: &str) -> Result<(), Response> {
        self.journal.record_read(self.state.run_id, &self.actor, what).await.map_err(refused)
    }

    /// A payload as JSON.
    async fn json(&self, payload: &Payload) -> Result<Value, Response> {
        let text = self.journal.payload_text(self.state.run_id, payload).await.map_err(refused)?;
        // The journal holds JSON texts only; one that is none is shown as it is.
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The payload of an entry chosen by `choose`.
    async fn chosen<'a, T>(
        &self,
        entries: &'a [ntro_journal::protocol::Entry],
        choose: impl Fn(&'a ntro_journal::protocol::Entry) -> Option<(T, &'a Payload)>,
    ) -> Result<Option<(T, Value)>, Response> {
        match entries.iter().find_map(choose) {
            Some((tag, payload)) => Ok(Some((tag, self.json(payload).await?))),
            None => Ok(None),
        }
    }
}

pub(super) async fn gate(
    reader: Reader,
    Path((_, _, name)): Path<(String, String, String)>,
) -> Result<Json<Value>, Response> {
    let gate = text::gate_named(&reader.state, &name).ok_or_else(|| Refusal::forbidden().into_response())?;
    reader.reads(&format!("gate/{}/{}", gate.id, gate.revision)).await?;
    let entry = reader.journal.entry(reader.state.run_id, gate.content_seq).await.map_err(refused)?;
    let content = reader.chosen(entry.as_slice(), |e| Some(((), text::shown(e)?))).await?;
    let content = content.map_or(Value::Null, |((), content)| content);
    Ok(Json(text::gate(&name, gate, &content)))
}

pub(super) async fn outputs(reader: Reader) -> Result<Json<Value>, Response> {
    reader.reads("outputs").await?;
    Ok(Json(text::outputs(&reader.state)))
}

pub(super) async fn output(
    reader: Reader,
    Path((_, _, name)): Path<(String, String, String)>,
) -> Result<Response, Response> {
    let output = reader.state.outputs.get(&name).ok_or_else(|| Refusal::forbidden().into_response())?;
    reader.reads(&format!("output/{name}")).await?;
    let blob = reader.journal.get_blob(reader.state.run_id, output.digest).await.map_err(refused)?;
    Ok(streamed(&output.media_type, blob))
}

pub(super) async fn steps(reader: Reader) -> Result<Json<Value>, Response> {
    reader.reads("steps").await?;
    let mut carriers = Vec::new();
    for ignored in &reader.state.ignored_signals {
        carriers.extend(reader.journal.entry(reader.state.run_id, ignored.signal).await.map_err(refused)?);
    }
    Ok(Json(text::steps(&reader.state, &carriers)))
}

pub(super) async fn result(reader: Reader) -> Result<Json<Value>, Response> {
    reader.reads("result").await?;
    let state = &reader.state;
    let mut view = json!({"phase": state.phase(), "result": null});
    let ending = state.terminal.as_ref().map(|t| t.seq).or(state.blocked.as_ref().map(|b| b.seq));
    if let Some(seq) = ending {
        let entry = reader.journal.entry(state.run_id, seq).await.map_err(refused)?;
        if let Some((field, value)) = reader.chosen(entry.as_slice(), text::ending).await? {
            view[field] = value;
        }
    }
    if let Some(error) = state.terminal.as_ref().and_then(|t| t.error.as_ref()) {
        view["error"] = json!({"type": error});
    }
    if let Some(blocked) = &state.blocked {
        view["blocked"] = json!({"code": blocked.code, "site": blocked.site, "activity": blocked.activity});
    }
    Ok(Json(view))
}

pub(super) async fn audit(reader: Reader) -> Result<Response, Response> {
    reader.reads("audit").await?;
    let pages = reader.journal.audit_export(reader.state.run_id).await.map_err(refused)?;
    Ok(([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(pages)).into_response())
}

#[derive(Debug, Deserialize)]
pub(super) struct LogQuery {
    #[serde(default)]
    follow: bool,
    segment: Option<u32>,
}

pub(super) async fn logs(
    State(api): State<Api>,
    reader: Reader,
    Query(query): Query<LogQuery>,
) -> Result<Response, Response> {
    // A log that was purged is said to be, instead of ending early.
    reader.journal.read_log(reader.state.run_id, None, 1, Duration::ZERO).await.map_err(refused)?;
    reader.reads("logs").await?;
    let start = (reader, api, query, None::<(u64, u64)>);
    let stream = futures::stream::try_unfold(start, |(reader, api, query, after)| async move {
        let page = tokio::select! {
            page = log_page(&reader, &query, after) => page?,
            () = api.shutdown.cancelled() => None,
        };
        Ok::<_, std::io::Error>(page.map(|(text, after)| (Bytes::from(text), (reader, api, query, after))))
    });
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(stream)).into_response())
}

/// The next piece of a log and where to go on from; `None` at its end.
async fn log_page(
    reader: &Reader,
    query: &LogQuery,
    after: Option<(u64, u64)>,
) -> std::io::Result<Option<(String, Option<(u64, u64)>)>> {
    let (journal, run_id) = (&reader.journal, reader.state.run_id);
    loop {
        // Read before the lines: what is written after the run's end is written before this is asked again.
        let state = journal.state(run_id).await.map_err(std::io::Error::other)?;
        let ended = state.terminal.is_some();
        let wait = if query.follow && !ended { LOG_WAIT } else { Duration::ZERO };
        let lines = journal.read_log(run_id, after, LOG_PAGE, wait).await.map_err(std::io::Error::other)?;
        let Some(last) = lines.last() else {
            if query.follow && !ended {
                continue;
            }
            return Ok(None);
        };
        let next = Some((last.epoch, last.line.n));
        let wanted = |epoch: u64| query.segment.is_none_or(|segment| state.epochs.get(&epoch) == Some(&segment));
        let text = lines.iter().filter(|line| wanted(line.epoch)).map(|line| text::log_line(&line.line)).collect();
        return Ok(Some((text, next)));
    }
}

#[derive(Deserialize)]
struct DraftRequest {
    kind: DraftKind,
    #[serde(default)]
    gate: Option<String>,
    content: Value,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum DraftKind {
    Comment,
    Correction,
    Submission,
    Signal,
}

pub(super) async fn draft(reader: Reader, body: Bytes) -> Result<(StatusCode, Json<Value>), Response> {
    let invalid = |message: &str| Refusal::invalid(message).into_response();
    let request: DraftRequest = serde_json::from_slice(&body).map_err(|_| {
        invalid("a draft is {\"kind\", \"gate\"?, \"content\"} with kind comment, correction, submission or signal")
    })?;
    if request.kind == DraftKind::Comment && !request.content.is_string() {
        return Err(invalid("a comment is a string"));
    }
    if request.kind == DraftKind::Signal && !request.content.is_array() {
        return Err(invalid("the arguments of a signal are an array"));
    }
    if let Some(gate) = &request.gate
        && text::gate_named(&reader.state, gate).is_none()
    {
        return Err(Refusal::forbidden().into_response());
    }
    let text = request.content.to_string();
    let digest = reader.journal.put_draft(reader.state.run_id, &reader.key_hash, text).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(json!({"digest": digest}))))
}
