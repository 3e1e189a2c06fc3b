//! Runbooks: a version becomes a digest, its bundle is fetched, checked and kept, and the status tells what is in it.
//!
//! What was resolved stays usable while the registry is away. Registries are asked by digest once a tag was resolved.

mod due;
mod error;
mod resolve;
mod status;
#[cfg(test)]
mod tests;
mod validate;
mod verified;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use ntro_crds::{Runbook, Workflow, labels};
use tokio_util::sync::CancellationToken;

use self::due::{Asked, Question};
use self::error::RunbookError;
use self::resolve::Resolver;
use self::status::{About, Found, Settled};
use crate::bundles::Access;
use crate::context::Context;
use crate::controllers::Driver;
use crate::controllers::run::objects::Objects;
use crate::error::{Class, Classified, Next, Problem};
use crate::kube_ext::{object_reference, patch_status_if_changed};
use crate::metrics::ControllerName;
use crate::queue::{Queue, Worklist};

/// Runbooks that are worked on at the same time.
const WORKERS: usize = 4;
/// Changes of Workflows that come together are looked at together: a tenant may have thousands of one Runbook.
pub const DEBOUNCE: Duration = Duration::from_millis(200);

/// Namespace and name of a Runbook.
pub type Key = (String, String);

/// What the workers share.
pub struct Runbooks {
    context: Context,
    driver: Driver,
    workflows: Store<Workflow>,
    known: Store<Runbook>,
    runs: Arc<Objects>,
    asked: Mutex<HashMap<String, Asked>>,
}

/// Serves Runbooks until told to stop.
pub async fn run(runbooks: Arc<Runbooks>, queue: Queue<Key>, worklist: Worklist<Key>, shutdown: CancellationToken) {
    let tenants = tokio::spawn(tenant_changes(Arc::clone(&runbooks), queue, shutdown.clone()));
    let work = move |(namespace, name): Key| {
        let runbooks = Arc::clone(&runbooks);
        async move { Box::pin(runbooks.serve(&namespace, &name)).await }
    };
    worklist.run(WORKERS, shutdown, work).await;
    let _ = tenants.await;
}

/// Wakes every Runbook when the tenants change, or their being prepared.
async fn tenant_changes(runbooks: Arc<Runbooks>, queue: Queue<Key>, shutdown: CancellationToken) {
    let tenants = &runbooks.context.tenants;
    let (mut tenants, mut prepared) = (tenants.subscribe(), tenants.subscribe_prepared());
    loop {
        let changed = tokio::select! {
            () = shutdown.cancelled() => return,
            changed = tenants.changed() => changed,
            changed = prepared.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        for runbook in runbooks.known.state() {
            queue.push((runbook.namespace().unwrap_or_default(), runbook.name_any()));
        }
    }
}

impl Runbooks {
    /// Over what is known of Workflows, Runbooks and runs.
    pub fn new(context: Context, workflows: Store<Workflow>, known: Store<Runbook>, runs: Arc<Objects>) -> Self {
        let driver = Driver::new(ControllerName::Runbook, context.clone());
        Self { context, driver, workflows, known, runs, asked: Mutex::default() }
    }

    async fn serve(&self, namespace: &str, name: &str) -> Next {
        let known = self.known.get(&ObjectRef::new(name).within(namespace));
        let Some(runbook) = known.filter(|runbook| runbook.metadata.deletion_timestamp.is_none()) else {
            self.forget(namespace, name);
            return Next::OnChange;
        };
        let mut question = None;
        let next = self.driver.pass(namespace, name, pass(self, &runbook, &mut question)).await;
        if let Some(question) = question {
            self.remember(namespace, name, question, next);
        }
        next
    }

    /// The versions that Workflows pin.
    fn pinned(&self, namespace: &str, name: &str) -> BTreeSet<validate::Pin> {
        let here = |workflow: &Workflow| workflow.metadata.namespace.as_deref() == Some(namespace);
        validate::pinned(name, self.workflows.state_filter(here).iter().map(Arc::as_ref))
    }

    /// The versions that unfinished runs execute.
    fn executed(&self, namespace: &str, name: &str) -> BTreeSet<validate::Pin> {
        validate::executed(name, self.runs.open_in(namespace).iter().map(Arc::as_ref))
    }

    fn key(namespace: &str, name: &str) -> String {
        format!("{namespace}/{name}")
    }

    fn remember(&self, namespace: &str, name: &str, question: Question, next: Next) {
        let wait = match next {
            Next::After(delay) => SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX),
            Next::OnChange => SignedDuration::MAX,
        };
        let again = self.context.clock.now().saturating_add(wait).unwrap_or(Timestamp::MAX);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(Self::key(namespace, name), Asked { question, again });
    }

    fn wait(&self, namespace: &str, name: &str, question: &Question) -> Option<Duration> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        due::wait(asked.get(&Self::key(namespace, name)), question, self.context.clock.now())
    }

    fn forget(&self, namespace: &str, name: &str) {
        self.driver.forget(namespace, name);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.remove(&Self::key(namespace, name));
    }
}

