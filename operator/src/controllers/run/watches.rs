//! What enqueues runs: watches of everything that belongs to them, and the journals' own feed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use ntro_crds::{Gate, WorkflowRun, labels};
use ntro_journal::protocol::RunTenant;
use ntro_journal::{Journal, JournalError};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::timers;
use super::user_actions::run_of;
use crate::cache::tenants::{Tenant, Tenants};
use crate::cache::watch::{Sink, watch_into};
use crate::cache::{Cache, Index, RunRef};
use crate::context::Context;
use crate::error::Backoff;
use crate::k8s::{Access, Kind};
use crate::queue::Queue;

/// Keeps the runs' objects. Needed before any controller works.
pub(crate) fn run_objects(
    access: &Access,
    cache: &Cache,
    queue: &Queue<RunRef>,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    everywhere(access, &cache.runs, |object: &WorkflowRun| Some(RunRef::of(object)), queue, stop)
}

pub(crate) fn gates(
    access: &Access,
    cache: &Cache,
    queue: &Queue<RunRef>,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    everywhere(access, &cache.gates, run_of_gate, queue, stop)
}

pub(crate) fn user_actions(
    access: &Access,
    cache: &Cache,
    queue: &Queue<RunRef>,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    everywhere(access, &cache.user_actions, run_of, queue, stop)
}

fn run_of_gate(gate: &Gate) -> Option<RunRef> {
    Some(RunRef::new(gate.namespace()?, gate.spec.run.clone()))
}

/// Watches one of our kinds in every namespace this operator serves.
fn everywhere<K: Kind + Send + Sync + 'static, S: Sink<K>>(
    access: &Access,
    sink: &Arc<S>,
    run_of: fn(&K) -> Option<RunRef>,
    queue: &Queue<RunRef>,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<K, S> {
    watch_into(access.all(), access.watch.clone(), None, Arc::clone(sink), run_of, queue.clone(), stop.clone())
}

/// Enqueues the runs whose journals changed.
pub(crate) fn journals(
    journal: Journal,
    queue: Queue<RunRef>,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + Send {
    // Subscribed before anything is worked on: a change in between would be nobody's.
    let mut changes = journal.subscribe();
    async move {
        while let Some(changed) = shutdown.run_until_cancelled(changes.recv()).await {
            match changed {
                Ok(id) => {
                    if let Some(run) = run_of_journal(&journal, id).await {
                        queue.push(run);
                    }
                }
                // Some were missed: all are enqueued.
                Err(RecvError::Lagged(_)) => {
                    journal.in_memory().iter().for_each(|state| queue.push(RunRef::of_journal(state)));
                }
                Err(RecvError::Closed) => return,
            }
        }
    }
}

async fn run_of_journal(journal: &Journal, id: Uuid) -> Option<RunRef> {
    match journal.state(id).await {
        Ok(state) => Some(RunRef::of_journal(&state)),
        Err(JournalError::Purged { .. }) => {
            let purged = journal.purged(id).await.ok()??;
            Some(RunRef::new(purged.namespace, purged.name))
        }
        Err(_) => None,
    }
}

/// Enqueues the unfinished runs of namespaces that are served from now on. Their journals are in memory after that, so that their
/// timers run.
async fn take_up(
    journal: &Journal,
    queue: &Queue<RunRef>,
    tenants: &Tenants,
    namespaces: &BTreeSet<String>,
    shutdown: &CancellationToken,
) {
    let mut failures = 0;
    loop {
        match journal
            .take_up(|namespace, tenant| namespaces.contains(namespace) && tenants.serves(namespace, tenant))
            .await
        {
            Ok(states) => return states.iter().for_each(|state| queue.push(RunRef::of_journal(state))),
            Err(error) => {
                failures += 1;
                let reason = error.reason();
                tracing::error!(reason, error = %crate::error::chain(&error), "could not read the unfinished runs of new tenants");
            }
        }
        let wait = tokio::time::sleep(Backoff::DEFAULT.delay(failures, rand::random()));
        if shutdown.run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

/// Watches Jobs and pods in the namespaces of tenants, where alone the operator may see them.
pub(crate) async fn per_tenant(context: Context, cache: Cache, queue: Queue<RunRef>, shutdown: CancellationToken) {
    let mut tenants = context.tenants.subscribe();
    let mut watched: BTreeMap<String, (RunTenant, CancellationToken)> = BTreeMap::new();
    loop {
        let known = tenants.borrow_and_update().clone();
        watched.retain(|namespace, (tenant, stop)| {
            let stays = context.tenants.serves(namespace, tenant);
            if !stays {
                stop.cancel();
            }
            stays
        });
        let added: BTreeSet<String> =
            known.keys().filter(|namespace| !watched.contains_key(*namespace)).cloned().collect();
        timers::set_aside(&context);
        for namespace in &added {
            let stop = shutdown.child_token();
            let Some(tenant) = known.get(namespace).map(Tenant::of_runs) else { continue };
            watched.insert(namespace.clone(), (tenant, stop.clone()));
            watch_in(&context.kube, namespace, &cache.jobs, &queue, &stop);
            watch_in(&context.kube, namespace, &cache.pods, &queue, &stop);
            for run in cache.runs.unfinished_in(namespace) {
                queue.push(RunRef::of(&run));
            }
        }
        if !added.is_empty() {
            take_up(&context.journal, &queue, &context.tenants, &added, &shutdown).await;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = tenants.changed() => if changed.is_err() { return },
        }
    }
}

fn watch_in<K: Kind + Send + Sync + 'static>(
    access: &Access,
    namespace: &str,
    index: &Arc<Index<K>>,
    queue: &Queue<RunRef>,
    stop: &CancellationToken,
) {
    let config = access.watch.clone().labels(labels::RUN);
    let api = access.namespaced::<K>(namespace);
    let run_of = |object: &K| RunRef::of_labelled(object);
    tokio::spawn(watch_into(
        api,
        config,
        Some(namespace.to_owned()),
        Arc::clone(index),
        run_of,
        queue.clone(),
        stop.clone(),
    ));
}
