//! Which Events a change of a Workflow's status is worth. Pure.

use kube::runtime::events::EventType;
use ntro_crds::WorkflowStatus;
use ntro_crds::conditions;
use ntro_crds::workflow::QueuedSlot;
use ntro_crds::{Reason, SlotReason};

use super::decide::{EARLIER_SLOT, Skipped};

/// An Event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkflowEvent {
    pub kind: EventType,
    pub reason: String,
    /// One sentence.
    pub note: String,
    /// It is about a slot: never counted as a repetition of one with the same reason, which was about another slot.
    pub unaggregated: bool,
}

/// What a change of the status is worth: slots that gave no run, slots that wait, and a Ready that changed.
pub(super) fn events(
    previous: Option<&WorkflowStatus>,
    next: &WorkflowStatus,
    skipped: &[Skipped],
) -> Vec<WorkflowEvent> {
    let mut events = Vec::new();
    for Skipped { count, latest, reason, period, held_by } in skipped {
        let slots = if *count == 1 { "skipped slot".to_owned() } else { format!("skipped {count} slots up to") };
        let period = period.as_ref().map(|period| format!(" for {period}")).unwrap_or_default();
        let note = format!("{slots} {latest}{period}: {}", explained(*reason, held_by.as_deref()));
        events.push(WorkflowEvent {
            kind: EventType::Warning,
            reason: reason.as_str().to_owned(),
            note,
            unaggregated: true,
        });
    }
    let known = previous.and_then(|p| p.queued.as_deref()).unwrap_or_default();
    let new = next.queued.iter().flatten().filter(|slot| known.iter().all(|known| known.time != slot.time));
    for QueuedSlot { time, period, held_by, reason } in new {
        let why =
            SlotReason::try_from(reason.as_str()).map_or_else(|_| reason.clone(), |it| explained(it, Some(held_by)));
        let note = format!("queued slot {} for {period}: {why}", time.0);
        events.push(WorkflowEvent {
            kind: EventType::Normal,
            reason: Reason::Queued.as_str().to_owned(),
            note,
            unaggregated: true,
        });
    }
    let ready = |status: &WorkflowStatus| {
        let condition = status.conditions.iter().flatten().find(|c| c.type_ == conditions::READY).cloned();
        condition.map(|c| (c.status, c.reason, c.message))
    };
    let (before, after) = (previous.and_then(ready), ready(next));
    if let Some((status, reason, note)) =
        after.filter(|after| before.as_ref().map(|b| (&b.0, &b.1)) != Some((&after.0, &after.1)))
    {
        // What only waits for something else is no cause for worry.
        let stalled = next.conditions.iter().flatten().any(|c| c.type_ == conditions::STALLED);
        let kind = if status == "True" || !stalled { EventType::Normal } else { EventType::Warning };
        events.push(WorkflowEvent { kind, reason, note, unaggregated: false });
    }
    events
}

/// A reason in words; `held_by` is the run it is about.
fn explained(reason: SlotReason, held_by: Option<&str>) -> String {
    let run = match held_by {
        None | Some(EARLIER_SLOT) => format!("{EARLIER_SLOT} of the same period"),
        Some(run) => format!("run {run} of the same period"),
    };
    match reason {
        SlotReason::DeadlineExceeded => "not started within startingDeadlineSeconds".to_owned(),
        SlotReason::LaterSlotDue => "a later slot was due as well".to_owned(),
        SlotReason::MissedRunPolicySkip => "missed, and missedRunPolicy is Skip".to_owned(),
        SlotReason::RunUnfinished => format!("{run} is unfinished"),
        SlotReason::RunWaiting => format!("{run} is waiting for a gate, timer or signal"),
        SlotReason::RunBlocked => format!("{run} is blocked until a person retries or cancels it"),
        SlotReason::Replacing => format!("{run} is being cancelled"),
        SlotReason::NotStarted => "not started yet: see condition Ready".to_owned(),
        SlotReason::ClockSetBack => "was due, and the clock has been set back since".to_owned(),
        SlotReason::QueueFull => format!("{run} is unfinished, and the queue is full (maxQueuedRuns)"),
        SlotReason::ScheduleChanged => "the schedule was edited or suspended while it waited".to_owned(),
        SlotReason::NameTaken => "a run that does not belong to this Workflow has its name".to_owned(),
    }
}
