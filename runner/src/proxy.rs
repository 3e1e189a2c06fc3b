//! Between the child and the operator: the same protocol on both sides, but only this side has the session.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ntro_bundle::reference::Digest;
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::task::{JoinError, JoinSet};

use crate::channel::Channel;
use crate::exit_code::ExitCode;
use crate::json_text::{JsonText, newest_seq};
use crate::log_pump::LogPump;
use crate::operator_api::{ApiError, OperatorApi, Refusal};
use crate::patience::{AskError, patiently};
use crate::position::Position;
use crate::report::Report;
use crate::turns::Turns;
use crate::verdict::Verdict;

/// Requests that write: made by a child that is gone, they count as well.
const WRITES: [&str; 2] = ["append", "putBlob"];
/// Entries after which the operator may consider the segment over: the log must be complete before.
const LAST: [&str; 4] = ["released", "runCompleted", "runFailed", "blocked"];
const FLUSH: Duration = Duration::from_secs(5);
/// More than any request that the operator takes.
const MAX_LINE: usize = 16 << 20;
const MAX_REQUESTS: usize = 256;
const MAX_DESCRIPTORS: usize = 64;
const MAX_WAIT_MS: u64 = 20_000;

/// How the child breaks the protocol.
#[derive(Debug, Error)]
pub(crate) enum ProxyError {
    #[error("a request is not one of the protocol")]
    NotARequest,
    #[error("a request, or what came beside it, is too long")]
    TooLong,
    #[error("the socket failed: {0}")]
    Socket(#[from] io::Error),
    #[error("a request was not answered")]
    Unanswered,
}

impl ProxyError {
    /// The word for it in reports.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::NotARequest => "NotARequest",
            Self::TooLong => "TooLong",
            Self::Socket(_) => "Socket",
            Self::Unanswered => "Unanswered",
        }
    }
}

/// A request that wants a reply.
struct Request {
    id: u64,
    op: String,
    body: Map<String, Value>,
    file: Option<OwnedFd>,
}

/// `file` goes beside the reply.
struct Reply {
    ok: JsonText,
    file: Option<File>,
}

impl From<JsonText> for Reply {
    fn from(ok: JsonText) -> Self {
        Self { ok, file: None }
    }
}

pub(crate) struct Proxy {
    pub(crate) api: Rc<OperatorApi>,
    pub(crate) channel: Channel,
    /// What the operator said to the attach. Given to the child once, and not kept.
    pub(crate) attached: RefCell<Option<JsonText>>,
    pub(crate) position: Rc<Position>,
    pub(crate) pump: Rc<LogPump>,
    pub(crate) turns: Rc<Turns>,
    pub(crate) verdict: Rc<Verdict>,
    pub(crate) report: Report,
    pub(crate) outage_wait: Duration,
    /// The supervisor's own directory.
    pub(crate) work_dir: PathBuf,
    /// Whether the segment was ended in order.
    pub(crate) released: Rc<Cell<bool>>,
}

impl Proxy {
    /// Serves until the child has closed its end, and what it wanted to be written is answered.
    pub(crate) async fn serve(self: Rc<Self>) -> Result<(), ProxyError> {
        let (mut bytes, mut files) = (Vec::new(), VecDeque::new());
        let (mut reads, mut writes) = (JoinSet::new(), JoinSet::new());
        loop {
            let scanned = bytes.len();
            let more = tokio::select! {
                more = self.channel.receive(&mut bytes, &mut files), if reads.len() + writes.len() < MAX_REQUESTS => more?,
                Some(done) = reads.join_next() => Some(answered(done)?),
                Some(done) = writes.join_next() => Some(answered(done)?),
            };
            if more.is_none() {
                break;
            }
            for line in lines(&mut bytes, scanned) {
                if let Some(request) = self.take(&line, &mut files)? {
                    let set = if WRITES.contains(&request.op.as_str()) { &mut writes } else { &mut reads };
                    set.spawn_local(Rc::clone(&self).answer(request));
                }
            }
            if bytes.len() > MAX_LINE || files.len() > MAX_DESCRIPTORS {
                return Err(ProxyError::TooLong);
            }
        }
        while let Some(done) = writes.join_next().await {
            answered(done)?;
        }
        Ok(())
    }

