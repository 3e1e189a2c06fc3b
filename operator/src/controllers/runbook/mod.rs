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
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use ntro_crds::{Runbook, Workflow, WorkflowRun, labels};
use tokio_util::sync::CancellationToken;

use self::due::{Asked, Question};
use self::error::RunbookError;
use self::resolve::Resolver;
use self::status::{About, Found, Settled};
use crate::bundles::Access;
use crate::context::Context;
use crate::controllers::Driver;
use crate::error::{Class, Classified, Next, Problem};
use crate::kube_ext::{object_reference, patch_status_if_changed};
use crate::metrics::ControllerName;

/// Runbooks that are worked on at the same time.
const CONCURRENCY: u16 = 4;
/// Changes that come together are looked at together: a tenant may have hundreds of Workflows of one Runbook.
const DEBOUNCE: Duration = Duration::from_millis(200);

type Guarded = DeserializeGuard<Runbook>;

struct State {
    context: Context,
    driver: Driver,
    asked: Mutex<HashMap<String, Asked>>,
}

/// Serves Runbooks until told to stop.
pub async fn run(context: Context, shutdown: CancellationToken) {
    let driver = Driver::new(ControllerName::Runbook, context.clone());
    let state = Arc::new(State { context: context.clone(), driver, asked: Mutex::default() });
    let of_workflow = |workflow: DeserializeGuard<Workflow>| -> Option<ObjectRef<Guarded>> {
        let workflow = workflow.0.ok()?;
        let namespace = workflow.namespace()?;
        Some(ObjectRef::new(&workflow.spec.runbook_ref.name).within(&namespace))
    };
    Controller::new(context.all::<Guarded>(), watcher::Config::default())
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .watches(context.all::<DeserializeGuard<Workflow>>(), watcher::Config::default(), of_workflow)
        .reconcile_all_on(tenant_changes(&context))
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile, |_, never: &Infallible, _| match *never {}, state)
        .for_each(|result| async {
            if let Err(error) = result {
                tracing::debug!(error = %crate::error::chain(&error), "controller");
            }
        })
        .await;
}

/// One item for every change of the tenants or of their being prepared.
fn tenant_changes(context: &Context) -> impl Stream<Item = ()> + Send + use<> {
    let receivers = (context.tenants.subscribe(), context.tenants.subscribe_prepared());
    futures::stream::unfold(receivers, |(mut tenants, mut prepared)| async {
        let changed = tokio::select! {
            changed = tenants.changed() => changed,
            changed = prepared.changed() => changed,
        };
        changed.ok().map(|()| ((), (tenants, prepared)))
    })
}

async fn reconcile(object: Arc<Guarded>, state: Arc<State>) -> Result<Action, Infallible> {
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    if object.meta().deletion_timestamp.is_some() {
        state.forget(&namespace, &name);
        return Ok(Action::await_change());
    }
    let mut question = None;
    let pass = async {
        match &object.0 {
            Ok(runbook) => pass(&state, runbook, &mut question).await,
            Err(invalid) => {
                Err(Problem { class: Class::Invalid, reason: "Unreadable", message: invalid.error.clone() })
            }
        }
    };
    let next = state.driver.pass(&namespace, &name, pass).await;
    if let Some(question) = question {
        state.remember(&namespace, &name, question, next);
    }
    Ok(next.into())
}

impl State {
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
async fn pass(state: &State, runbook: &Runbook, asked: &mut Option<Question>) -> Result<Next, Problem> {
    let context = &state.context;
    let (namespace, name) = (runbook.namespace().unwrap_or_default(), runbook.name_any());
    if runbook.spec.suspend == Some(true) {
        summarize(context, runbook, &Found::Suspended).await?;
        return Ok(Next::OnChange);
    }
    let workflows = context.namespaced::<Workflow>(&namespace).list(&cached()).await?.items;
    let question = Question {
        uid: runbook.uid(),
        generation: runbook.metadata.generation,
        requested_at: requested_at(runbook).map(str::to_owned),
        pins: validate::pins(&name, &workflows, &[]),
    };
    // A tenant that was just prepared does not wait for the interval.
    let blocked = tenant_problem(context, &namespace);
    if blocked.is_none()
        && let Some(left) = state.wait(&namespace, &name, &question)
    {
        return Ok(Next::After(left));
    }
    let result = match blocked {
        Some(error) => Err(error),
        None => look(context, runbook, &question.pins).await,
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

/// Lists may come from the API server's cache: what they miss comes with the next change.
fn cached() -> ListParams {
    ListParams::default().match_any()
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
    pinned: &BTreeSet<validate::Pin>,
) -> Result<(Settled, Next), RunbookError> {
    let (namespace, name) = (runbook.namespace().unwrap_or_default(), runbook.name_any());
    let wanted = validate::wanted(&runbook.spec)?;
    let runs = context.namespaced::<WorkflowRun>(&namespace).list(&cached()).await?.items;
    let mut pins = validate::pins(&name, &[], &runs);
    pins.extend(pinned.iter().cloned());
    let access = Access {
        namespace,
        repository: wanted.repository.clone(),
        insecure: wanted.insecure,
        secret: wanted.secret.clone(),
    };
    let known = runbook.status.as_ref().and_then(|status| status.versions.as_deref()).unwrap_or_default();
    let resolver = Resolver { bundles: &context.bundles, access: &access, slug: &name, known };
    let settled = resolver.settle(&wanted, &pins).await?;
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
