//! Whether a run's object and its journal belong together. Pure.

use std::sync::Arc;

use ntro_crds::workflow_run::RunPin;
use ntro_crds::{Reason, UserActionReason};
use ntro_crds::{UserAction, WorkflowRun};
use ntro_journal::{PurgedRun, RunState};

use super::observe::{JournalSeen, Observed, Signs};
use crate::cache::{RunRef, is_precreated};
use crate::error::Problem;
use crate::launch::pin;
use crate::launch::run_object::{asks_for_same_slot, is_same};

/// A run, checked.
pub(super) enum Validated {
    Consistent(Box<Open>),
    Inconsistent(Mismatch),
}

/// A run whose object and journal belong together.
pub(super) struct Open {
    pub run: RunRef,
    pub object: Arc<WorkflowRun>,
    pub state: Arc<RunState>,
    pub pin: RunPin,
    pub user_actions: Vec<Arc<UserAction>>,
}

/// What to do about a run whose object and journal do not belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mismatch {
    Ignore,
    /// There is no such run: nobody can act on it.
    Missing,
    /// An unfinished run lost its object, which is created again: deleting is not cancelling.
    Recreate,
    /// An object nobody has admitted yet.
    Admit,
    /// A person asked for the slot just when the schedule had begun it: the slot has one run, and the name is that run's.
    DeleteDuplicate,
    /// The watch is late.
    ReconcileSoon,
    /// The run has ended, and its journal was purged.
    Purged,
    /// The object stands for a run that must not be executed.
    Refuse(Refusal),
}

/// Why an object stands for a run that must not be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The store does not know a run that was published.
    Unknown,
    /// The store knows another run under this name than the one that was published.
    OtherRun,
    /// The journal is older than, or differs from, what was published.
    Behind,
    /// What the store has of the run is no journal.
    Corrupt,
    /// A run of this name was executed before.
    AlreadyRan,
    /// The name, or the slot asked for, belongs to another run that has not ended.
    NameTaken,
}

impl Refusal {
    /// The reason of the conditions and the code of the block.
    pub(super) fn code(self) -> Reason {
        match self {
            Self::Unknown | Self::OtherRun | Self::Behind => Reason::JournalBehind,
            Self::Corrupt => Reason::JournalCorrupt,
            Self::AlreadyRan | Self::NameTaken => Reason::AlreadyRan,
        }
    }

    /// The reason for which user actions on the run are refused.
    pub(super) fn of_user_action(self) -> UserActionReason {
        match self {
            Self::Unknown | Self::OtherRun | Self::Behind => UserActionReason::JournalBehind,
            Self::Corrupt => UserActionReason::JournalCorrupt,
            Self::AlreadyRan | Self::NameTaken => UserActionReason::AlreadyRan,
        }
    }

    /// For people.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Unknown => {
                "the journal store does not know this run: it is older than the published status; restore the latest backup"
            }
            Self::OtherRun => "the journal store has another run under this name, which did not publish this status",
            Self::Behind => {
                "the journal store is older than, or differs from, the published status; restore the latest backup"
            }
            Self::Corrupt => {
                "the journal of this run is damaged and cannot be loaded; other runs go on; restore the latest backup"
            }
            Self::AlreadyRan => {
                "a run of this name has already ended and is not executed again; start a run with another name"
            }
            Self::NameTaken => "another run already uses this name or slot; start a run with another name",
        }
    }
}

/// Checks a run.
pub(super) fn validate(observed: &Observed) -> Result<Validated, Problem> {
    let mismatch = match (&observed.object, &observed.journal) {
        (None, JournalSeen::Unknown) => Mismatch::Missing,
        (None, JournalSeen::Claimed | JournalSeen::Corrupt) => Mismatch::Ignore,
        (None, JournalSeen::Purged(_)) => Mismatch::Purged,
        (None, JournalSeen::Begun(state)) if state.terminal.is_some() => Mismatch::Ignore,
        (None, JournalSeen::Begun(_)) => Mismatch::Recreate,
        (Some(object), JournalSeen::Unknown | JournalSeen::Claimed) => unbegun(object),
        (Some(_), JournalSeen::Corrupt) => Mismatch::Refuse(Refusal::Corrupt),
        (Some(object), JournalSeen::Purged(purged)) => purged_run(object, purged),
        (Some(object), JournalSeen::Begun(state)) => match begun(observed.signs, object, state) {
            Some(mismatch) => mismatch,
            None => return open(observed, object, state).map(|open| Validated::Consistent(Box::new(open))),
        },
    };
    Ok(Validated::Inconsistent(mismatch))
}

/// An object without a journal.
fn unbegun(object: &WorkflowRun) -> Mismatch {
    if object.status.as_ref().is_some_and(|status| status.run_id.is_some()) {
        return Mismatch::Refuse(Refusal::Unknown);
    }
    // A precreated one: its Workflow begins it when the slot is due, or deletes it. User actions wait for that.
    if is_precreated(object) { Mismatch::Ignore } else { Mismatch::Admit }
}