/// One pass. Sets `asked` to what the repository was asked, once the answer is in the status.
async fn pass(runbooks: &Runbooks, runbook: &Runbook, asked: &mut Option<Question>) -> Result<Next, Problem> {
    let context = &runbooks.context;
    let (namespace, name) = (runbook.namespace().unwrap_or_default(), runbook.name_any());
    if runbook.spec.suspend == Some(true) {
        summarize(context, runbook, &Found::Suspended).await?;
        return Ok(Next::OnChange);
    }
    let question = Question {
        uid: runbook.uid(),
        generation: runbook.metadata.generation,
        requested_at: requested_at(runbook).map(str::to_owned),
        pins: runbooks.pinned(&namespace, &name),
    };
    // A tenant that was just prepared does not wait for the interval.
    let blocked = tenant_problem(context, &namespace);
    if blocked.is_none()
        && let Some(left) = runbooks.wait(&namespace, &name, &question)
    {
        return Ok(Next::After(left));
    }
    let result = if let Some(error) = blocked {
        Err(error)
    } else {
        let pins = &question.pins | &runbooks.executed(&namespace, &name);
        look(context, runbook, &pins).await
    };
    let (found, next) = match result {
        Ok((settled, next)) => (Found::Settled(settled), Ok(next)),
        Err(error) => {
            let (problem, of_spec) = (error.problem(), error.is_of_spec());
            // A broken bundle can be replaced in the registry: it is looked at again, a broken spec is not.
            let class = match problem.class {
                Class::Invalid if !of_spec => Class::Waiting { after: interval(runbook) },
                class => class,
            };
            let told = Problem { class, ..problem.clone() };
            (Found::Failed { problem, of_spec }, Err(told))
        }
    };
    summarize(context, runbook, &found).await?;
    if let Found::Settled(settled) = &found {
        keep_only(context, runbook, settled).await;
    }
    if !matches!(&found, Found::Failed { problem, .. } if is_of_tenant(problem)) {
        *asked = Some(question);
    }
    next
}

fn requested_at(runbook: &Runbook) -> Option<&str> {
    runbook.annotations().get(labels::RECONCILE_REQUESTED_AT).map(String::as_str)
}

fn interval(runbook: &Runbook) -> Duration {
    let interval = validate::wanted(&runbook.spec).map_or(validate::DEFAULT_INTERVAL, |wanted| wanted.interval);
    due::spread(interval, rand::random())
}

fn tenant_problem(context: &Context, namespace: &str) -> Option<RunbookError> {
    if context.tenants.get(namespace).is_none() {
        return Some(RunbookError::NotATenant(namespace.to_owned()));
    }
    context.tenants.is_unprepared(namespace).then(|| RunbookError::TenantNotPrepared(namespace.to_owned()))
}

fn is_of_tenant(problem: &Problem) -> bool {
    matches!(problem.reason, "NotATenant" | "TenantNotPrepared")
}

/// Asks the repository.
async fn look(
    context: &Context,
    runbook: &Runbook,
    pins: &BTreeSet<validate::Pin>,
) -> Result<(Settled, Next), RunbookError> {
    let (namespace, name) = (runbook.namespace().unwrap_or_default(), runbook.name_any());
    let wanted = validate::wanted(&runbook.spec)?;
    let access = Access {
        namespace,
        repository: wanted.repository.clone(),
        insecure: wanted.insecure,
        secret: wanted.secret.clone(),
    };
    let known = runbook.status.as_ref().and_then(|status| status.versions.as_deref()).unwrap_or_default();
    let resolver = Resolver { bundles: &context.bundles, access: &access, slug: &name, known };
    let settled = resolver.settle(&wanted, pins).await?;
    Ok((settled, Next::After(due::spread(wanted.interval, rand::random()))))
}

async fn summarize(context: &Context, runbook: &Runbook, found: &Found) -> Result<(), Problem> {
    let namespace = runbook.namespace().unwrap_or_default();
    let about = About {
        generation: runbook.metadata.generation,
        requested_at: requested_at(runbook),
        now: context.clock.now(),
    };
    let previous = runbook.status.as_ref();
    let next = status::next(previous, found, about);
    let api = context.namespaced::<Runbook>(&namespace);
    if patch_status_if_changed(&api, &runbook.name_any(), previous, &next).await?.is_some() {
        let reference = object_reference(runbook);
        for told in status::events(previous, &next) {
            context.events.publish(&reference, told.event_type(), &told.reason, "Resolve", &told.note).await;
        }
    }
    Ok(())
}

/// Frees the disk of bundles that no Workflow and no unfinished run needs. Failing to is no failure of the Runbook.
async fn keep_only(context: &Context, runbook: &Runbook, settled: &Settled) {
    let before = runbook.status.as_ref().and_then(|status| status.versions.as_ref());
    if settled.pin_problem.is_some() || before.is_none_or(|before| *before == settled.versions) {
        return;
    }
    let Ok(wanted) = validate::wanted(&runbook.spec) else { return };
    let keep = settled.versions.iter().filter_map(|version| version.digest.parse().ok()).collect();
    let namespace = runbook.namespace().unwrap_or_default();
    if let Err(error) = context.bundles.retain(&namespace, &wanted.repository, keep).await {
        tracing::warn!(error = %crate::error::chain(&error), "could not remove bundles that are not needed");
    }
}
