//! Tells what became of a Runbook: its status and Events, and after them the removal of bundles that nobody needs.

use ntro_crds::Runbook;

use super::apply::Applied;
use super::decide::Asked;
use super::observe::Observed;
use super::status::{self, About, Found, Resolution};
use super::{Runbooks, events, validate};
use crate::error::{Problem, Requeue, chain};
use crate::k8s::{object_reference, patch_status_if_changed};

impl Runbooks {
    pub(super) async fn summarize(&self, observed: &Observed, applied: Applied) -> Result<Requeue, Problem> {
        self.write_status(observed, &applied.found).await?;
        if let Found::Resolved(resolution) = &applied.found {
            self.retain_bundles(observed, resolution).await;
        }
        let asked = match &applied.found {
            Found::Suspended => false,
            Found::Resolved(_) => true,
            Found::Failed { .. } => observed.tenant_problem.is_none(),
        };
        if asked {
            self.asked().insert(observed.key.clone(), Asked::now(observed.question.clone()));
        }
        applied.requeue
    }

    async fn write_status(&self, observed: &Observed, found: &Found) -> Result<(), Problem> {
        let (context, runbook) = (&self.context, observed.runbook.as_ref());
        let about = About {
            generation: runbook.metadata.generation,
            requested_at: observed.question.requested_at.as_deref(),
            now: context.clock.now(),
        };
        let previous = runbook.status.as_ref();
        let next = status::next(previous, found, about);
        let api = context.kube.namespaced::<Runbook>(&observed.key.namespace);
        if patch_status_if_changed(&api, &observed.key.name, previous, &next).await?.is_some() {
            let reference = object_reference(runbook);
            for event in events::events(previous, &next) {
                context.events.publish(&reference, event.kind, &event.reason, "Resolve", &event.note).await;
            }
        }
        Ok(())
    }

    /// Frees the disk of bundles that no Workflow and no unfinished run needs. Failing to is no failure of the Runbook.
    async fn retain_bundles(&self, observed: &Observed, resolution: &Resolution) {
        let before = observed.runbook.status.as_ref().and_then(|status| status.versions.as_ref());
        if resolution.pin_problem.is_some() || before.is_none_or(|before| *before == resolution.versions) {
            return;
        }
        let Ok(wanted) = validate::validate(&observed.runbook.spec) else { return };
        let keep = resolution.versions.iter().filter_map(|version| version.digest.parse().ok()).collect();
        let namespace = &observed.key.namespace;
        if let Err(error) = self.context.bundles.retain(namespace, &wanted.repository, keep).await {
            tracing::warn!(error = %chain(&error), "could not remove bundles that are not needed");
        }
    }
}
