//! What of a `WorkflowRun` matters to its Workflow: a few words instead of the object. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use ntro_crds::workflow_run::{RunPhase, TriggerKind, WorkflowRun};
use ntro_crds::{BlockReason, labels};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Well.
    Succeeded,
    /// By its code.
    Failed,
    /// By a person.
    Cancelled,
    /// It had been executed before and is not executed again.
    AlreadyRan,
}

/// Where an unfinished run stands, by how long it is likely to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It goes on by itself.
    UnderWay,
    /// It waits for a person, a time or a signal.
    Waiting,
    /// A person has to see to it.
    Blocked,
}

/// A run of a Workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts that hold or do not, each by itself")]
pub(crate) struct RunSummary {
    pub name: String,
    /// UID of the Workflow it was made for, once the operator has seen to it.
    pub workflow_uid: Option<Arc<str>>,
    /// Its accounting period.
    pub period: Option<String>,
    /// Made by this very Workflow, not by a former one of its name.
    pub ours: bool,
    /// The slot, if it is the run of one.
    pub slot: Option<Timestamp>,
    /// The schedule made it, nobody asked for its slot.
    pub by_schedule: bool,
    /// Made before its slot, and not known to have begun.
    pub precreated: bool,
    /// It is known to have begun: by its status or, while that is in coming, by the ledger.
    pub begun: bool,
    /// A person holds it: it is not deleted.
    pub held: bool,
    /// When the object was made.
    pub created: Option<Timestamp>,
    /// Where it stands, unless it has ended.
    pub standing: Standing,
    /// How it ended, if it has.
    pub ending: Option<Ending>,
    /// When it ended.
    pub completed: Option<Timestamp>,
}

/// Whether a run's object was made before its slot and nothing shows that the run has begun. Its journal may know better.
pub(crate) fn is_precreated(run: &WorkflowRun) -> bool {
    run.spec.request.trigger.kind == TriggerKind::Schedule
        && run.annotations().contains_key(labels::PRECREATED)
        && run.status.as_ref().is_none_or(|status| status.phase.is_none())
}

impl RunSummary {
    /// Reads a run.
    pub(crate) fn of(run: &WorkflowRun) -> Self {
        let request = &run.spec.request;
        let status = run.status.as_ref();
        let blocked = status.and_then(|s| s.blocked.as_ref());
        let already_ran = blocked.is_some_and(|blocked| blocked.code == BlockReason::AlreadyRan.as_str());
        let ending = match status.and_then(|s| s.phase) {
            Some(RunPhase::Succeeded) => Some(Ending::Succeeded),
            Some(RunPhase::Failed) => Some(Ending::Failed),
            Some(RunPhase::Cancelled) => Some(Ending::Cancelled),
            Some(RunPhase::Blocked) if already_ran => Some(Ending::AlreadyRan),
            _ => None,
        };
        let label = run.labels().get(labels::WORKFLOW_UID).map(String::as_str);
        let pinned = status.and_then(|s| s.pin.as_ref()).map(|pin| pin.workflow_uid.as_str());
        let by_schedule = request.trigger.kind == TriggerKind::Schedule;
        let of_slot = by_schedule || request.trigger.kind == TriggerKind::Backfill;
        Self {
            name: run.name_any(),
            period: request.context.as_ref().and_then(|context| context.period.clone()),
            workflow_uid: label.or(pinned).map(Into::into),
            ours: false,
            slot: request.trigger.scheduled_time.as_ref().filter(|_| of_slot).map(|time| time.0),
            by_schedule,
            precreated: is_precreated(run),
            begun: ending.is_some() || status.is_some_and(|status| status.run_id.is_some()),
            standing: match status.and_then(|s| s.phase) {
                Some(RunPhase::Waiting) => Standing::Waiting,
                Some(RunPhase::Blocked) => Standing::Blocked,
                _ => Standing::UnderWay,
            },
            held: run.annotations().contains_key(labels::HOLD),
            created: run.metadata.creation_timestamp.as_ref().map(|time| time.0),
            ending,
            completed: status.and_then(|s| s.completion_time.as_ref()).map(|time| time.0),
        }
    }

    /// The same as the Workflow with this UID sees it.
    #[must_use]
    pub(crate) fn seen_by(&self, uid: &str) -> Self {
        Self { ours: self.workflow_uid.as_deref() == Some(uid), ..self.clone() }
    }

    /// A slot that it is for needs no other run.
    pub(crate) fn serves_its_slot(&self) -> bool {
        if self.by_schedule { self.ours } else { self.begun }
    }

    /// A person asks for this slot by it, and it has not begun: it may yet, or may be refused.
    pub(crate) fn asks_for(&self, slot: Timestamp) -> bool {
        self.slot == Some(slot) && !self.by_schedule && !self.begun
    }

    /// It is over and hinders nothing.
    pub(crate) fn ended(&self) -> bool {
        self.ending.is_some()
    }
}
