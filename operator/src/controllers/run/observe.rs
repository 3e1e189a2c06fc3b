//! What there is of a run before it is decided about: its object, its journal, what people ask of it.

use std::sync::Arc;

use kube::ResourceExt;
use ntro_crds::workflow_run::WorkflowRunStatus;
use ntro_crds::{UserAction, WorkflowRun};
use ntro_journal::machine::SegmentState;
use ntro_journal::store::StoreError;
use ntro_journal::{JournalError, PublishedHead, PurgedRun, RunState};
use uuid::Uuid;

use super::Runs;
use crate::cache::{Lookup, RunRef};
use crate::context::JournalOrTenant;
use crate::error::{Problem, Requeue};
use crate::launch::burst::{Busy, Deferred, LONGEST_DEFERRAL, Turn};
use crate::launch::run_object::is_same;

/// What a look at a run finds.
pub(super) enum Seen {
    Present(Observed),
    /// It is somebody else's for now, is deferred, or belongs to no tenant any more.
    NothingToDo(Requeue),
}

/// All that a reconcile decides from.
pub(super) struct Observed {
    pub run: RunRef,
    /// Not one that is being deleted.
    pub object: Option<Arc<WorkflowRun>>,
    pub journal: JournalSeen,
    pub signs: Signs,
    pub user_actions: Vec<Arc<UserAction>>,
    /// Ends the run's launch when the reconcile is over.
    _launching: Option<Busy>,
}

/// What tells whether an object and a journal belong together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signs {
    /// The journal is older than what the object's status tells of it.
    pub behind: bool,
    /// The API server has a status that the watch does not show yet.
    pub stale: bool,
    /// There is a Job that this very object owns: the run was executed for it, whether or not its status says so yet.
    pub owns_job: bool,
}

/// What the store knows of a run's name.
pub(super) enum JournalSeen {
    Unknown,
    /// The name is claimed, but there is no journal.
    Claimed,
    /// What is stored is no journal.
    Corrupt,
    Begun(Arc<RunState>),
    /// It has ended, and its journal was purged.
    Purged(Box<PurgedRun>),
}

impl Runs {
    pub(super) async fn observe(&self, run: &RunRef) -> Result<Seen, Problem> {
        let turn = self.launcher.burst.take_turn(run);
        if self.context.tenants.get(&run.namespace).is_none_or(|tenant| tenant.terminating) {
            // Nothing starts here any more.
            return Ok(Seen::NothingToDo(Requeue::OnChange));
        }
        let launching = match turn {
            Turn::Held => return Ok(Seen::NothingToDo(Requeue::OnChange)),
            Turn::First(launching) => Some(launching),
            Turn::Usual => {
                if self.defer_if_queued(run).await? {
                    return Ok(Seen::NothingToDo(Requeue::After(LONGEST_DEFERRAL)));
                }
                None
            }
        };
        let object = self.object(run).await?;
        let journal = self.journal_of(run).await?;
        let mut signs = Signs::default();
        if let (Some(object), JournalSeen::Begun(state)) = (&object, &journal) {
            signs.behind = self.is_behind(object.status.as_ref(), state.run_id).await?;
            signs.stale = self.is_stale(run, object, state).await?;
            signs.owns_job = self.owns_job(run, object);
        }
        let user_actions = self.cache.user_actions.of(run);
        let run = run.clone();
        Ok(Seen::Present(Observed { run, object, journal, signs, user_actions, _launching: launching }))
    }

    fn owns_job(&self, run: &RunRef, object: &WorkflowRun) -> bool {
        let jobs = self.cache.jobs.of(run);
        jobs.iter()
            .any(|job| job.owner_references().iter().any(|owner| Some(&owner.uid) == object.metadata.uid.as_ref()))
    }

    async fn object(&self, run: &RunRef) -> Result<Option<Arc<WorkflowRun>>, Problem> {
        let object = match self.cache.runs.get(run) {
            Lookup::Unfinished(object) => Some(object),
            Lookup::Ended => {
                let api = self.context.kube.namespaced::<WorkflowRun>(&run.namespace);
                api.get_opt(&run.name).await?.map(Arc::new)
            }
            Lookup::Missing => None,
        };
        Ok(object.filter(|object| object.metadata.deletion_timestamp.is_none()))
    }

