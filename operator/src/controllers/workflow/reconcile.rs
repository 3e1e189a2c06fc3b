//! One reconcile of a Workflow.

use super::observe::Seen;
use super::{Workflows, plan, validate};
use crate::error::{Problem, Requeue};
use crate::k8s::NamespacedName;

impl Workflows {
    pub(super) async fn reconcile_one(&self, key: &NamespacedName) -> Result<Requeue, Problem> {
        let observed = match self.observe(key).await? {
            Seen::Present(observed) => observed,
            Seen::Gone(precreated) => return Ok(self.forget(key, &precreated).await),
            Seen::NothingToDo(requeue) => return Ok(requeue),
        };
        let validated = validate::validate(&observed, self.launcher.context.settings.runner_image());
        let plan = plan::decide(&observed, &validated);
        let applied = self.apply(&observed, &validated, plan).await?;
        self.summarize(&observed, &validated, applied).await
    }
}
