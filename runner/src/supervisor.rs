//! One pod: attach, fetch the bundle, run it, and say how it ended.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::attached::{Attached, Settings};
use crate::bundle::{self, BundleError};
use crate::channel::Channel;
use crate::child::{self, Child, Environment};
use crate::config::Config;
use crate::exit_code::ExitCode;
use crate::json_text::JsonText;
use crate::last_words;
use crate::lease;
use crate::log_pump::LogPump;
use crate::operator_api::{ApiError, OperatorApi, Refusal};
use crate::outcome::{Known, outcome};
use crate::patience::{AskError, patiently};
use crate::position::Position;
use crate::proxy::Proxy;
use crate::reaper::{Ended, Reaper};
use crate::report::Report;
use crate::stop::Stop;
use crate::turns::Turns;
use crate::verdict::Verdict;
use crate::versions::{VersionsError, versions};

/// What the log may take when the child has ended.
const FLUSH: Duration = Duration::from_secs(5);
/// How long before the end of the pod's grace the child is killed.
const BEFORE_GRACE: Duration = Duration::from_secs(5);
/// What a child that hangs has to write down where.
const ABORT: Duration = Duration::from_secs(1);

/// How long a child may live that does not ask any more.
const DEAF: Duration = Duration::from_secs(5);

/// Why a pod leaves without an outcome of its child.
#[derive(Debug, Error)]
pub(crate) enum SupervisorError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
    #[error(transparent)]
    Versions(#[from] VersionsError),
}

pub(crate) struct Supervisor {
    config: Config,
    env: Environment,
    report: Report,
    stop: Stop,
}

/// The segment that this pod holds.
struct Segment {
    api: Rc<OperatorApi>,
    position: Rc<Position>,
    settings: Settings,
    verdict: Rc<Verdict>,
}

/// Directories of one pod.
struct Places {
    work: PathBuf,
    /// Where the bundle will be. The child may read the directory that it comes into, which holds nothing else.
    bundle: PathBuf,
    /// The only place where the child may write.
    scratch: PathBuf,
}

impl Places {
    fn make(work: &Path) -> io::Result<Self> {
        let (code, scratch) = (work.join("code"), work.join("scratch"));
        std::fs::create_dir(&code)?;
        std::fs::create_dir(&scratch)?;
        Ok(Self { work: work.to_owned(), bundle: code.join("bundle"), scratch })
    }
}

/// What the proxy is made from.
struct Proxied {
    attached: JsonText,
    released: Rc<Cell<bool>>,
    work: PathBuf,
}

/// What goes on while the child runs.
struct Running {
    proxy: Rc<Proxy>,
    pump: Rc<LogPump>,
    turns: Rc<Turns>,
    /// Whether the child's last requests are answered.
    served: Rc<Notify>,
    tasks: JoinSet<()>,
}

impl Supervisor {
    pub(crate) fn new(config: Config, env: Environment, report: Report) -> io::Result<Self> {
        Ok(Self { config, env, report, stop: Stop::on_signals()? })
    }

    /// Returns how to leave.
    pub(crate) async fn run(&self) -> ExitCode {
        match self.hold().await {
            Ok(code) => code,
            Err(SupervisorError::Ask(AskError::Stopped)) => ExitCode::Terminated,
            Err(SupervisorError::Ask(AskError::Outage)) => ExitCode::Outage,
            Err(SupervisorError::Ask(AskError::Refused(refusal))) => {
                self.report.event("refused", &[("code", json!(refusal.code()))]);
                match refusal.code() {
                    "Fenced" => ExitCode::Fenced,
                    "Sealed" => ExitCode::Ok,
                    "Version" => ExitCode::Config,
                    _ => ExitCode::Crash,
                }
            }
            Err(SupervisorError::Ask(AskError::Local(error)) | SupervisorError::System(error)) => {
                self.report.event("defect", &[("error", json!(error.kind().to_string()))]);
                ExitCode::Crash
            }
            Err(SupervisorError::Versions(error)) => {
                self.report.event("misconfigured", &[("error", json!(error.to_string()))]);
                ExitCode::Config
            }
        }
    }

    async fn hold(&self) -> Result<ExitCode, SupervisorError> {
        let versions = versions(&self.config, &self.env)?;
        let work = tempfile::Builder::new().prefix("ntro-").tempdir_in(&self.config.work_dir)?;
        let places = Places::make(work.path())?;
        let mut reaper = Reaper::new()?;
        // Its imports take longer than all that is done before it may begin; for that it waits.
        let child = Child::start(&self.config, &self.env, &places.bundle, &places.scratch)?;
        let pid = child.pid;
        let code = self.attach_and_run(&versions, child, &places, &mut reaper).await;
        reaper.rest(pid).await;
        code
    }

