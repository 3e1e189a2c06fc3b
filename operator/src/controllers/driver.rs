//! What every controller shares: workers that take keys off a queue, one reconcile of a key at a time, each in a span,
//! timed and counted, with the back-off of objects that fail.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use ntro_crds::Reason;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::error::{Backoff, Class, Failures, Problem, Requeue, requeue};
use crate::metrics::{ControllerName, Outcome, SharedMetrics};
use crate::queue::{Key, Worklist};

/// What a controller has to provide. It is wired in [`super::start`].
pub(crate) trait Controller: Send + Sync + 'static {
    /// What is reconciled.
    type Key: Key;
    /// Its name in logs and metrics.
    const NAME: ControllerName;
    /// Objects reconciled at the same time.
    const WORKERS: usize;

    /// Brings one object in line with what is wanted, and says when to do so again.
    fn reconcile(&self, key: &Self::Key) -> impl Future<Output = Result<Requeue, Problem>> + Send;

    /// Hears what came of a reconcile, back-off included, whatever came of it.
    fn after_reconcile(&self, _key: &Self::Key, _requeue: Requeue) {}

    /// What runs beside the workers until told to stop: watches and feeds that fill the queue.
    fn background(self: &Arc<Self>, _shutdown: &CancellationToken) -> Vec<BoxFuture<'static, ()>> {
        Vec::new()
    }
}

/// Works a controller's queue off until told to stop and what was begun is done.
pub(crate) async fn run<C: Controller>(
    controller: Arc<C>,
    worklist: Worklist<C::Key>,
    metrics: SharedMetrics,
    shutdown: CancellationToken,
) {
    let mut background = JoinSet::new();
    for task in controller.background(&shutdown) {
        background.spawn(task);
    }
    let driver = Arc::new(Driver::new(metrics));
    let work = move |key: C::Key| {
        let (controller, driver) = (Arc::clone(&controller), Arc::clone(&driver));
        async move { driver.drive(controller.as_ref(), &key).await }
    };
    worklist.run(C::WORKERS, shutdown, work).await;
    while background.join_next().await.is_some() {}
}

/// Wraps every reconcile of a controller.
pub(crate) struct Driver {
    metrics: SharedMetrics,
    failures: Failures<String>,
}

impl Driver {
    pub(crate) fn new(metrics: SharedMetrics) -> Self {
        Self { metrics, failures: Failures::default() }
    }

    /// Runs one reconcile and says when to run the next.
    pub(crate) async fn drive<C: Controller>(&self, controller: &C, key: &C::Key) -> Requeue {
        let (namespace, name) = (key.namespace(), key.name());
        let span = tracing::info_span!("reconcile", controller = C::NAME.as_str(), namespace, name);
        let since = Instant::now();
        // Boxed: a reconcile's future is large, and there are as many as workers.
        let reconcile = AssertUnwindSafe(controller.reconcile(key)).catch_unwind();
        // A panic is a defect like any other: what a reconcile has done is in the journal or the API server, or is not done.
        let result = Box::pin(reconcile).instrument(span.clone()).await.unwrap_or_else(|panic| Err(panicked(&*panic)));
        let requeue = self.follow(C::NAME, format!("{namespace}/{name}"), result, since, &span);
        controller.after_reconcile(key, requeue);
        requeue
    }

    fn follow(
        &self,
        controller: ControllerName,
        key: String,
        result: Result<Requeue, Problem>,
        since: Instant,
        span: &Span,
    ) -> Requeue {
        let (outcome, reason, requeue) = match result {
            Ok(requeue) => {
                self.failures.forget(&key);
                (Outcome::Success, "", requeue)
            }
            Err(problem) => {
                let failures = match problem.class {
                    Class::Transient | Class::Bug => self.failures.record(key),
                    Class::Invalid | Class::Waiting { .. } => 1,
                };
                let requeue = requeue(problem.class, Backoff::DEFAULT.delay(failures, rand::random()));
                span.in_scope(|| log(&problem, requeue));
                (outcome(problem.class), problem.reason.as_str(), requeue)
            }
        };
        self.metrics.reconcile(controller, outcome, reason, since.elapsed());
        requeue
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Problem {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::new(Class::Bug, Reason::InternalError, format!("panicked: {}", text.unwrap_or("without a message")))
}

fn outcome(class: Class) -> Outcome {
    match class {
        Class::Invalid => Outcome::Invalid,
        Class::Waiting { .. } => Outcome::Waiting,
        Class::Transient => Outcome::Transient,
        Class::Bug => Outcome::Bug,
    }
}

fn log(problem: &Problem, requeue: Requeue) {
    let Problem { class, reason, message } = problem;
    let reason = reason.as_str();
    match class {
        Class::Waiting { .. } => tracing::debug!(reason, error = message, ?requeue, "waiting"),
        Class::Invalid => tracing::info!(reason, error = message, "invalid"),
        Class::Transient => tracing::warn!(reason, error = message, ?requeue, "reconcile failed"),
        Class::Bug => tracing::error!(reason, error = message, ?requeue, "reconcile failed: internal error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::NamespacedName;
    use crate::metrics::Metrics;

    struct Defective;

    impl Controller for Defective {
        type Key = NamespacedName;
        const NAME: ControllerName = ControllerName::Runbook;
        const WORKERS: usize = 1;

        #[expect(clippy::panic, reason = "a defect")]
        async fn reconcile(&self, key: &NamespacedName) -> Result<Requeue, Problem> {
            panic!("no {}", key.name)
        }
    }

    #[tokio::test]
    async fn a_reconcile_that_panics_is_tried_again_after_a_while() {
        let driver = Driver::new(Arc::new(Metrics::new()));
        let key = NamespacedName::new("acme", "nav");
        for _ in 0..2 {
            let requeue = driver.drive(&Defective, &key).await;
            assert!(matches!(requeue, Requeue::After(wait) if wait > std::time::Duration::from_secs(1)), "{requeue:?}");
        }
    }
}
