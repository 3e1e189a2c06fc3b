//! A Workflow's spec as checked values. Pure.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use ntro_bundle::reference::Digest;
use ntro_crds::runbook::Resolved;
use ntro_crds::workflow::{ConcurrencyPolicy, MissedRunPolicy, PeriodUnit, WorkflowSpec};
use ntro_crds::{Runbook, Workflow};
use ntro_schedule::cron::{BadSchedule, Schedule};
use ntro_schedule::{period, zone};

use super::decide::{DEFAULT_DEADLINE, DEFAULT_HISTORY, Rules};
use crate::controllers::run::pin::{self, PinError};

/// The accounting period before the one the slot lies in.
const DEFAULT_OFFSET: i32 = -1;

/// Checks schedule and zone.
pub fn rules(spec: &WorkflowSpec) -> Result<Rules, BadSchedule> {
    let zone = spec.time_zone.as_deref();
    let texts = spec.schedule.iter().chain(spec.schedules.iter().flatten());
    let keep = |limit: Option<i32>| limit.map_or(DEFAULT_HISTORY, |n| usize::try_from(n).unwrap_or_default());
    Ok(Rules {
        schedules: texts.map(|text| Schedule::parse(text, zone)).collect::<Result<_, _>>()?,
        suspended: spec.suspend == Some(true),
        deadline: spec.starting_deadline_seconds.map_or(DEFAULT_DEADLINE, SignedDuration::from_secs),
        missed: spec.missed_run_policy.unwrap_or(MissedRunPolicy::RunLatest),
        concurrency: spec.concurrency_policy.unwrap_or(ConcurrencyPolicy::Forbid),
        keep_succeeded: keep(spec.successful_runs_history_limit),
        keep_failed: keep(spec.failed_runs_history_limit),
    })
}

/// Whether the spec has a schedule at all.
pub fn is_scheduled(spec: &WorkflowSpec) -> bool {
    spec.schedule.is_some() || spec.schedules.as_ref().is_some_and(|list| !list.is_empty())
}

/// Hash of what decides which slots there are: when it changes, the past no longer counts.
pub fn schedule_hash(spec: &WorkflowSpec) -> String {
    let said = serde_json::json!([spec.schedule, spec.schedules, spec.time_zone, spec.suspend == Some(true)]);
    Digest::of(said.to_string().as_bytes()).hex()[..32].to_owned()
}

/// The accounting period of a slot. The zone was checked with the schedule.
pub fn period_of(spec: &WorkflowSpec, slot: Timestamp) -> String {
    let zone = zone::parse(spec.time_zone.as_deref()).unwrap_or(TimeZone::UTC);
    let rule = spec.period.as_ref();
    let unit = match rule.map(|rule| rule.unit) {
        Some(PeriodUnit::Day) => period::Unit::Day,
        Some(PeriodUnit::Quarter) => period::Unit::Quarter,
        Some(PeriodUnit::Year) => period::Unit::Year,
        Some(PeriodUnit::Month) | None => period::Unit::Month,
    };
    let offset = rule.and_then(|rule| rule.offset).unwrap_or(DEFAULT_OFFSET);
    // The schema bounds the offset to a thousand periods, which no date of this millennium leaves the calendar by.
    period::of(slot, &zone, unit, offset).unwrap_or_default()
}

/// The runbook's version a run would take now, if the Workflow could start one: everything but the slot.
pub fn runnable(workflow: &Workflow, runbook: Option<&Runbook>, image: Option<&str>) -> Result<Resolved, PinError> {
    let version = pin::version(workflow, runbook)?;
    pin::config(workflow, version, None)?;
    pin::check_gate_policy(workflow, version)?;
    pin::image(workflow, image)?;
    Ok(Resolved { version: version.version.clone(), digest: version.digest.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: serde_json::Value) -> WorkflowSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let it = spec(serde_json::json!({"runbookRef": {"name": "nav"}, "entity": "spv1", "schedule": "0 8 5 * *"}));
        let rules = rules(&it).unwrap();
        assert_eq!((rules.deadline, rules.missed), (DEFAULT_DEADLINE, MissedRunPolicy::RunLatest));
        assert_eq!((rules.concurrency, rules.keep_failed), (ConcurrencyPolicy::Forbid, DEFAULT_HISTORY));
        let slot = "2026-11-05T08:00:00Z".parse().unwrap();
        assert_eq!(period_of(&it, slot), "2026-10");
    }

    #[test]
    fn the_hash_follows_what_decides_about_slots_and_nothing_else() {
        let base = serde_json::json!({"runbookRef": {"name": "nav"}, "entity": "spv1", "schedule": "0 8 5 * *"});
        let with = |key: &str, value: serde_json::Value| {
            let mut changed = base.clone();
            changed[key] = value;
            schedule_hash(&spec(changed))
        };
        let plain = schedule_hash(&spec(base.clone()));
        assert_eq!(plain, with("suspend", false.into()));
        assert_eq!(plain, with("config", serde_json::json!({"a": 1})));
        for (key, value) in
            [("schedule", "0 9 5 * *".into()), ("timeZone", "Europe/London".into()), ("suspend", true.into())]
        {
            assert_ne!(plain, with(key, value), "{key}");
        }
    }

    #[test]
    fn a_bad_schedule_is_pointed_at() {
        let it = spec(serde_json::json!({"runbookRef": {"name": "nav"}, "entity": "spv1", "schedule": "61 8 5 * *"}));
        let message = rules(&it).unwrap_err().to_string();
        assert!(message.contains("minute") && message.contains("61"), "{message}");
    }
}
