//! What may be asked for: checks of a run's request against its Workflow. Pure.

use std::time::Duration;

use jiff::Timestamp;
use ntro_bundle::reference::Digest;
use ntro_crds::Reason;
use ntro_crds::Workflow;
use ntro_crds::workflow_run::{Request, TriggerKind};
use ntro_schedule::period;
use ntro_schedule::spec::{self, period_of, seed_of, slots};

use crate::error::{Class, Problem, left};

/// A slot is waited for no longer than this at a time: sleeps run by another clock than slots.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// Refuses what is not due, is not of the schedule, or is for another period than it says.
pub(super) fn check(workflow: &Workflow, request: &Request, now: Timestamp) -> Result<(), Problem> {
    if request.trigger.kind == TriggerKind::Backfill {
        check_slot(workflow, request)?;
    }
    check_due(request, now)?;
    check_period(workflow, request, now)
}

/// Hash of what was asked for: tells the same wish from another under the same name.
pub(super) fn hash(request: &Request, entity: &str) -> String {
    let text = serde_json::to_vec(&(request, entity)).unwrap_or_default();
    Digest::of(&text).hex().to_owned()
}

/// The slot of a request that a schedule made, in seconds.
pub(super) fn slot(request: &Request) -> Option<String> {
    let scheduled = matches!(request.trigger.kind, TriggerKind::Schedule | TriggerKind::Backfill);
    request
        .trigger
        .scheduled_time
        .as_ref()
        .filter(|_| scheduled)
        .map(|time| time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// No run begins before its slot, whatever objects there are.
fn check_due(request: &Request, now: Timestamp) -> Result<(), Problem> {
    let Some(slot) = request.trigger.scheduled_time.as_ref().map(|time| time.0).filter(|slot| *slot > now) else {
        return Ok(());
    };
    let after = left(slot, now).clamp(Duration::from_millis(10), LONGEST_WAIT);
    let message = format!("the slot {slot} is not due yet");
    Err(Problem { class: Class::Waiting { after }, reason: Reason::SlotNotDue, message })
}

/// A person may ask for slots of the schedule as it is, for the period they stand for.
fn check_slot(workflow: &Workflow, request: &Request) -> Result<(), Problem> {
    let invalid = |reason, message| Err(Problem { class: Class::Invalid, reason, message });
    let slots = slots(&workflow.spec, &seed_of(workflow)).map_err(|bad| Problem {
        class: Class::Invalid,
        reason: Reason::ScheduleInvalid,
        message: bad.to_string(),
    })?;
    let Some(slot) = request.trigger.scheduled_time.as_ref().map(|time| time.0).filter(|slot| slots.has(*slot)) else {
        let asked = request.trigger.scheduled_time.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
        let message = format!(
            "invalid scheduled time {asked}: not a slot of the schedule; `ntro workflow backfill --dry-run` lists them"
        );
        return invalid(Reason::NotASlot, message);
    };
    let period = period_of(&workflow.spec, slot);
    let asked = request.context.as_ref().and_then(|context| context.period.as_deref());
    if asked != Some(period.as_str()) {
        let message = format!("slot {slot} belongs to period {period}; set context.period to {period}");
        return invalid(Reason::PeriodMismatch, message);
    }
    Ok(())
}

/// A period of the length that the Workflow says, if it says one: under another name the same month could be closed twice.
fn check_period(workflow: &Workflow, request: &Request, now: Timestamp) -> Result<(), Problem> {
    let Some(asked) = request.context.as_ref().and_then(|context| context.period.as_deref()) else { return Ok(()) };
    let wanted = workflow.spec.period.as_ref().map(|rule| spec::unit(rule.unit));
    let message = match period::unit_of(asked) {
        None => format!("invalid context.period {asked}: use 2026-10-31, 2026-10, 2026-Q4 or 2026"),
        Some(unit) if wanted.is_some_and(|wanted| wanted != unit) => {
            let example = period_of(&workflow.spec, now);
            format!("invalid context.period {asked}: spec.period of the Workflow wants one like {example}")
        }
        Some(_) => return Ok(()),
    };
    Err(Problem { class: Class::Invalid, reason: Reason::PeriodInvalid, message })
}
