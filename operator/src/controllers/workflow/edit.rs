//! What an edit of a schedule, or of what decides about its slots, does to slots. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use ntro_crds::SlotReason;
use ntro_crds::workflow::ScheduleObserved;
use ntro_crds::{Workflow, WorkflowStatus};

use super::decide::Skipped;
use super::validate;
use crate::cache::RunSummary;

/// Since when the schedule holds as it is: its last edit, which may be a while ago if nobody was there to see it. A Workflow
/// never seen before has its slots since its creation, whatever a former one of its name left in the status.
pub(super) fn observed(workflow: &Workflow, status: Option<&WorkflowStatus>, now: Timestamp) -> ScheduleObserved {
    let hash = validate::schedule_hash(&workflow.spec);
    let before = status.and_then(|status| status.schedule_observed.as_ref());
    let created = workflow.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let since = match before {
        Some(before) if before.time.0 < whole_seconds(created) => created,
        Some(before) if before.hash == hash => return before.clone(),
        Some(before) => last_edit(workflow).unwrap_or(now).min(now).max(before.time.0),
        None => created,
    };
    ScheduleObserved { hash, time: Time(whole_seconds(since)) }
}

/// When a Workflow itself, not its status, was last written.
fn last_edit(workflow: &Workflow) -> Option<Timestamp> {
    let writes = workflow.metadata.managed_fields.iter().flatten().filter(|write| write.subresource.is_none());
    writes.filter_map(|write| write.time.as_ref()).map(|time| time.0).max()
}

/// The slot that was due, or about to be, when an edit of the schedule took it away: what the status called next, unless it
/// was served since.
pub(super) fn taken_away(
    before: Option<&WorkflowStatus>,
    observed: &ScheduleObserved,
    jitter: SignedDuration,
    runs: &[RunSummary],
) -> Option<Skipped> {
    let before = before?;
    let known = before.schedule_observed.as_ref()?;
    let slot = before.next_schedule_time.as_ref()?.0.checked_sub(jitter).ok()?;
    let edited = known.hash != observed.hash && slot > known.time.0 && slot <= observed.time.0;
    let told = [before.last_schedule_time.as_ref(), before.missed.as_ref().map(|missed| &missed.time)];
    let served = runs.iter().any(|run| run.slot == Some(slot)) || told.into_iter().flatten().any(|time| time.0 >= slot);
    (edited && !served).then(|| Skipped::one(slot, SlotReason::ScheduleChanged))
}

/// The slots that waited under a schedule that cannot be read any more.
pub(super) fn dropped(before: Option<&WorkflowStatus>) -> Option<Skipped> {
    let waited: Vec<_> = before.and_then(|status| status.queued.as_deref()).unwrap_or_default().iter().collect();
    let latest = waited.iter().map(|queued| queued.time.0).max();
    let skipped = |latest| Skipped { count: waited.len(), ..Skipped::one(latest, SlotReason::ScheduleChanged) };
    latest.map(skipped)
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixtures::{at, run};
    use super::*;

    const CREATED: &str = "2026-11-01T00:00:00Z";

    fn workflow(schedule: &str, writes: &[(&str, Option<&str>)]) -> Workflow {
        let entry = |(time, subresource): &(&str, Option<&str>)| json!({"time": time, "subresource": subresource});
        let fields: Vec<Value> = writes.iter().map(entry).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "nav", "creationTimestamp": CREATED, "managedFields": fields},
            "spec": {"runbookRef": {"name": "nav"}, "entity": "spv1", "schedule": schedule},
        }))
        .unwrap()
    }

    /// The status after a pass over the schedule `0 8 * * *` that was seen at its creation.
    fn before() -> WorkflowStatus {
        WorkflowStatus {
            schedule_observed: Some(observed(&workflow("0 8 * * *", &[]), None, at("2026-11-01T00:00:05Z"))),
            next_schedule_time: Some(Time(at("2026-11-05T08:00:00Z"))),
            last_schedule_time: Some(Time(at("2026-11-04T08:00:00Z"))),
            ..WorkflowStatus::default()
        }
    }

    #[test]
    fn a_schedule_holds_since_its_last_edit_whenever_that_is_seen() {
        let since = |edited: &Workflow, now: &str| observed(edited, Some(&before()), at(now)).time.0;
        let edited =
            workflow("0 8 * * 1-5", &[("2026-11-05T07:59:58Z", None), ("2026-11-05T08:00:09Z", Some("status"))]);
        assert_eq!(since(&edited, "2026-11-05T08:10:00Z"), at("2026-11-05T07:59:58Z"), "an edit, not the look at it");
        assert_eq!(
            since(&workflow("0 8 * * *", &[("2026-11-05T07:59:58Z", None)]), "2026-11-05T08:10:00Z"),
            at(CREATED)
        );
        assert_eq!(
            since(&edited, "2026-11-05T07:00:00Z"),
            at("2026-11-05T07:00:00Z"),
            "the API server's clock is ahead"
        );
        assert_eq!(since(&workflow("0 9 * * *", &[]), "2026-11-05T08:10:00Z"), at("2026-11-05T08:10:00Z"), "no record");
        let old = workflow("0 9 * * *", &[("2026-10-05T07:59:58Z", None)]);
        assert_eq!(since(&old, "2026-11-05T08:10:00Z"), at(CREATED), "never earlier than before");
    }

    #[test]
    fn what_a_former_workflow_of_the_name_left_does_not_count() {
        let mut again = workflow("0 8 * * *", &[]);
        again.metadata.creation_timestamp = Some(Time(at("2026-11-05T09:00:00Z")));
        assert_eq!(observed(&again, Some(&before()), at("2026-11-05T09:00:01Z")).time.0, at("2026-11-05T09:00:00Z"));
    }

    #[test]
    fn a_slot_that_an_edit_took_away_is_told() {
        let slot = at("2026-11-05T08:00:00Z");
        let told = |edit: &str, jitter: i64, runs: &[RunSummary]| {
            let edited = workflow("0 9 * * *", &[(edit, None)]);
            let seen = observed(&edited, Some(&before()), at("2026-11-05T12:00:00Z"));
            taken_away(Some(&before()), &seen, SignedDuration::from_secs(jitter), runs)
        };
        let skipped = Some(Skipped::one(slot, SlotReason::ScheduleChanged));
        assert_eq!(told("2026-11-05T08:30:00Z", 0, &[]), skipped, "due, and waiting for its Runbook");
        assert_eq!(told("2026-11-05T07:30:00Z", 0, &[]), None, "not due yet");
        assert_eq!(
            told("2026-11-05T08:30:00Z", 0, &[run("nav-x", Some("2026-11-05T08:00:00Z"), "2026-10", None)]),
            None
        );
        let jittered = taken_away(
            Some(&WorkflowStatus { next_schedule_time: Some(Time(at("2026-11-05T08:40:00Z"))), ..before() }),
            &observed(
                &workflow("0 9 * * *", &[("2026-11-05T08:30:00Z", None)]),
                Some(&before()),
                at("2026-11-05T08:31:00Z"),
            ),
            SignedDuration::from_mins(40),
            &[],
        );
        assert_eq!(jittered, skipped, "its jitter was not over");
        let same = before().schedule_observed.unwrap();
        assert_eq!(taken_away(Some(&before()), &same, SignedDuration::ZERO, &[]), None, "no edit");
        assert_eq!(taken_away(None, &same, SignedDuration::ZERO, &[]), None);
    }
}
