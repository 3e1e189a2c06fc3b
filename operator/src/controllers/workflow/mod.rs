//! Workflows: schedules become runs, and the status tells whether a run could be started and how the last ones went.
//!
//! Workflows and runs are served together, because they share what they know of Workflows and Runbooks. Order for a slot:
//! ledger and journal, then the `WorkflowRun`, then the Workflow's status. Dying in between repeats steps, never runs.

pub mod decide;
pub mod facts;
mod history;
mod serve;
mod status;
pub mod validate;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use kube::ResourceExt;
use kube::runtime::reflector::Store;
use ntro_crds::{Runbook, Workflow};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::controllers::Driver;
use crate::controllers::run::wake::reflect;
use crate::controllers::run::{self, Runs};
use crate::metrics::ControllerName;
use crate::queue::{Queue, queue};
use serve::Written;

/// Workflows worked on at the same time: as many as keep the API server busy without making it queue.
const WORKERS: usize = 16;

/// Namespace and name of a Workflow.
type Key = (String, String);

/// What the workers share. Cloning is cheap.
#[derive(Clone)]
struct Workflows {
    runs: Runs,
    queue: Queue<Key>,
    /// What was last written of each Workflow, until the watch shows it: nothing is written twice.
    written: Arc<Mutex<HashMap<Key, Written>>>,
    /// The Workflows with a slot to come.
    armed: Arc<Mutex<HashSet<Key>>>,
}

/// Serves Workflows and runs until told to stop.
pub async fn run(context: Context, shutdown: CancellationToken) {
    let mut tasks = JoinSet::new();
    let (queue, worklist) = queue::<Key>();
    let (workflows, runbooks) = stores(&context, &queue, &mut tasks, &shutdown);
    let (runs, runs_worklist) = run::wake::prepare(&context, &context.journal, workflows, runbooks, queue.clone());
    tasks.spawn(run::wake::watch_objects(&runs, &shutdown));

    // A Workflow, a Runbook or a run that was not listed yet must not be taken for one that does not exist.
    let listed = async {
        let (workflows, runbooks) = tokio::join!(runs.workflows.wait_until_ready(), runs.runbooks.wait_until_ready());
        runs.objects.wait_until_listed().await;
        workflows.is_ok() && runbooks.is_ok()
    };
    if shutdown.run_until_cancelled(listed).await == Some(true) {
        tasks.spawn(tenant_changes(runs.clone(), queue.clone(), shutdown.clone()));
        tasks.spawn(run::run(runs.clone(), runs_worklist, shutdown.clone()));
        let driver = Arc::new(Driver::new(ControllerName::Workflow, context));
        let workflows = Workflows { runs, queue, written: Arc::default(), armed: Arc::default() };
        let work = move |key: Key| {
            let (workflows, driver) = (workflows.clone(), Arc::clone(&driver));
            async move { driver.pass(&key.0, &key.1, Box::pin(workflows.pass(&key))).await }
        };
        worklist.run(WORKERS, shutdown, work).await;
    }
    while tasks.join_next().await.is_some() {}
}

/// Watches Workflows and Runbooks; each change wakes the Workflows it concerns.
fn stores(
    context: &Context,
    queue: &Queue<Key>,
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> (Store<Workflow>, Store<Runbook>) {
    let woken = queue.clone();
    let changed = move |workflow: &Workflow| woken.push(key_of(workflow));
    let (workflows, watch) = reflect(context.all::<Workflow>(), changed, shutdown.clone());
    tasks.spawn(watch);

    let (woken, known) = (queue.clone(), workflows.clone());
    let changed = move |runbook: &Runbook| {
        let (namespace, name) = (runbook.namespace(), runbook.name_any());
        let users = known.state_filter(|w| w.namespace() == namespace && w.spec.runbook_ref.name == name);
        for workflow in users {
            woken.push(key_of(workflow.as_ref()));
        }
    };
    let (runbooks, watch) = reflect(context.all::<Runbook>(), changed, shutdown.clone());
    tasks.spawn(watch);

    (workflows, runbooks)
}

fn key_of(workflow: &Workflow) -> Key {
    (workflow.namespace().unwrap_or_default(), workflow.name_any())
}

/// Wakes every Workflow when the tenants change: one of another namespace was left alone until then.
async fn tenant_changes(runs: Runs, queue: Queue<Key>, shutdown: CancellationToken) {
    let mut tenants = runs.context.tenants.subscribe();
    let mut known: BTreeSet<String> = BTreeSet::new();
    while let Some(Ok(())) = shutdown.run_until_cancelled(tenants.changed()).await {
        let now: BTreeSet<String> = tenants.borrow_and_update().keys().cloned().collect();
        for workflow in runs.workflows.state() {
            let key = key_of(&workflow);
            if now.contains(&key.0) && !known.contains(&key.0) {
                queue.push(key);
            }
        }
        known = now;
    }
}
