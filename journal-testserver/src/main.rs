//! The journal behind a Unix socket, for tests of the pod side. It speaks the line form of `docs/protocol.md` §3: one
//! JSON object per line, `{"op", "id", …}` in, `{"id", "ok": {…}}` or `{"id", "error": {"code", "message",
//! "retryAfterMs"?, "entries"?}}` out. Requests of one connection are answered in order, except that `poll` and `logs`
//! do not hold up the ones after them.
//!
//! ```text
//! journal-testserver SOCKET DIR [--virtual] [--auto-jobs] [--lease-ms N] [--linger-ms N] [--outage-wait-ms N]
//!                           [--cancel-grace-ms N] [--grace-ms N] [--bundle FILE]
//! ```
//!
//! It writes the line `listening` to standard output when it takes connections. Killed and started again on the same
//! directory it goes on. `NTRO_FAILPOINT=<before-commit|after-commit|after-blob>:<n>` aborts it at the n-th such place.
//! `--virtual`: time starts at 2026-01-01T00:00:00Z (or where the newest journal of the directory ends) and moves only
//! by `advance`; else it is the machine's and timers and leases are looked after every 20 ms. `--auto-jobs`: a wanted
//! segment has its Job (`job-<n>`, same UID) at once, whatever its `notBefore`.
//!
//! Of pods (a connection is the pod that attached last on it):
//! - `attach {run, pod: {uid, name?}, jobUid?, versions: {runtime, protocolMin, protocolMax, python, sdk}}`; `jobUid`
//!   is that of the current Job if absent
//! - `append`, `poll`, `log`, `putBlob {digest, base64}`, `getBlob {digest}`, `bundle {}` → `{base64}` as in the
//!   protocol
//!
//! Of the harness, on any connection; `run` is a run id:
//! - `create {namespace?, name, workflow?, workflowUid?, slot?, kind?, initiator?, pin?, input, run?, requestHash?}` →
//!   `{run, outcome: Created|Existing|AlreadyRan|Conflict}`; `input` is any JSON value, or a string taken as JSON text
//!   if `inputText` is used instead
//! - `jobRecorded {run, segment, name?, uid?, templateHash?}`, `holderGone {run}` (the current Job and its pod are
//!   gone)
//! - `decide {run, gate? | step?, verb, actor?, groups?, userAction?, revision?, digest?, actedAt?, comment?,
//!   correction?}` (the only open gate if none is named; `comment` and `correction` are JSON values), `signal {run,
//!   name, args: [], actor?, userAction?}`, `cancel {run, actor?, userAction?}`, `retry {run, repeatEffects?: [],
//!   actor?, userAction?}` → `{outcome: Applied|Refused, reason?, seq}`
//! - `advance {ms}` (only `--virtual`; then a tick), `tick {}`, `now {}` → `{now}`
//! - `state {run}`, `entries {run, from?}` → `{entries}`, `export {run}` → `{lines}` (checked), `logs {run, waitMs?}` →
//!   `{lines}`
//! - `arm {failpoint, n?}`

