//! One reconcile of a Runbook.

use super::decide::{self, Decision};
use super::{Runbooks, validate};
use crate::error::{Problem, Requeue};
use crate::k8s::NamespacedName;

impl Runbooks {
    pub(super) async fn reconcile_one(&self, key: &NamespacedName) -> Result<Requeue, Problem> {
        let Some(observed) = self.observe(key) else {
            self.asked().remove(key);
            return Ok(Requeue::OnChange);
        };
        let validated = validate::validate(&observed.runbook.spec);
        let decision = decide::decide(&observed, validated, self.asked().get(key), self.context.clock.now());
        let plan = match decision {
            Decision::Wait(left) => return Ok(Requeue::After(left)),
            Decision::Act(plan) => plan,
        };
        let applied = self.apply(&observed, plan).await;
        self.summarize(&observed, applied).await
    }
}