    async fn attach_and_run(
        &self,
        versions: &Value,
        child: Child,
        places: &Places,
        reaper: &mut Reaper,
    ) -> Result<ExitCode, SupervisorError> {
        let (segment, attached) = self.attach(versions).await?;
        let mut tasks = JoinSet::new();
        let released = Rc::new(Cell::new(false));
        tasks.spawn_local(keep_lease(&segment, self.report.clone(), Rc::clone(&released)));
        match self.open_bundle(&segment, attached.layer, places).await {
            Ok(()) => {}
            Err(OpenError::Ask(error)) => return Err(error.into()),
            Err(OpenError::Bundle(BundleError::Local(error))) => return Err(error.into()),
            Err(OpenError::Bundle(error)) => {
                self.block(&segment, Some(&self.stop), "BundleInvalid", &error.to_string()).await?;
                return Ok(ExitCode::Config);
            }
        }
        let proxied = Proxied { attached: attached.for_child, released, work: places.work.clone() };
        self.run_child(segment, child, proxied, reaper, tasks).await
    }

    async fn attach(&self, versions: &Value) -> Result<(Segment, Attached), SupervisorError> {
        let api = OperatorApi::new(&self.config.url, self.config.ca_file.clone());
        let ask = async || {
            let token = std::fs::read_to_string(&self.config.token_file);
            let token = token.map_err(|_| ApiError::Refused(Refusal::of("NotYet", "")))?;
            let reply = api.attach(token.trim(), versions).await?;
            Attached::read(&reply).ok_or(ApiError::Unreachable("NotAttached"))
        };
        let mut attached = patiently(self.config.outage_wait, Some(&self.stop), ask).await?;
        self.report.identify(&attached.run_id, attached.segment, attached.epoch);
        self.report.event("attached", &[("entries", json!(attached.entries))]);
        let segment = Segment {
            api: Rc::new(api.with_session(std::mem::take(&mut attached.session))),
            position: Rc::new(Position::new(attached.epoch, attached.head)),
            settings: attached.settings,
            verdict: Rc::default(),
        };
        Ok((segment, attached))
    }

    async fn open_bundle(
        &self,
        segment: &Segment,
        pinned: Option<ntro_bundle::reference::Digest>,
        places: &Places,
    ) -> Result<(), OpenError> {
        let fetch = async || segment.api.bundle(&places.work).await;
        let layer = patiently(segment.settings.outage_wait(), Some(&self.stop), fetch).await.map_err(OpenError::Ask)?;
        let steps = bundle::open(layer, pinned, &places.bundle).await.map_err(OpenError::Bundle)?;
        self.report.declare_steps(steps);
        Ok(())
    }

    async fn block(&self, it: &Segment, stop: Option<&Stop>, code: &str, why: &str) -> Result<(), AskError> {
        last_words::block(&it.api, &it.position, it.settings.outage_wait(), stop, code, why).await?;
        self.report.event("blocked", &[("code", json!(code))]);
        Ok(())
    }

    // -- the child --

    async fn run_child(
        &self,
        segment: Segment,
        child: Child,
        Proxied { attached, released, work }: Proxied,
        reaper: &mut Reaper,
        mut tasks: JoinSet<()>,
    ) -> Result<ExitCode, SupervisorError> {
        let pump = Rc::new(LogPump::new(child.pipes)?);
        let turns = Rc::new(Turns::new());
        let proxy = Rc::new(Proxy {
            api: Rc::clone(&segment.api),
            channel: Channel::new(child.channel)?,
            attached: RefCell::new(Some(attached)),
            position: Rc::clone(&segment.position),
            pump: Rc::clone(&pump),
            turns: Rc::clone(&turns),
            verdict: Rc::clone(&segment.verdict),
            report: self.report.clone(),
            outage_wait: segment.settings.outage_wait(),
            work_dir: work,
            released,
        });
        let served = Rc::new(Notify::new());
        tasks.spawn_local(serve(Rc::clone(&proxy), Rc::clone(&served), self.report.clone()));
        tasks.spawn_local(read_log(Rc::clone(&pump)));
        tasks.spawn_local(write_log(Rc::clone(&pump), &segment));
        let mut running = Running { proxy, pump, turns, served, tasks };
        let (ended, endless) = self.watch(&segment, child.pid, reaper, &mut running).await;
        reaper.rest(child.pid).await;
        // A result that is on its way says what happened: without it a person would be asked.
        let _ = timeout(FLUSH, running.served.notified()).await;
        running.pump.flush(FLUSH).await;
        running.tasks.shutdown().await;
        if endless && !running.proxy.released.get() {
            let message = endless_message(self.turn_limit(&segment));
            self.block(&segment, None, "CodeError", &message).await?;
            return Ok(ExitCode::Blocked);
        }
        Ok(self.outcome(ended, &segment, &running.proxy))
    }