    /// A request to answer; notes are done with here, in order.
    fn take(&self, line: &[u8], files: &mut VecDeque<OwnedFd>) -> Result<Option<Request>, ProxyError> {
        let mut body: Map<String, Value> = serde_json::from_slice(line).map_err(|_| ProxyError::NotARequest)?;
        let Some(Value::String(op)) = body.remove("op") else { return Err(ProxyError::NotARequest) };
        if op == "turn" {
            let begin = body.get("begin").and_then(Value::as_bool).ok_or(ProxyError::NotARequest)?;
            if begin {
                self.turns.begin();
            } else {
                self.turns.end();
            }
            return Ok(None);
        }
        let id = body.remove("id").and_then(|id| id.as_u64()).ok_or(ProxyError::NotARequest)?;
        let file = if op == "putBlob" { files.pop_front() } else { None };
        Ok(Some(Request { id, op, body, file }))
    }

    /// Every request has an answer, or the pod leaves.
    async fn answer(self: Rc<Self>, request: Request) {
        let id = request.id;
        let (reply, file) = match self.handle(request).await {
            Ok(reply) => (message(id, "ok", &reply.ok), reply.file),
            Err(AskError::Refused(refusal)) => {
                self.learn_refusal(&refusal);
                (message(id, "error", &refusal.to_json()), None)
            }
            Err(AskError::Outage | AskError::Stopped) => {
                // While others are answered it is this request that fails, and the bundle's code may have seen to that: an
                // outage is no attempt, and must not be had for the asking.
                let outage = self.api.answered().elapsed() >= self.outage_wait / 2;
                return self.verdict.leave(if outage { ExitCode::Outage } else { ExitCode::Crash });
            }
            Err(AskError::Local(error)) => {
                let refusal = Refusal::of("Unavailable", &error.kind().to_string());
                (message(id, "error", &refusal.to_json()), None)
            }
        };
        // A child that is gone hears nothing: how it ended says why.
        let _ = self.channel.send(&reply, file.as_ref().map(File::as_fd)).await;
    }

    async fn handle(&self, request: Request) -> Result<Reply, AskError> {
        let Request { op, body, file, .. } = request;
        match op.as_str() {
            "attach" => {
                let attached = self.attached.take();
                attached.map(Reply::from).ok_or_else(|| refuse("attached already"))
            }
            "append" => self.append(body).await,
            "poll" => {
                let wait_ms = body.get("waitMs").and_then(Value::as_u64).unwrap_or(0).min(MAX_WAIT_MS);
                self.call("poll", body, Duration::from_millis(wait_ms)).await
            }
            "putBlob" => self.put_blob(&body, file).await,
            "getBlob" => {
                let digest = digest(&body)?;
                let it = self.ask(async || self.api.get_blob(&digest, &self.work_dir).await).await?;
                Ok(Reply { ok: JsonText::of(&json!({"size": it.size})), file: Some(it.file) })
            }
            _ => Err(refuse("unknown operation")),
        }
    }

    async fn append(&self, body: Map<String, Value>) -> Result<Reply, AskError> {
        let entries: Vec<_> = match body.get("entries") {
            Some(Value::Array(entries)) => entries.iter().filter_map(Value::as_object).cloned().collect(),
            _ => return Err(refuse("no entries")),
        };
        let kind = |entry: &Map<String, Value>| entry.get("type").and_then(Value::as_str).map(str::to_owned);
        let kinds: Vec<_> = entries.iter().filter_map(kind).collect();
        if kinds.iter().any(|kind| LAST.contains(&kind.as_str())) {
            self.pump.flush(FLUSH).await;
        }
        let reply = self.call("append", body, Duration::ZERO).await?;
        for entry in &entries {
            self.report.entry(entry);
        }
        if kinds.iter().any(|kind| kind == "released") {
            self.released.set(true);
        }
        Ok(reply)
    }

