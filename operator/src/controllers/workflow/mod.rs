//! Workflows: schedules become runs, and the status tells whether a run could be started and how the last ones went.
//!
//! Order for a slot: ledger and journal, then the `WorkflowRun` (unless it was made ahead), then the Workflow's status. Dying
//! in between repeats steps, never runs.

pub mod ahead;
pub mod decide;
mod edit;
pub mod facts;
#[cfg(test)]
mod fixtures;
mod history;
mod make;
mod serve;
mod status;
pub mod validate;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use kube::ResourceExt;
use ntro_crds::Workflow;
use tokio_util::sync::CancellationToken;

use crate::controllers::Driver;
use crate::controllers::run::Runs;
use crate::metrics::ControllerName;
use crate::queue::{Queue, Worklist};
use serve::{Settled, Written};

/// Workflows worked on at the same time. They share the journal's commits: the more, the fewer of those.
const WORKERS: usize = 64;

/// Namespace and name of a Workflow.
pub type Key = (String, String);

/// What the workers share. Cloning is cheap.
#[derive(Clone)]
struct Workflows {
    runs: Runs,
    queue: Queue<Key>,
    /// What was last written of each Workflow, until the watch shows it: nothing is written twice.
    /// Boxed: there may be thousands for a moment, and the table keeps the room.
    written: Arc<Mutex<HashMap<Key, Box<Written>>>>,
    /// The Workflows with a slot to come.
    armed: Arc<Mutex<HashSet<Key>>>,
    /// What was seen to while runs of the namespace were being started.
    settled: Arc<Mutex<HashMap<Key, Settled>>>,
}

/// Serves Workflows until told to stop.
pub async fn run(runs: Runs, queue: Queue<Key>, worklist: Worklist<Key>, shutdown: CancellationToken) {
    let tenants = tokio::spawn(tenant_changes(runs.clone(), queue.clone(), shutdown.clone()));
    let driver = Arc::new(Driver::new(ControllerName::Workflow, runs.context.clone()));
    let workflows = Workflows { runs, queue, written: Arc::default(), armed: Arc::default(), settled: Arc::default() };
    let work = move |key: Key| {
        let (workflows, driver) = (workflows.clone(), Arc::clone(&driver));
        async move { driver.pass(&key.0, &key.1, Box::pin(workflows.pass(&key))).await }
    };
    worklist.run(WORKERS, shutdown, work).await;
    let _ = tenants.await;
}

/// Namespace and name of a Workflow.
pub fn key_of(workflow: &Workflow) -> Key {
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
