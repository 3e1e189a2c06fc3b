//! Starts everything and stops it in order.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use ntro_journal::failpoint;
use ntro_journal::{ErrorClass, Journal};

use crate::api::{self, Api};
use crate::args::{Scope, Settings};
use crate::bundles::Bundles;
use crate::cache::tenants::{self, Tenants};
use crate::clock::{self, Clock, ClockJump, SystemClock};
use crate::context::Context;
use crate::controllers;
use crate::health::{self, Health, Readiness};
use crate::k8s::crds::wait_for_crds;
use crate::k8s::{Access, Events};
use crate::metrics::Metrics;
use crate::tls::{self, Authority, ServerCertificate};

/// How long tasks may take to finish once they were told to.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a journal that another process holds is tried again.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// The tasks of the operator. None of them ends by itself: one that does takes the others with it.
struct Tasks {
    set: JoinSet<&'static str>,
    shutdown: CancellationToken,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits for the signal to stop, or for a task that died.
    async fn supervise(mut self) -> anyhow::Result<()> {
        let shutdown = self.shutdown.clone();
        let died = tokio::select! {
            () = shutdown.cancelled() => None,
            Some(ended) = self.set.join_next() => (!shutdown.is_cancelled()).then_some(ended),
        };
        shutdown.cancel();
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, async { while self.set.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!("shutdown timed out");
        }
        match died {
            None => Ok(()),
            Some(Ok(name)) => Err(anyhow::anyhow!("task `{name}` ended")),
            Some(Err(error)) => Err(anyhow::Error::new(error).context("a task failed")),
        }
    }
}

/// Runs the operator until SIGTERM or SIGINT, or until a part of it dies, which is an error.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let system_clock = Arc::new(settings.clock_file.clone().map_or_else(SystemClock::default, SystemClock::set_by));
    let clock: Arc<dyn Clock> = system_clock.clone();
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), scope = ?settings.scope, "starting");
    if let Some(file) = &settings.clock_file {
        tracing::warn!(file = %file.display(), "the clock is set by a file");
    }
    if let Some(directory) = settings.failpoint_dir.clone() {
        tracing::warn!(directory = %directory.display(), "failpoints enabled");
        failpoint::watch(directory);
    }

    let authority = Authority::load_or_create(&settings.data_dir.join("tls"), clock.now())?;
    let names = tls::server_names(&settings.service_name, &settings.namespace);
    let certificate = ServerCertificate::new(authority, names, clock.as_ref())?;
    let (client, server_time) = Access::client().await?;
    let metrics = Arc::new(Metrics::new());
    let readiness = Arc::new(Readiness::waiting_for(["start"]));

    let mut tasks = Tasks { set: JoinSet::new(), shutdown: shutdown.clone() };
    let listening = shutdown.clone();
    tasks.spawn("lease clock", async move {
        listening.run_until_cancelled(system_clock.keep_listening()).await;
    });
    tasks.spawn("certificate", Arc::clone(&certificate).keep_fresh(Arc::clone(&clock), shutdown.clone()));
    let opened = Arc::new(OnceLock::new());
    let health = Health {
        client: client.clone(),
        metrics: Arc::clone(&metrics),
        readiness: Arc::clone(&readiness),
        journal: Arc::clone(&opened),
    };
    let listener = TcpListener::bind(settings.health_addr).await?;
    let tls = certificate.server_config()?;
    tasks.spawn("health", tls::serve(listener, Arc::clone(&tls), health::router(health), shutdown.clone()));

    wait_for_crds(&client, &metrics, &shutdown).await;
    let Some(journal) = open_journal(&settings, Arc::clone(&clock), &shutdown).await? else {
        return tasks.supervise().await;
    };
    let _ = opened.set(journal.clone());
    let own_namespace = (settings.scope == Scope::Namespace).then(|| settings.namespace.clone());
    let context = Context {
        bundles: Arc::new(Bundles::new(settings.data_dir.join("bundles"), client.clone(), Arc::clone(&metrics))),
        events: Events::new(client.clone(), settings.pod_name.clone()),
        tenants: Arc::new(Tenants::default()),
        kube: Access::new((client, server_time), own_namespace).await,
        settings: Arc::new(settings),
        journal,
        metrics,
        clock,
        clock_jump: ClockJump::default(),
    };
    let listener = TcpListener::bind(context.settings.api_addr).await?;
    let api = api::router(Api { context: context.clone(), shutdown: shutdown.clone() });
    tasks.spawn("api", tls::serve(listener, tls, api, shutdown.clone()));
    start_controllers(&mut tasks, &context, &certificate);
    readiness.done("start");
    tracing::info!("started");
    tasks.supervise().await
}

fn start_controllers(tasks: &mut Tasks, context: &Context, certificate: &ServerCertificate) {
    context.metrics.set_storage_reserve(context.settings.storage_reserve);
    let shutdown = tasks.shutdown.clone();
    let start = || (context.clone(), shutdown.clone());
    let Context { kube, tenants, journal, clock, clock_jump, .. } = context.clone();
    tasks.spawn("tenants", tenants::watch(kube, tenants, journal, shutdown.clone()));
    let (context, stop) = start();
    tasks.spawn("tenant controller", controllers::tenant::run(context, certificate.ca_pem().into(), stop));
    tasks.spawn("clock", clock_jump.watch(clock, clock::INTERVAL, shutdown.clone()));
    let (context, stop) = start();
    tasks.spawn("timers", controllers::run::timers::run(context, stop));
    let (context, stop) = start();
    tasks.spawn("blob collection", controllers::run::collect::run(context, stop));
    let (context, stop) = start();
    tasks.spawn("retention", controllers::run::retention::run(context, stop));
    let (context, stop) = start();
    tasks.spawn("controllers", controllers::start::run(context, stop));
}

/// Opens the journal. Its volume has one writer: an operator that is just leaving is waited for.
async fn open_journal(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    shutdown: &CancellationToken,
) -> anyhow::Result<Option<Journal>> {
    loop {
        match Journal::open(settings.for_journal(), Arc::clone(&clock)).await {
            Ok(journal) => return Ok(Some(journal)),
            Err(error) if error.class() == ErrorClass::Waiting => {
                tracing::warn!(error = %crate::error::chain(&error), "waiting for the journal");
            }
            Err(error) => return Err(error.into()),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(JOURNAL_RETRY)).await.is_none() {
            return Ok(None);
        }
    }
}

fn stop_on_signals(shutdown: &CancellationToken) -> std::io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping");
        shutdown.cancel();
    });
    Ok(())
}
