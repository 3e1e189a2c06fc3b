//! Does what was planned for a Runbook: asks the repository, fetches what is missing.

use std::collections::BTreeSet;

use super::Runbooks;
use super::decide::{Plan, spread};
use super::error::RunbookError;
use super::observe::Observed;
use super::resolve::Resolver;
use super::status::{Found, Resolution};
use super::validate::{Pinned, Wanted, interval};
use crate::bundles::Access;
use crate::error::{Class, Classified, Problem, Requeue};

/// What was done: all that a status is made from. Only [`Runbooks::apply`] makes one.
pub(super) struct Applied {
    pub found: Found,
    pub requeue: Result<Requeue, Problem>,
}

impl Runbooks {
    pub(super) async fn apply(&self, observed: &Observed, plan: Plan) -> Applied {
        let resolved = match plan {
            Plan::Suspend => return Applied { found: Found::Suspended, requeue: Ok(Requeue::OnChange) },
            Plan::Fail(error) => Err(error),
            Plan::Resolve { wanted, pinned } => {
                let next = Requeue::After(spread(wanted.interval, rand::random()));
                self.resolve(observed, wanted, &pinned).await.map(|resolution| (resolution, next))
            }
        };
        match resolved {
            Ok((resolution, next)) => Applied { found: Found::Resolved(resolution), requeue: Ok(next) },
            Err(error) => failed(observed, &error),
        }
    }

    async fn resolve(
        &self,
        observed: &Observed,
        wanted: Wanted,
        pinned: &BTreeSet<Pinned>,
    ) -> Result<Resolution, RunbookError> {
        let access = Access {
            namespace: observed.key.namespace.clone(),
            repository: wanted.repository.clone(),
            insecure: wanted.insecure,
            secret: wanted.secret.clone(),
        };
        let status = observed.runbook.status.as_ref();
        let known = status.and_then(|status| status.versions.as_deref()).unwrap_or_default();
        let resolver = Resolver { bundles: &self.context.bundles, access: &access, slug: &observed.key.name, known };
        resolver.resolve(&wanted, pinned).await
    }
}

fn failed(observed: &Observed, error: &RunbookError) -> Applied {
    let (problem, of_spec) = (error.problem(), error.is_of_spec());
    // A broken bundle can be replaced in the registry: it is looked at again, a broken spec is not.
    let class = match problem.class {
        Class::Invalid if !of_spec => {
            Class::Waiting { after: spread(interval(&observed.runbook.spec), rand::random()) }
        }
        class => class,
    };
    let requeue = Err(Problem { class, ..problem.clone() });
    Applied { found: Found::Failed { problem, of_spec }, requeue }
}
