//! Does what was planned for a run, and what its Jobs need after that.

use super::Runs;
use super::decide::Plan;
use super::validate::Open;
use super::{gates, user_actions};
use crate::error::{Problem, Requeue};

/// A run as it stands after what was done: all that its status is made from. Only [`Runs::apply`] makes one.
pub(super) struct Applied {
    pub open: Open,
    pub requeue: Requeue,
    /// Why user actions have no answer yet, or a gate that has expired is still open. Jobs and status go on meanwhile.
    pub unanswered: Option<Problem>,
}

impl Runs {
    pub(super) async fn apply(&self, open: Open, plan: Plan) -> Result<Applied, Problem> {
        let (context, id) = (&self.context, open.state.run_id);
        let answered = user_actions::answer(context, &open.state, &open.pin, plan.user_actions).await;
        let expired = match &answered {
            Ok(()) => gates::expiry::reject(context, &open.state, &plan.expired).await,
            Err(_) => Ok(Requeue::OnChange),
        };
        let look_again = *expired.as_ref().unwrap_or(&Requeue::OnChange);
        let open = Open { state: context.journal.state(id).await?, ..open };
        let requeue = self.follow_jobs(&open).await?.sooner(plan.requeue).sooner(look_again);
        let open = Open { state: context.journal.state(id).await?, ..open };
        Ok(Applied { open, requeue, unanswered: answered.and(expired.map(drop)).err() })
    }
}
