//! What wakes runs: watches of everything that belongs to them, and the journals' own feed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use ntro_crds::{Gate, Runbook, UserAction, Workflow, WorkflowRun, labels};
use ntro_journal::Journal;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::index::{self, Index, Shelf};
use super::objects::Objects;
use super::{RunKey, Runs, pin};
use crate::context::Context;
use crate::controllers::Driver;
use crate::controllers::act::{self, problem};
use crate::error::{Backoff, Problem};
use crate::kube_ext::Kind;
use crate::metrics::ControllerName;
use crate::queue::{self, Queue, Worklist};

/// Runs worked on at the same time: so many that the first Jobs of a month's end get the better part of the API server, which
/// the Job controller wants for those that exist already.
const WORKERS: usize = 128;

/// Builds what the workers share. Nothing runs before [`run`].
pub fn prepare(
    context: &Context,
    journal: &Journal,
    workflows: Store<Workflow>,
    runbooks: Store<Runbook>,
    workflow_queue: Queue<(String, String)>,
) -> (Runs, Worklist<RunKey>) {
    let (queue, worklist) = queue::queue();
    let runs = Runs {
        context: context.clone(),
        journal: journal.clone(),
        workflows,
        runbooks,
        objects: Arc::new(Objects::new(workflow_queue)),
        jobs: Arc::default(),
        pods: Arc::default(),
        gates: Arc::default(),
        acts: Arc::default(),
        queue,
        starts: Arc::default(),
    };
    (runs, worklist)
}

/// Watches and works until told to stop.
pub async fn run(runs: Runs, worklist: Worklist<RunKey>, shutdown: CancellationToken) {
    let mut tasks = JoinSet::new();
    let context = runs.context.clone();
    let stop = shutdown.clone();
    tasks.spawn(watch_all(&runs, &runs.gates, of_gate, &stop));
    tasks.spawn(watch_all(&runs, &runs.acts, of_act, &stop));
    let changes = runs.journal.subscribe();
    tasks.spawn(per_tenant(runs.clone(), stop.clone()));
    tasks.spawn(act::proof::watch(context.clone(), stop.clone()));
    tasks.spawn(feed(runs.clone(), changes, stop));
    let driver = Arc::new(Driver::new(ControllerName::Run, context));
    let worker = runs.clone();
    let work = move |key: RunKey| {
        let (runs, driver) = (worker.clone(), Arc::clone(&driver));
        async move { driver.pass(&key.namespace.clone(), &key.name.clone(), Box::pin(runs.pass(key))).await }
    };
    worklist.run(WORKERS, shutdown, work).await;
    while tasks.join_next().await.is_some() {}
}

/// Keeps the runs' objects. Needed before anything is worked on.
pub fn watch_objects(runs: &Runs, stop: &CancellationToken) -> impl Future<Output = ()> + Send + use<> {
    watch_all(runs, &runs.objects, of_run, stop)
}

fn of_run(object: &WorkflowRun) -> Option<RunKey> {
    Some(RunKey::new(object.namespace()?, object.name_any()))
}

fn of_gate(object: &Gate) -> Option<RunKey> {
    Some(RunKey::new(object.namespace()?, object.spec.run.clone()))
}

fn of_act(object: &UserAction) -> Option<RunKey> {
    Some(RunKey::new(object.namespace()?, object.spec.run.clone()))
}

/// Keeps an index of one of our kinds, in every namespace this operator serves.
fn watch_all<K: Kind + Send + Sync + 'static, S: Shelf<K>>(
    runs: &Runs,
    index: &Arc<S>,
    run_of: fn(&K) -> Option<RunKey>,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<K, S> {
    let (api, config) = (runs.context.all(), runs.context.watching.clone());
    index::keep(api, config, None, Arc::clone(index), run_of, runs.queue.clone(), stop.clone())
}

