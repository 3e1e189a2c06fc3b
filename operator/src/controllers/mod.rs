//! The controllers. Each has the same five rooms: observe (reads), validate (pure), decide and build (pure, `now` is an
//! argument), apply (writes), summarize (status, after success and after failure).
//!
//! Each is started by its `run`, which ends only after `shutdown` was cancelled and what it was doing is done.

pub mod act;
pub mod gate;
pub mod run;
pub mod runbook;
pub mod together;
pub mod workflow;

use std::time::Instant;

use tracing::Instrument;

use crate::context::Context;
use crate::error::{Backoff, Class, Failures, Next, Problem, react};
use crate::metrics::{ControllerName, Outcome};

/// Wraps every pass of a controller: span, timer, count, and the back-off of objects that fail.
pub struct Driver {
    controller: ControllerName,
    context: Context,
    failures: Failures<String>,
}

impl Driver {
    /// A driver for one controller.
    pub fn new(controller: ControllerName, context: Context) -> Self {
        Self { controller, context, failures: Failures::default() }
    }

    /// Runs one pass over the object `namespace/name` and says when to look again.
    pub async fn pass<F>(&self, namespace: &str, name: &str, pass: F) -> Next
    where
        F: Future<Output = Result<Next, Problem>>,
    {
        let span = tracing::info_span!("pass", controller = self.controller.as_str(), namespace, name);
        let since = Instant::now();
        let result = pass.instrument(span.clone()).await;
        let key = format!("{namespace}/{name}");
        let (outcome, reason, next) = match result {
            Ok(next) => {
                self.failures.forget(&key);
                (Outcome::Success, "", next)
            }
            Err(problem) => {
                let failures = match problem.class {
                    Class::Transient | Class::Bug => self.failures.record(key),
                    Class::Invalid | Class::Waiting { .. } => 1,
                };
                let delay = Backoff::DEFAULT.delay(failures, rand::random());
                let next = react(problem.class, delay).next;
                span.in_scope(|| report(&problem, next));
                (outcome(problem.class), problem.reason, next)
            }
        };
        self.context.metrics.pass(self.controller, outcome, reason, since.elapsed());
        next
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.failures.forget(&format!("{namespace}/{name}"));
    }
}

fn outcome(class: Class) -> Outcome {
    match class {
        Class::Invalid => Outcome::Invalid,
        Class::Waiting { .. } => Outcome::Waiting,
        Class::Transient => Outcome::Transient,
        Class::Bug => Outcome::Bug,
    }
}

fn report(problem: &Problem, next: Next) {
    let Problem { class, reason, message } = problem;
    match class {
        Class::Waiting { .. } => tracing::debug!(reason, error = message, ?next, "waiting"),
        Class::Invalid => tracing::info!(reason, error = message, "invalid"),
        Class::Transient => tracing::warn!(reason, error = message, ?next, "failed"),
        Class::Bug => tracing::error!(reason, error = message, ?next, "failed by a defect"),
    }
}