    /// Until the child ends. The second value is whether it was killed because its workflow code did not yield.
    async fn watch(
        &self,
        segment: &Segment,
        pid: rustix::process::Pid,
        reaper: &mut Reaper,
        running: &mut Running,
    ) -> (Ended, bool) {
        let late = || self.report.event("turnTooLong", &[]);
        let (limit, grace) = (self.turn_limit(segment), segment.settings.cancel_grace());
        let mut endless = pin!(running.turns.endless(limit, grace, late));
        let (mut hangs, mut stopping, mut kill_at) = (false, false, None::<Instant>);
        loop {
            tokio::select! {
                ended = reaper.ended(pid) => return (ended, hangs),
                () = segment.verdict.leaving() => child::signal(pid, Signal::KILL),
                () = self.stop.set(), if !stopping => {
                    stopping = true;
                    child::signal(pid, Signal::TERM);
                    let grace = self.config.grace.saturating_sub(BEFORE_GRACE).max(Duration::from_secs(1));
                    kill_at = Some(earlier(kill_at, Instant::now() + grace));
                }
                () = &mut endless, if !hangs => {
                    hangs = true;
                    // It writes to the log where it is.
                    child::signal(pid, Signal::ABORT);
                    kill_at = Some(earlier(kill_at, Instant::now() + ABORT));
                }
                () = due(kill_at) => {
                    kill_at = None;
                    child::signal(pid, Signal::KILL);
                }
                Some(done) = running.tasks.join_next() => if done.is_err() {
                    // The defect was reported; without this task the child might wait for ever.
                    segment.verdict.leave(ExitCode::Crash);
                },
            }
        }
    }

    fn turn_limit(&self, segment: &Segment) -> Duration {
        segment.settings.turn_limit().unwrap_or(self.config.turn_limit)
    }

    fn outcome(&self, ended: Ended, segment: &Segment, proxy: &Proxy) -> ExitCode {
        let (released, verdict) = (proxy.released.get(), segment.verdict.code());
        outcome(Known { ended, released, verdict, stopping: self.stop.is_set() }).unwrap_or_else(|| {
            self.report.event("crashed", &[("error", json!(ended.name()))]);
            ExitCode::Crash
        })
    }
}

/// Why there is no bundle.
enum OpenError {
    Ask(AskError),
    Bundle(BundleError),
}

fn endless_message(limit: Duration) -> String {
    let seconds = limit.as_secs_f64();
    format!(
        "workflow code has not yielded for {seconds} s: it loops, or does what belongs into an activity. The run's log \
         shows where it was."
    )
}

fn earlier(one: Option<Instant>, other: Instant) -> Instant {
    one.map_or(other, |one| one.min(other))
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn serve(proxy: Rc<Proxy>, served: Rc<Notify>, report: Report) {
    let outcome = Rc::clone(&proxy).serve().await;
    served.notify_one();
    let error = match outcome {
        Ok(()) => {
            // It has closed its end: nothing that it does counts any more.
            sleep(DEAF).await;
            "Closed"
        }
        Err(error) => error.class(),
    };
    report.event("brokenChannel", &[("error", json!(error))]);
    proxy.verdict.leave(ExitCode::Crash);
}

async fn read_log(pump: Rc<LogPump>) {
    pump.read().await;
}

fn write_log(pump: Rc<LogPump>, segment: &Segment) -> impl Future<Output = ()> + 'static {
    let (api, epoch, outage_wait) = (Rc::clone(&segment.api), segment.position.epoch(), segment.settings.outage_wait());
    async move {
        pump.write(async |lines| {
            let body = json!({"epoch": epoch, "lines": lines}).to_string();
            // What is refused is lost: the log is best effort.
            let _ =
                patiently(outage_wait, None, async || api.call("log", body.clone().into(), Duration::ZERO).await).await;
        })
        .await;
    }
}

fn keep_lease(segment: &Segment, report: Report, released: Rc<Cell<bool>>) -> impl Future<Output = ()> + 'static {
    let (api, position, settings) = (segment.api.apart(), Rc::clone(&segment.position), segment.settings);
    let verdict = Rc::clone(&segment.verdict);
    async move {
        match lease::keep(&api, &position, settings.lease(), settings.outage_wait()).await {
            AskError::Refused(_) if released.get() => {}
            AskError::Refused(refusal) => {
                report.event("refused", &[("code", json!(refusal.code()))]);
                verdict.leave(match refusal.code() {
                    "Fenced" => ExitCode::Fenced,
                    "Sealed" => ExitCode::Ok,
                    _ => ExitCode::Crash,
                });
            }
            AskError::Outage | AskError::Stopped => verdict.leave(ExitCode::Outage),
            // The pod's own trouble, which counts as an attempt.
            AskError::Local(_) => verdict.leave(ExitCode::Crash),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_how_long_it_was() {
        assert!(endless_message(Duration::from_mins(1)).starts_with("workflow code has not yielded for 60 s: "));
        assert!(endless_message(Duration::from_millis(500)).starts_with("workflow code has not yielded for 0.5 s: "));
    }
}