mod harness;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::{TryStreamExt as _, stream};
use jiff::Timestamp;
use ntro_journal::{
    AttachPod, Clock, Journal, JournalError, JournalSettings, RunState, Session, SystemClock, TestClock, failpoint,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What all connections share.
struct Server {
    journal: Journal,
    /// Set if time is virtual.
    clock: Option<Arc<TestClock>>,
    auto_jobs: bool,
    bundle: Option<PathBuf>,
}

/// How a request fails: refused by the journal, or not understood.
pub(crate) enum Fault {
    Journal(JournalError),
    Usage(String),
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

impl Fault {
    fn wire(&self) -> Value {
        match self {
            Self::Usage(message) => json!({"code": "Invalid", "message": message}),
            Self::Journal(error) => match error.wire() {
                Some((_, wire)) => serde_json::to_value(wire).unwrap_or_default(),
                None => json!({"code": "Unavailable", "message": error.to_string()}),
            },
        }
    }
}

/// The request's fields as this type.
pub(crate) fn fields<T: DeserializeOwned>(request: &Value) -> Result<T, Fault> {
    Ok(serde_json::from_value(request.clone())?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    failpoint::arm_from_env();
    let mut args = std::env::args().skip(1);
    let socket = args.next().ok_or("usage: journal-testserver SOCKET DIR [options]")?;
    let mut settings = JournalSettings::new(args.next().ok_or("usage: journal-testserver SOCKET DIR [options]")?);
    let (mut virtual_time, mut auto_jobs, mut bundle) = (false, false, None);
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "--virtual" => virtual_time = true,
            "--auto-jobs" => auto_jobs = true,
            _ => {
                let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
                let ms = || value.parse().map(Duration::from_millis);
                match flag.as_str() {
                    "--lease-ms" => settings.lease = ms()?,
                    "--linger-ms" => settings.linger = ms()?,
                    "--outage-wait-ms" => settings.outage_wait = ms()?,
                    "--cancel-grace-ms" => settings.cancel_grace = ms()?,
                    "--grace-ms" => settings.grace = ms()?,
                    "--bundle" => bundle = Some(PathBuf::from(value)),
                    _ => return Err(format!("unknown option {flag}").into()),
                }
            }
        }
    }
    let clock = virtual_time.then(|| Arc::new(TestClock::at(start_of_time())));
    let time: Arc<dyn Clock> = if let Some(clock) = &clock { clock.clone() } else { real_time() };
    let journal = Journal::open(settings, time).await?;
    let open = journal.take_up(|_, _| true).await?;
    if let Some(clock) = &clock {
        catch_up(&open, clock);
    } else {
        tokio::spawn(keep_time(journal.clone()));
    }
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    let server = Arc::new(Server { journal, clock, auto_jobs, bundle });
    std::io::stdout().write_all(b"listening\n")?;
    std::io::stdout().flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(server.clone(), stream));
    }
}

/// The clock of the machine, kept listening.
fn real_time() -> Arc<SystemClock> {
    let clock = Arc::new(SystemClock::default());
    let listening = clock.clone();
    tokio::spawn(async move { listening.keep_listening().await });
    clock
}

fn start_of_time() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Virtual time goes on where the journals of the directory end.
fn catch_up(open: &[Arc<RunState>], clock: &TestClock) {
    for run in open {
        let ahead = run.head_time.duration_since(clock.now());
        if ahead.is_positive() {
            clock.advance(ahead);
        }
    }
}

async fn keep_time(journal: Journal) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        // What fails now is tried again in a moment.
        let now = journal.now();
        let _ = journal.tick(|_| Some(now)).await;
    }
}

