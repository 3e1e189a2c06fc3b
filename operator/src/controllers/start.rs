//! Starts the controllers of Workflows, runs and Runbooks over one knowledge of these kinds: each is watched once, and none
//! of the three works before all of them were listed.

use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::reflector::Store;
use ntro_crds::{Runbook, Workflow};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::run::wake::{self, reflect};
use super::run::{RunKey, Runs};
use super::workflow::key_of;
use super::{run, runbook, workflow};
use crate::context::Context;
use crate::queue::{Queue, queue};

/// Serves the three kinds until told to stop.
pub async fn run(context: Context, shutdown: CancellationToken) {
    let mut tasks = JoinSet::new();
    let (workflow_queue, workflow_worklist) = queue::<workflow::Key>();
    let (runbook_queue, runbook_worklist) = queue::<runbook::Key>();
    let (workflows, runbooks) = stores(&context, &workflow_queue, &runbook_queue, &mut tasks, &shutdown);
    let (runs, run_worklist) = wake::prepare(&context, &context.journal, workflows, runbooks, workflow_queue.clone());
    tasks.spawn(wake::watch_objects(&runs, &shutdown));

    // What was not listed yet must not be taken for something that does not exist.
    let listed = async {
        let (workflows, runbooks) = tokio::join!(runs.workflows.wait_until_ready(), runs.runbooks.wait_until_ready());
        runs.objects.wait_until_listed().await;
        workflows.is_ok() && runbooks.is_ok()
    };
    if shutdown.run_until_cancelled(listed).await == Some(true) {
        let runbooks = Arc::new(runbook::Runbooks::new(
            context,
            runs.workflows.clone(),
            runs.runbooks.clone(),
            Arc::clone(&runs.objects),
        ));
        tasks.spawn(runbook::run(runbooks, runbook_queue, runbook_worklist, shutdown.clone()));
        tasks.spawn(run::run(runs.clone(), run_worklist, shutdown.clone()));
        tasks.spawn(look_again_when_the_clock_was_set(runs.clone(), workflow_queue.clone(), shutdown.clone()));
        tasks.spawn(workflow::run(runs, workflow_queue, workflow_worklist, shutdown));
    }
    while tasks.join_next().await.is_some() {}
}

/// Wakes all that may wait for a time.
async fn look_again_when_the_clock_was_set(runs: Runs, workflows: Queue<workflow::Key>, shutdown: CancellationToken) {
    let mut clock_set = runs.context.clock_set.subscribe();
    while let Some(Ok(())) = shutdown.run_until_cancelled(clock_set.changed()).await {
        runs.workflows.state().iter().for_each(|workflow| workflows.push(key_of(workflow)));
        runs.journal.in_memory().iter().for_each(|state| runs.queue.push(RunKey::of_journal(state)));
    }
}

/// Watches Workflows and Runbooks; each change wakes what it concerns.
fn stores(
    context: &Context,
    workflow_queue: &Queue<workflow::Key>,
    runbook_queue: &Queue<runbook::Key>,
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> (Store<Workflow>, Store<Runbook>) {
    let (woken, used) = (workflow_queue.clone(), runbook_queue.clone());
    let changed = move |workflow: &Workflow| {
        let key = key_of(workflow);
        used.push_after((key.0.clone(), workflow.spec.runbook_ref.name.clone()), runbook::DEBOUNCE);
        woken.push(key);
    };
    let (workflows, watch) = reflect(context, changed, shutdown.clone());
    tasks.spawn(watch);

    let (woken, changed_itself, known) = (workflow_queue.clone(), runbook_queue.clone(), workflows.clone());
    let changed = move |runbook: &Runbook| {
        let (namespace, name) = (runbook.namespace(), runbook.name_any());
        let users = known.state_filter(|w| w.namespace() == namespace && w.spec.runbook_ref.name == name);
        for workflow in users {
            woken.push(key_of(workflow.as_ref()));
        }
        changed_itself.push((namespace.unwrap_or_default(), name));
    };
    let (runbooks, watch) = reflect(context, changed, shutdown.clone());
    tasks.spawn(watch);

    (workflows, runbooks)
}