/// Wakes the runs whose journals changed.
async fn feed(runs: Runs, mut changes: broadcast::Receiver<Uuid>, shutdown: CancellationToken) {
    while let Some(changed) = shutdown.run_until_cancelled(changes.recv()).await {
        match changed {
            Ok(id) => {
                if let Ok(state) = runs.journal.state(id).await {
                    runs.queue.push(RunKey::of_journal(&state));
                }
            }
            // Some were missed: all are looked at again.
            Err(RecvError::Lagged(_)) => {
                runs.journal.in_memory().iter().for_each(|state| runs.queue.push(RunKey::of_journal(state)));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Wakes the open runs of namespaces that are served from now on. Their journals are in memory after that, so that their
/// timers run.
async fn take_up(runs: &Runs, namespaces: &BTreeSet<String>, shutdown: &CancellationToken) {
    let mut failures = 0;
    loop {
        match runs.journal.take_up(|namespace| namespaces.contains(namespace)).await {
            Ok(states) => return states.iter().for_each(|state| runs.queue.push(RunKey::of_journal(state))),
            Err(error) => {
                failures += 1;
                let reason = error.reason();
                tracing::error!(reason, error = %crate::error::chain(&error), "could not read the open runs of new tenants");
            }
        }
        let wait = tokio::time::sleep(Backoff::DEFAULT.delay(failures, rand::random()));
        if shutdown.run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

/// Watches Jobs and pods in the namespaces of tenants, where alone the operator may see them.
async fn per_tenant(runs: Runs, shutdown: CancellationToken) {
    let mut tenants = runs.context.tenants.subscribe();
    let mut watched: BTreeMap<String, CancellationToken> = BTreeMap::new();
    loop {
        let known = tenants.borrow_and_update().clone();
        watched.retain(|namespace, stop| {
            let stays = known.contains_key(namespace);
            if !stays {
                stop.cancel();
            }
            stays
        });
        let added: BTreeSet<String> =
            known.keys().filter(|namespace| !watched.contains_key(*namespace)).cloned().collect();
        for namespace in &added {
            let stop = shutdown.child_token();
            watched.insert(namespace.clone(), stop.clone());
            watch_in(&runs, namespace, &runs.jobs, &stop);
            watch_in(&runs, namespace, &runs.pods, &stop);
            for key in runs.objects.open_in(namespace).iter().filter_map(|run| of_run(run)) {
                runs.queue.push(key);
            }
        }
        if !added.is_empty() {
            take_up(&runs, &added, &shutdown).await;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = tenants.changed() => if changed.is_err() { return },
        }
    }
}

fn watch_in<K: Kind + Send + Sync + 'static>(
    runs: &Runs,
    namespace: &str,
    index: &Arc<Index<K>>,
    stop: &CancellationToken,
) {
    let config = runs.context.watching.clone().labels(labels::RUN);
    let api = runs.context.namespaced::<K>(namespace);
    let run_of = |object: &K| RunKey::of_labelled(object);
    tokio::spawn(index::keep(
        api,
        config,
        Some(namespace.to_owned()),
        Arc::clone(index),
        run_of,
        runs.queue.clone(),
        stop.clone(),
    ));
}

/// A store of all objects of a kind that tells `changed` about each change, kept until told to stop.
pub fn reflect<K, F>(
    context: &Context,
    changed: F,
    shutdown: CancellationToken,
) -> (Store<K>, impl Future<Output = ()> + Send + use<K, F>)
where
    K: Kind + Send + Sync + 'static,
    F: Fn(&K) + Send + 'static,
{
    let (store, writer) = reflector::store();
    let (api, config) = (context.all::<K>(), context.watching.clone());
    let watch = async move {
        let watch = watcher(api, config).default_backoff();
        // Who wrote which field is half of an object. Of interest is only when somebody last wrote the object itself.
        let watch = watch.modify(|object| {
            let fields = object.meta_mut().managed_fields.take();
            let own = fields.into_iter().flatten().filter(|write| write.subresource.is_none());
            let last = own.max_by(|a, b| a.time.cmp(&b.time));
            object.meta_mut().managed_fields =
                last.map(|last| vec![ManagedFieldsEntry { time: last.time, ..ManagedFieldsEntry::default() }]);
        });
        let stream = reflector::reflector(writer, watch);
        let mut stream = std::pin::pin!(stream.touched_objects());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                object = stream.next() => match object {
                    Some(Ok(object)) => changed(&object),
                    Some(Err(error)) => tracing::debug!(kind = %K::kind(&()), error = %crate::error::chain(&error), "watch failed"),
                    None => return,
                },
            }
        }
    };
    (store, watch)
}

/// Applies every act the API server has taken until now, and gives the time until which that is so: timers that are due
/// may fire only after the acts that came before them.
pub async fn settle_acts(context: &Context) -> Result<Timestamp, Problem> {
    let until = context.clock.now();
    let acts = context.all::<UserAction>().list(&ListParams::default()).await?;
    let mut by_run: BTreeMap<RunKey, Vec<Arc<UserAction>>> = BTreeMap::new();
    for act in acts.items {
        let judged = act.status.as_ref().is_some_and(|status| status.outcome.is_some());
        if let Some(key) = of_act(&act).filter(|_| !judged) {
            by_run.entry(key).or_default().push(Arc::new(act));
        }
    }
    for (key, acts) in by_run {
        let known = context.journal.run_by_name(&key.namespace, &key.name).await.map_err(problem)?;
        let Some(id) = known else { continue };
        let Ok(state) = context.journal.state(id).await else { continue };
        if let Some(pin) = pin::from_journal(&state.pin) {
            // What went wrong for one run stops no other one's timers; that run's own pass reports it.
            if let Err(error) = act::process(context, &context.journal, &state, &pin, &acts).await {
                tracing::warn!(run_id = %id, reason = error.reason, error = error.message, "could not apply acts");
            }
        }
    }
    Ok(until)
}
