//! Starts the controllers over one cache: each kind is watched once, and no controller works before Workflows, Runbooks and
//! runs were listed. This is where a controller of our kinds is wired in (that of
//! tenants needs none of them and is started in `app.rs`), and where a change of one kind enqueues objects of another.

use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::reflector::Store;
use ntro_crds::{Runbook, Workflow};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::driver;
use super::run::{Runs, watches};
use super::runbook::{self, Runbooks};
use super::workflow::Workflows;
use crate::cache::watch::reflect;
use crate::cache::{Cache, RunRef};
use crate::context::Context;
use crate::k8s::NamespacedName;
use crate::launch::{Burst, Launcher};
use crate::queue::{Queue, queue};

/// Runs the controllers until told to stop.
pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut tasks = JoinSet::new();
    let ((workflow_queue, workflow_list), (runbook_queue, runbook_list)) = (queue(), queue());
    let (run_queue, run_list) = queue();
    let (workflows, runbooks) = stores(&context, &workflow_queue, &runbook_queue, &mut tasks, &shutdown);
    let cache = Cache::new(workflows, runbooks, workflow_queue.clone());
    tasks.spawn(watches::run_objects(&context.kube, &cache, &run_queue, &shutdown));

    if shutdown.run_until_cancelled(cache.wait_until_listed()).await == Some(true) {
        let burst = Burst::new(run_queue.clone(), workflow_queue.clone());
        let launcher = Launcher { context: context.clone(), cache: cache.clone(), burst, run_queue: run_queue.clone() };
        let metrics = || Arc::clone(&context.metrics);
        tasks.spawn(requeue_after_clock_jumps(
            context.clone(),
            cache.workflows.clone(),
            workflow_queue.clone(),
            run_queue.clone(),
            shutdown.clone(),
        ));
        let runbooks = Arc::new(Runbooks::new(context.clone(), cache, runbook_queue));
        tasks.spawn(driver::run(runbooks, runbook_list, metrics(), shutdown.clone()));
        let runs = Arc::new(Runs::new(launcher.clone()));
        tasks.spawn(driver::run(runs, run_list, metrics(), shutdown.clone()));
        let workflows = Arc::new(Workflows::new(launcher, workflow_queue));
        tasks.spawn(driver::run(workflows, workflow_list, metrics(), shutdown));
    }
    while tasks.join_next().await.is_some() {}
}

/// Enqueues all that may wait for a time.
async fn requeue_after_clock_jumps(
    context: Context,
    workflows: Store<Workflow>,
    workflow_queue: Queue<NamespacedName>,
    run_queue: Queue<RunRef>,
    shutdown: CancellationToken,
) {
    let mut jumps = context.clock_jump.subscribe();
    while let Some(Ok(())) = shutdown.run_until_cancelled(jumps.changed()).await {
        workflows.state().iter().for_each(|workflow| workflow_queue.push(NamespacedName::of(workflow.as_ref())));
        context.journal.in_memory().iter().for_each(|state| run_queue.push(RunRef::of_journal(state)));
    }
}

/// Watches Workflows and Runbooks; each change enqueues what it concerns.
fn stores(
    context: &Context,
    workflow_queue: &Queue<NamespacedName>,
    runbook_queue: &Queue<NamespacedName>,
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> (Store<Workflow>, Store<Runbook>) {
    let (itself, used) = (workflow_queue.clone(), runbook_queue.clone());
    let changed = move |workflow: &Workflow| {
        let key = NamespacedName::of(workflow);
        let runbook = NamespacedName::new(&key.namespace, &workflow.spec.runbook_ref.name);
        used.push_after(runbook, runbook::DEBOUNCE);
        itself.push(key);
    };
    let (workflows, watch) = reflect(&context.kube, changed, shutdown.clone());
    tasks.spawn(watch);

    let (users, itself, known) = (workflow_queue.clone(), runbook_queue.clone(), workflows.clone());
    let changed = move |runbook: &Runbook| {
        let (namespace, name) = (runbook.namespace(), runbook.name_any());
        let is_user = |workflow: &Workflow| workflow.namespace() == namespace && workflow.spec.runbook_ref.name == name;
        for workflow in known.state_filter(is_user) {
            users.push(NamespacedName::of(workflow.as_ref()));
        }
        itself.push(NamespacedName::of(runbook));
    };
    let (runbooks, watch) = reflect(&context.kube, changed, shutdown.clone());
    tasks.spawn(watch);

    (workflows, runbooks)
}