    async fn call(&self, op: &str, body: Map<String, Value>, held: Duration) -> Result<Reply, AskError> {
        let body = Bytes::from(Value::Object(body).to_string());
        let reply = self.ask(async || self.api.call(op, body.clone(), held).await).await?;
        if let Some(seq) = newest_seq(&reply) {
            self.position.learn(seq);
        }
        Ok(reply.into())
    }

    async fn put_blob(&self, body: &Map<String, Value>, file: Option<OwnedFd>) -> Result<Reply, AskError> {
        let digest = digest(body)?;
        let size = body.get("size").and_then(Value::as_u64).ok_or_else(|| refuse("no size"))?;
        let file = Rc::new(File::from(file.ok_or_else(|| refuse("no file"))?));
        // Anything else may block whoever reads it. What can be read was opened by the child, with its own rights.
        if !file.metadata().map_err(AskError::Local)?.is_file() {
            return Err(refuse("not a regular file"));
        }
        self.ask(async || {
            // Asked again at every attempt: what has become shorter can never be sent.
            if size > 0 && !matches!(file.read_at(&mut [0], size - 1), Ok(1)) {
                return Err(ApiError::Refused(Refusal::of("Invalid", "the file is shorter than its size")));
            }
            self.api.put_blob(&digest, &file, size).await
        })
        .await?;
        Ok(JsonText::of(&json!({})).into())
    }

    /// An outage that is too long ends the pod. Termination does not: these are the child's last words.
    async fn ask<T>(&self, ask: impl AsyncFnMut() -> Result<T, ApiError>) -> Result<T, AskError> {
        patiently(self.outage_wait, None, ask).await
    }

    fn learn_refusal(&self, refusal: &Refusal) {
        match refusal.code() {
            "Sealed" => self.released.set(true),
            "Fenced" => self.verdict.note(ExitCode::Fenced),
            _ => {}
        }
        if let Some(seq) = refusal.newest_seq() {
            self.position.learn(seq);
        }
    }
}

fn answered(done: Result<(), JoinError>) -> Result<(), ProxyError> {
    done.map_err(|_| ProxyError::Unanswered)
}

fn refuse(message: &str) -> AskError {
    AskError::Refused(Refusal::of("Invalid", message))
}

/// Checked, as it becomes part of a path.
fn digest(body: &Map<String, Value>) -> Result<Digest, AskError> {
    let digest = body.get("digest").and_then(Value::as_str).and_then(|text| text.parse().ok());
    digest.ok_or_else(|| refuse("not a digest"))
}

/// Takes the whole lines out of what was received. Before `scanned` none of them ends.
fn lines(bytes: &mut Vec<u8>, scanned: usize) -> Vec<Vec<u8>> {
    let fresh = bytes.get(scanned..).unwrap_or_default();
    let Some(end) = fresh.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let rest = bytes.split_off(scanned + end + 1);
    let whole = std::mem::replace(bytes, rest);
    whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

fn message(id: u64, key: &str, value: &JsonText) -> Vec<u8> {
    let mut message = format!("{{\"id\":{id},\"{key}\":").into_bytes();
    message.extend_from_slice(value.as_bytes());
    message.extend_from_slice(b"}\n");
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_when_they_are_whole() {
        let mut bytes = b"{\"a\":1}\n\n{\"b\":2}\n{\"c\"".to_vec();
        assert_eq!(lines(&mut bytes, 2), [b"{\"a\":1}".to_vec(), b"{\"b\":2}".to_vec()]);
        assert_eq!(bytes, b"{\"c\"");
        assert!(lines(&mut bytes, 0).is_empty());
    }

    #[test]
    fn a_reply_is_one_line() {
        let value = JsonText::object(b"{\"entries\":\n[]}".to_vec()).unwrap();
        assert_eq!(message(7, "ok", &value), b"{\"id\":7,\"ok\":{\"entries\": []}}\n");
    }

    #[test]
    fn a_digest_is_no_path() {
        let of = |text: &str| digest(json!({"digest": text}).as_object().unwrap());
        assert!(of(&format!("sha256:{}", "0".repeat(64))).is_ok());
        assert!(of("sha256:../../bundle").is_err());
        assert!(of(&format!("sha256:{}/../../bundle", "0".repeat(64))).is_err());
    }
}
