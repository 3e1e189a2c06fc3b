//! Purges ended runs when their tenant's retention is over, one after the other: nobody waits for it. What the API server says of
//! a tenant and a run is asked for before anything of them is purged.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use ntro_crds::{Reason, WorkflowRun};
use ntro_journal::{EndedRun, Retention, RunPart};
use tokio_util::sync::CancellationToken;

use super::holds;
use crate::cache::Keeping;
use crate::cache::tenants::{Tenant, tenant_of};
use crate::context::Context;
use crate::error::{Class, Problem, chain};

/// Between two rounds. Retention is counted in days.
const EVERY: Duration = Duration::from_hours(1);
/// By how much the operator's clock may be ahead of the API server's: one that is years ahead would purge everything.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);
/// Between two pages of runs.
const PAUSE: Duration = Duration::from_millis(100);

/// Purges until told to stop.
pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let rounds = async {
        loop {
            round(&context).await;
            tokio::time::sleep(EVERY).await;
        }
    };
    // What a round has begun goes on to the end of its step; the rest is for the next process.
    shutdown.run_until_cancelled(rounds).await;
}

/// Everything that is due in any tenant. What fails is tried again in the next round, and keeps nothing else from being purged.
async fn round(context: &Context) {
    loop {
        match context.journal.continue_purges().await {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                let reason = error.reason();
                tracing::warn!(reason, error = %chain(&error), "could not go on with a purge; tried again later");
                break;
            }
        }
    }
    for tenant in context.tenants.all().values().filter(|tenant| !tenant.terminating) {
        let namespace = &tenant.namespace;
        match tenant.keeping {
            Keeping::For(retention) => {
                for part in [RunPart::Journal, RunPart::Log] {
                    if let Err(problem) = purge_tenant(context, tenant, part, retention).await {
                        let (reason, error) = (problem.reason.as_str(), &problem.message);
                        tracing::warn!(namespace, reason, error, "could not purge what is due; tried again later");
                    }
                }
            }
            Keeping::Held => {}
            Keeping::Unreadable(annotation) => {
                tracing::warn!(
                    namespace,
                    annotation,
                    "nothing is purged: the annotation is not a number of days such as 365d"
                );
            }
        }
    }
}

/// What is due of one part of the tenant's runs.
async fn purge_tenant(context: &Context, tenant: &Tenant, part: RunPart, retention: Retention) -> Result<(), Problem> {
    let mut after: Option<EndedRun> = None;
    loop {
        let due = context.journal.expired(&tenant.uid, part, &retention, after.as_ref()).await?;
        let Some(last) = due.last().cloned() else { return Ok(()) };
        check_tenant(context, tenant).await?;
        for run in due {
            if let Err(problem) = purge_run(context, &run, retention).await {
                let (reason, error) = (problem.reason.as_str(), &problem.message);
                let (namespace, name) = (&run.namespace, &run.name);
                tracing::warn!(namespace, run = name, reason, error, "could not purge a run; tried again later");
            }
        }
        after = Some(last);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks the API server whether the tenant is still what its watch shows: the watch may be late, and a hold must not be missed.
async fn check_tenant(context: &Context, tenant: &Tenant) -> Result<(), Problem> {
    let namespace = Api::<Namespace>::all(context.kube.client.clone()).get_opt(&tenant.namespace).await?;
    let waiting = |reason, message| Err(Problem::new(Class::Waiting { after: EVERY }, reason, message));
    if namespace.as_ref().and_then(tenant_of).as_ref() != Some(tenant) {
        return waiting(Reason::TenantUnknown, "the namespace is being changed: what is due is looked at again");
    }
    if context.clock.now().duration_since(context.server_now()) > AHEAD {
        return waiting(Reason::InternalError, "the operator's clock is ahead of the API server's: set it");
    }
    Ok(())
}

async fn purge_run(context: &Context, run: &EndedRun, retention: Retention) -> Result<(), Problem> {
    let object = context.kube.namespaced::<WorkflowRun>(&run.namespace).get_opt(&run.name).await?;
    if holds::note(&context.journal, run.run_id, object.as_ref()).await? {
        return Ok(());
    }
    if let Some(part) = context.journal.purge(run.run_id, &retention).await? {
        context.metrics.purged(part);
        let (namespace, name) = (&run.namespace, &run.name);
        tracing::info!(namespace, run = name, run_id = %run.run_id, part = part.label(), days = retention.days(part), "purged");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
