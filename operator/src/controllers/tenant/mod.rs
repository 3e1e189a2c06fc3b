//! Tenants: every tenant namespace is told where the operator is and which certificate authority to trust.

mod contact;
mod reconcile;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use ntro_crds::labels::CA_CONFIG_MAP;
use tokio_util::sync::CancellationToken;

use super::driver::{self, Controller};
use crate::context::Context;
use crate::error::{Problem, Requeue};
use crate::k8s::NamespacedName;
use crate::metrics::ControllerName;
use crate::queue::{Queue, queue};
use contact::Contact;

/// The controller of tenant namespaces: its keys are those of their `ConfigMap`s.
pub(crate) struct Tenants {
    context: Context,
    contact: Contact,
    queue: Queue<NamespacedName>,
}

/// Publishes this certificate authority until told to stop. Started apart from the others: it needs no kind of ours.
pub(crate) async fn run(context: Context, ca_pem: Arc<str>, shutdown: CancellationToken) {
    let (queue, worklist) = queue();
    let contact = contact::contact(&context.settings, &ca_pem);
    let metrics = Arc::clone(&context.metrics);
    driver::run(Arc::new(Tenants { context, contact, queue }), worklist, metrics, shutdown).await;
}

impl Controller for Tenants {
    type Key = NamespacedName;
    const NAME: ControllerName = ControllerName::Tenant;
    const WORKERS: usize = 4;

    async fn reconcile(&self, key: &NamespacedName) -> Result<Requeue, Problem> {
        self.reconcile_one(key).await
    }

    fn background(self: &Arc<Self>, shutdown: &CancellationToken) -> Vec<BoxFuture<'static, ()>> {
        vec![watch_tenants(Arc::clone(self), shutdown.clone()).boxed()]
    }
}

/// Enqueues every tenant whenever the tenants change.
async fn watch_tenants(controller: Arc<Tenants>, shutdown: CancellationToken) {
    let mut tenants = controller.context.tenants.subscribe();
    while let Some(Ok(())) = shutdown.run_until_cancelled(tenants.changed()).await {
        let known = tenants.borrow_and_update().clone();
        controller.context.metrics.set_tenants(known.len());
        known.keys().for_each(|namespace| controller.queue.push(NamespacedName::new(namespace, CA_CONFIG_MAP)));
    }
}
