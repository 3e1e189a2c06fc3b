//! What of a `WorkflowRun` matters to its Workflow. Pure.

use jiff::Timestamp;
use kube::ResourceExt;
use ntro_crds::labels;
use ntro_crds::workflow_run::{Phase, TriggerKind, WorkflowRun};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Succeeded,
    /// By its code.
    Failed,
    /// By a person.
    Cancelled,
    /// It had been executed before and is not executed again.
    AlreadyRan,
}

/// A run of a Workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFact {
    /// Its name.
    pub name: String,
    /// Its accounting period.
    pub period: Option<String>,
    /// Made by this very Workflow, not by a former one of its name.
    pub ours: bool,
    /// The slot, if the schedule made it.
    pub slot: Option<Timestamp>,
    /// When the object was made.
    pub created: Option<Timestamp>,
    /// How it ended, if it has.
    pub ending: Option<Ending>,
    /// When it ended.
    pub completed: Option<Timestamp>,
}

impl RunFact {
    /// Reads a run; `uid` is the Workflow's.
    pub fn of(run: &WorkflowRun, uid: &str) -> Self {
        let request = &run.spec.request;
        let status = run.status.as_ref();
        let already_ran = status.and_then(|s| s.blocked.as_ref()).is_some_and(|blocked| blocked.code == "AlreadyRan");
        let ending = match status.and_then(|s| s.phase) {
            Some(Phase::Succeeded) => Some(Ending::Succeeded),
            Some(Phase::Failed) => Some(Ending::Failed),
            Some(Phase::Cancelled) => Some(Ending::Cancelled),
            Some(Phase::Blocked) if already_ran => Some(Ending::AlreadyRan),
            _ => None,
        };
        let scheduled = request.trigger.kind == TriggerKind::Schedule;
        Self {
            name: run.name_any(),
            period: request.context.as_ref().and_then(|context| context.period.clone()),
            ours: run.labels().get(labels::WORKFLOW_UID).is_some_and(|label| label == uid),
            slot: request.trigger.scheduled_time.as_ref().filter(|_| scheduled).map(|time| time.0),
            created: run.metadata.creation_timestamp.as_ref().map(|time| time.0),
            ending,
            completed: status.and_then(|s| s.completion_time.as_ref()).map(|time| time.0),
        }
    }

    /// It is over and hinders nothing.
    pub fn ended(&self) -> bool {
        self.ending.is_some()
    }
}
