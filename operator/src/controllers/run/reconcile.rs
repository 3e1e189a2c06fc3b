//! One reconcile of a run.

use super::observe::{JournalSeen, Seen};
use super::validate::{Validated, validate};
use super::{Runs, decide, holds};
use crate::cache::RunRef;
use crate::error::{Problem, Requeue};

impl Runs {
    pub(super) async fn reconcile_one(&self, run: &RunRef) -> Result<Requeue, Problem> {
        let observed = match self.observe(run).await? {
            Seen::Present(observed) => observed,
            Seen::NothingToDo(requeue) => return Ok(requeue),
        };
        if let (Some(object), JournalSeen::Begun(state)) = (&observed.object, &observed.journal)
            && holds::is_held(object)
        {
            // Now, while it is there: that it is lifted is found when something is to be purged.
            holds::note(&self.context.journal, state.run_id, Some(object)).await?;
        }
        let open = match validate(&observed)? {
            Validated::Consistent(open) => open,
            Validated::Inconsistent(mismatch) => return self.resolve_mismatch(&observed, mismatch).await,
        };
        let plan = decide::decide(&open, self.context.clock.now());
        let applied = self.apply(*open, plan).await?;
        self.summarize(applied).await
    }
}