async fn serve(server: Arc<Server>, stream: UnixStream) {
    let (read, mut write) = stream.into_split();
    let (replies, mut outgoing) = mpsc::channel::<String>(64);
    tokio::spawn(async move {
        while let Some(reply) = outgoing.recv().await {
            if write.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let mut session = None;
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let request: Value = serde_json::from_str(&line).unwrap_or_default();
        let op = request["op"].as_str().unwrap_or_default().to_owned();
        if op == "poll" || op == "logs" {
            let (server, session, replies) = (server.clone(), session.clone(), replies.clone());
            tokio::spawn(async move {
                let result = server.answer(&op, &request, &mut session.clone()).await;
                let _ = replies.send(reply(&request, result)).await;
            });
        } else {
            let result = server.answer(&op, &request, &mut session).await;
            if replies.send(reply(&request, result)).await.is_err() {
                return;
            }
        }
    }
}

fn reply(request: &Value, result: Result<Value, Fault>) -> String {
    let id = &request["id"];
    let reply = match result {
        Ok(ok) => json!({"id": id, "ok": ok}),
        Err(fault) => json!({"id": id, "error": fault.wire()}),
    };
    format!("{reply}\n")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttachLine {
    run: uuid::Uuid,
    pod: PodLine,
    job_uid: Option<String>,
    versions: ntro_journal::protocol::RunnerVersions,
}

#[derive(Deserialize)]
struct PodLine {
    uid: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct BlobLine {
    digest: ntro_journal::protocol::Sha256Digest,
    base64: Option<String>,
}

impl Server {
    async fn answer(&self, op: &str, request: &Value, session: &mut Option<Session>) -> Result<Value, Fault> {
        match op {
            "attach" => {
                let reply = self.attach(fields(request)?).await?;
                *session = self.journal.session(reply["session"].as_str().unwrap_or_default());
                Ok(reply)
            }
            "append" | "poll" | "log" | "putBlob" | "getBlob" | "bundle" => {
                let session = session.as_ref().ok_or_else(|| Fault::Usage("attach first".to_owned()))?;
                let reply = self.of_pod(op, request, session).await?;
                if op == "append" {
                    self.make_jobs(session.run_id).await?;
                }
                Ok(reply)
            }
            _ => harness::answer(self, op, request).await,
        }
    }

    async fn attach(&self, line: AttachLine) -> Result<Value, Fault> {
        let state = self.journal.state(line.run).await?;
        let current = || state.job.as_ref().map(|job| job.uid.clone()).unwrap_or_default();
        let pod = AttachPod {
            pod_name: line.pod.name.unwrap_or_else(|| line.pod.uid.clone()),
            pod_uid: line.pod.uid,
            job_uid: line.job_uid.unwrap_or_else(current),
            versions: line.versions,
            published: None,
        };
        Ok(serde_json::to_value(self.journal.attach(line.run, pod).await?)?)
    }

    async fn of_pod(&self, op: &str, request: &Value, session: &Session) -> Result<Value, Fault> {
        let journal = &self.journal;
        match op {
            "append" => Ok(serde_json::to_value(journal.append(session, fields(request)?).await?)?),
            "poll" => Ok(serde_json::to_value(journal.poll(session, fields(request)?).await?)?),
            "log" => {
                journal.log(session, fields(request)?).await?;
                Ok(json!({}))
            }
            "putBlob" => {
                let blob: BlobLine = fields(request)?;
                let bytes = BASE64.decode(blob.base64.unwrap_or_default()).map_err(|e| Fault::Usage(e.to_string()))?;
                let (size, whole) = (bytes.len() as u64, stream::iter([Ok::<_, std::io::Error>(bytes.into())]));
                journal.put_blob(session, blob.digest, size, whole).await?;
                Ok(json!({}))
            }
            "getBlob" => {
                let blob: BlobLine = fields(request)?;
                let pieces: Vec<bytes::Bytes> = journal
                    .get_blob(session.run_id, blob.digest)
                    .await?
                    .pieces
                    .err_into::<JournalError>()
                    .try_collect()
                    .await?;
                Ok(json!({"base64": BASE64.encode(pieces.concat())}))
            }
            "bundle" => {
                let path = self.bundle.as_ref().ok_or_else(|| Fault::Usage("no --bundle was given".to_owned()))?;
                let bytes = std::fs::read(path).map_err(|error| Fault::Usage(error.to_string()))?;
                Ok(json!({"base64": BASE64.encode(bytes)}))
            }
            _ => Err(Fault::Usage("no such operation of a pod".to_owned())),
        }
    }

    /// Plays the loop that turns a wanted segment into a Job.
    async fn make_jobs(&self, run: uuid::Uuid) -> Result<(), Fault> {
        let state = self.journal.state(run).await?;
        if let (true, Some(wanted)) = (self.auto_jobs, state.wanted()) {
            let job = format!("job-{}", wanted.segment);
            self.journal.job_recorded(run, wanted.segment, &job, &job, "template").await?;
        }
        Ok(())
    }
}