/// An object whose run ended long ago: it was that run's, or a person made it since.
fn purged_run(object: &WorkflowRun, purged: &PurgedRun) -> Mismatch {
    let status = object.status.as_ref();
    let behind = status.and_then(|status| status.journal.as_ref()).is_some_and(|head| {
        let length = u64::try_from(head.length).unwrap_or(0);
        length > 0 && purged.is_behind(length, &head.head)
    });
    match status.and_then(|status| status.run_id.as_deref()) {
        None => Mismatch::Refuse(Refusal::AlreadyRan),
        Some(published) if published != purged.run_id.to_string() => Mismatch::Refuse(Refusal::OtherRun),
        Some(_) if behind => Mismatch::Refuse(Refusal::Behind),
        Some(_) => Mismatch::Purged,
    }
}

/// An object with a journal: `None` if they belong together.
fn begun(signs: Signs, object: &WorkflowRun, state: &RunState) -> Option<Mismatch> {
    let behind = signs.behind.then_some(Mismatch::Refuse(Refusal::Behind));
    match object.status.as_ref().and_then(|status| status.run_id.as_deref()) {
        Some(published) if published != state.run_id.to_string() => Some(Mismatch::Refuse(Refusal::OtherRun)),
        None if signs.stale => Some(Mismatch::ReconcileSoon),
        // It may have ended before its first status could be written, or before it had a Job.
        None if is_same(object, state) && (state.terminal.is_none() || state.job.is_none() || signs.owns_job) => behind,
        None if state.terminal.is_none() && asks_for_same_slot(object, state) => Some(Mismatch::DeleteDuplicate),
        None => Some(Mismatch::Refuse(Refusal::AlreadyRan)),
        Some(_) => behind,
    }
}

fn open(observed: &Observed, object: &Arc<WorkflowRun>, state: &Arc<RunState>) -> Result<Open, Problem> {
    let pin = pin::readable(state)?;
    Ok(Open {
        run: observed.run.clone(),
        object: Arc::clone(object),
        state: Arc::clone(state),
        pin,
        user_actions: observed.user_actions.clone(),
    })
}

#[cfg(test)]
mod tests {
    use ntro_journal::protocol::entries::RunCompleted;
    use ntro_journal::protocol::{Payload, PodEntry};
    use serde_json::{Value, json};

    use super::*;
    use crate::launch::run_object;
    use crate::testing::runs::{created, held, purged, queued, said};

    fn object(status: &Value) -> WorkflowRun {
        let request = json!({"workflowRef": {"name": "nav"}, "trigger": {"kind": "Manual", "initiator": "ina"}});
        serde_json::from_value(json!({
            "apiVersion": "ntro.dev/v1alpha1", "kind": "WorkflowRun", "spec": {"request": request},
            "metadata": {"name": "nav-abcde", "namespace": "acme"}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_run_is_not_executed_again_because_its_journal_was_purged() {
        let left = purged();
        let made_again = object(&json!({}));
        assert_eq!(purged_run(&made_again, &left), Mismatch::Refuse(Refusal::AlreadyRan));
        let other = object(&json!({"runId": uuid::Uuid::nil(), "phase": "Succeeded"}));
        assert_eq!(purged_run(&other, &left), Mismatch::Refuse(Refusal::OtherRun));
    }

    #[test]
    fn a_run_that_ended_before_its_first_status_is_that_of_the_object_it_was_executed_for() {
        let state = held(&queued(&created()));
        let request = run_object::request_of(&state).unwrap();
        let run = RunRef { namespace: state.namespace.clone(), name: state.name.clone() };
        let object = run_object::build(&run, &request, &state.workflow.uid, state.run_id);
        assert_eq!(begun(Signs::default(), &object, &state), None);
        let cancelled =
            ntro_journal::machine::cancel(&created(), "user-action", "bob", crate::testing::runs::at(1)).state;
        assert_eq!(begun(Signs::default(), &object, &cancelled), None, "nothing was executed");
        let done = RunCompleted { command: 0, seen_upto: 0, result: Payload::inline("1") };
        let ended = said(&state, vec![PodEntry::RunCompleted(done)]);
        assert_eq!(begun(Signs { owns_job: true, ..Signs::default() }, &object, &ended), None);
        let again = begun(Signs::default(), &object, &ended);
        assert_eq!(again, Some(Mismatch::Refuse(Refusal::AlreadyRan)), "it was made again since");
    }

    #[test]
    fn the_head_that_was_published_is_known_though_the_journal_is_purged() {
        let left = purged();
        let with = |length: u64, head: &str| {
            object(&json!({"runId": left.run_id, "phase": "Cancelled", "journal": {"length": length, "head": head}}))
        };
        let behind = Mismatch::Refuse(Refusal::Behind);
        let (length, head) = (left.length, left.record.head.as_str());
        assert_eq!(purged_run(&with(length, head), &left), Mismatch::Purged);
        assert_eq!(purged_run(&with(length - 1, "hmac-sha256:earlier"), &left), Mismatch::Purged);
        assert_eq!(purged_run(&with(length, "hmac-sha256:other"), &left), behind);
        assert_eq!(purged_run(&with(length + 1, head), &left), behind);
        assert_eq!(purged_run(&object(&json!({"runId": left.run_id})), &left), Mismatch::Purged);
    }
}
