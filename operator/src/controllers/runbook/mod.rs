//! Runbooks: a version becomes a digest, its bundle is fetched, checked and kept, and the status tells what is in it.
//!
//! What was resolved stays usable while the registry is away. Registries are asked by digest once a tag was resolved.

mod apply;
mod decide;
mod error;
mod events;
mod observe;
mod reconcile;
mod resolve;
mod status;
mod summarize;
#[cfg(test)]
mod tests;
mod validate;
mod verified;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::driver::Controller;
use crate::cache::Cache;
use crate::context::Context;
use crate::error::{Problem, Requeue};
use crate::k8s::NamespacedName;
use crate::metrics::ControllerName;
use crate::queue::Queue;
use decide::Asked;

/// Changes of Workflows that come together are looked at together: a tenant may have thousands of one Runbook.
pub(crate) const DEBOUNCE: Duration = Duration::from_millis(200);

/// The controller of Runbooks.
pub(crate) struct Runbooks {
    context: Context,
    cache: Cache,
    queue: Queue<NamespacedName>,
    /// Only a Runbook's own reconcile touches its entry.
    asked: Mutex<HashMap<NamespacedName, Asked>>,
}

impl Runbooks {
    pub(crate) fn new(context: Context, cache: Cache, queue: Queue<NamespacedName>) -> Self {
        Self { context, cache, queue, asked: Mutex::default() }
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<NamespacedName, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Controller for Runbooks {
    type Key = NamespacedName;
    const NAME: ControllerName = ControllerName::Runbook;
    const WORKERS: usize = 4;

    async fn reconcile(&self, key: &NamespacedName) -> Result<Requeue, Problem> {
        self.reconcile_one(key).await
    }

    /// The repository is asked again when the driver says so, back-off included.
    fn after_reconcile(&self, key: &NamespacedName, requeue: Requeue) {
        if let Some(asked) = self.asked().get_mut(key) {
            asked.answered(requeue, self.context.clock.now());
        }
    }

    fn background(self: &Arc<Self>, shutdown: &CancellationToken) -> Vec<BoxFuture<'static, ()>> {
        vec![watch_tenants(Arc::clone(self), shutdown.clone()).boxed()]
    }
}

/// Enqueues every Runbook when the tenants or their readiness change.
async fn watch_tenants(runbooks: Arc<Runbooks>, shutdown: CancellationToken) {
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
        for runbook in runbooks.cache.runbooks.state() {
            runbooks.queue.push(NamespacedName::of(runbook.as_ref()));
        }
    }
}