    async fn journal_of(&self, run: &RunRef) -> Result<JournalSeen, Problem> {
        let Some(id) = self.context.run_by_name(&run.namespace, &run.name).await? else {
            return Ok(JournalSeen::Unknown);
        };
        match self.context.served_state(id).await {
            Err(JournalOrTenant::Journal(error @ JournalError::Purged { .. })) => {
                let purged = self.context.journal.purged(id).await?;
                purged.map_or(Err(error.into()), |purged| Ok(JournalSeen::Purged(Box::new(purged))))
            }
            loaded => seen(run, loaded),
        }
    }

    /// Defers a run whose first Job waits for its pod while other runs of the namespace are being launched: there is nothing to
    /// do about it but to say so.
    async fn defer_if_queued(&self, run: &RunRef) -> Result<bool, Problem> {
        if !self.launcher.burst.is_busy(&run.namespace) || !self.cache.user_actions.of(run).is_empty() {
            return Ok(false);
        }
        let JournalSeen::Begun(state) = self.journal_of(run).await? else { return Ok(false) };
        let queued = state.segment == 1 && state.segment_state == SegmentState::Queued;
        Ok(queued && state.cancel_requested.is_none() && self.launcher.burst.defer(Deferred::Run(run.clone())))
    }

    async fn is_behind(&self, status: Option<&WorkflowRunStatus>, id: Uuid) -> Result<bool, Problem> {
        let Some(head) = status.and_then(|status| status.journal.as_ref()) else { return Ok(false) };
        let head = PublishedHead { length: u64::try_from(head.length).unwrap_or(0), head: head.head.clone() };
        Ok(self.context.journal.is_behind(id, &head).await?)
    }

    /// Asks the API server itself about an object whose journal does not look like its own: the watch may be late.
    async fn is_stale(&self, run: &RunRef, object: &WorkflowRun, state: &RunState) -> Result<bool, Problem> {
        let published = object.status.as_ref().is_some_and(|status| status.run_id.is_some());
        if published || (state.terminal.is_none() && is_same(object, state)) {
            return Ok(false);
        }
        let fresh = self.context.kube.namespaced::<WorkflowRun>(&run.namespace).get_opt(&run.name).await?;
        Ok(fresh.and_then(|object| object.status?.run_id).is_some())
    }
}

/// What there is, by how loading it went.
fn seen(run: &RunRef, loaded: Result<Arc<RunState>, JournalOrTenant>) -> Result<JournalSeen, Problem> {
    match loaded {
        Ok(state) => Ok(JournalSeen::Begun(state)),
        Err(JournalOrTenant::Journal(JournalError::UnknownRun(_))) => Ok(JournalSeen::Claimed),
        Err(JournalOrTenant::Journal(
            error @ (JournalError::Corrupt { .. } | JournalError::Store(StoreError::Unreadable(_))),
        )) => {
            tracing::error!(namespace = run.namespace, run = run.name, %error, "cannot load a journal");
            Ok(JournalSeen::Corrupt)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use ntro_journal::machine::Corrupt;
    use serde_json::json;

    use super::super::validate::{Mismatch, Refusal, Validated, validate};
    use super::*;

    fn observed(journal: JournalSeen) -> Observed {
        let object = WorkflowRun::new(
            "nav-1",
            serde_json::from_value(json!({"request": {
                "workflowRef": {"name": "nav"}, "trigger": {"kind": "Manual", "initiator": "ina"},
            }}))
            .unwrap(),
        );
        Observed {
            run: RunRef { namespace: "acme".to_owned(), name: "nav-1".to_owned() },
            object: Some(Arc::new(object)),
            journal,
            signs: Signs::default(),
            user_actions: Vec::new(),
            _launching: None,
        }
    }

    #[test]
    fn a_journal_that_cannot_be_loaded_blocks_its_own_run() {
        let run = RunRef { namespace: "acme".to_owned(), name: "nav-1".to_owned() };
        let (run_id, source) = (Uuid::nil(), Corrupt::Gap { expected: 7 });
        for error in [JournalError::Corrupt { run_id, source }, StoreError::Unreadable("an entry").into()] {
            let journal = seen(&run, Err(JournalOrTenant::Journal(error))).unwrap_or(JournalSeen::Unknown);
            let validated = validate(&observed(journal));
            assert!(matches!(validated, Ok(Validated::Inconsistent(Mismatch::Refuse(Refusal::Corrupt)))));
        }
        assert!(seen(&run, Err(JournalOrTenant::Journal(JournalError::Stopped))).is_err(), "asked again later");
    }
}
