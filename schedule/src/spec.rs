//! Slots, jitter and periods of a Workflow, from its spec.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use ntro_crds::Workflow;
use ntro_crds::workflow::{PeriodUnit, Weekday, WorkflowSpec};
use thiserror::Error;

use crate::calendar::{BadCalendar, Calendar};
use crate::cron::{BadSchedule, Schedule};
use crate::slots::Slots;
use crate::zone::UnknownZone;
use crate::{jitter, period, zone};

/// The period before the one that contains the slot.
const DEFAULT_OFFSET: i32 = -1;

/// Why a spec cannot be scheduled. Messages begin with the field of the spec.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum BadSpec {
    /// `schedule`, `schedules` or `timeZone` is invalid.
    #[error(transparent)]
    Schedule(#[from] BadSchedule),
    #[error("calendar.{0}")]
    Calendar(#[from] BadCalendar),
    #[error(
        "schedule never fires: none of its times falls on an allowed date of the calendar between notBefore and notAfter"
    )]
    Never,
    #[error("period.timeZone {0}")]
    PeriodZone(UnknownZone),
}

/// The slots of a spec, none without a schedule; `seed` is [`seed_of`] its Workflow. Checks everything that a slot depends
/// on, so that [`period_of`] cannot fail afterwards.
pub fn slots(spec: &WorkflowSpec, seed: &str) -> Result<Slots, BadSpec> {
    check_period(spec)?;
    let zone = spec.time_zone.as_deref();
    let texts = spec.schedule.iter().chain(spec.schedules.iter().flatten());
    let slots = Slots {
        schedules: texts.map(|text| Schedule::parse(text, zone, seed)).collect::<Result<_, _>>()?,
        calendar: calendar(spec)?,
        not_before: spec.not_before.as_ref().map(|time| time.0),
        not_after: spec.not_after.as_ref().map(|time| time.0),
    };
    let never = !slots.schedules.is_empty() && slots.next_after(Timestamp::UNIX_EPOCH).is_none();
    if never { Err(BadSpec::Never) } else { Ok(slots) }
}

fn calendar(spec: &WorkflowSpec) -> Result<Calendar, BadCalendar> {
    let Some(calendar) = &spec.calendar else { return Ok(Calendar::default()) };
    let weekend: Option<Vec<_>> = calendar.weekend.as_ref().map(|days| days.iter().map(|day| weekday(*day)).collect());
    Calendar::parse(
        calendar.exclude_dates.as_deref().unwrap_or_default(),
        calendar.holidays.as_deref().unwrap_or_default(),
        weekend.as_deref(),
        calendar.business_days.as_deref().unwrap_or_default(),
    )
}

fn weekday(day: Weekday) -> jiff::civil::Weekday {
    use jiff::civil::Weekday as Day;
    match day {
        Weekday::Monday => Day::Monday,
        Weekday::Tuesday => Day::Tuesday,
        Weekday::Wednesday => Day::Wednesday,
        Weekday::Thursday => Day::Thursday,
        Weekday::Friday => Day::Friday,
        Weekday::Saturday => Day::Saturday,
        Weekday::Sunday => Day::Sunday,
    }
}

/// What the hashed fields (`H`) and the jitter of a Workflow follow from.
pub fn seed(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// The [`seed`] of a Workflow.
pub fn seed_of(workflow: &Workflow) -> String {
    let metadata = &workflow.metadata;
    seed(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// How much later than its slot each run of a Workflow is due.
pub fn jitter_of(workflow: &Workflow) -> SignedDuration {
    jitter(&workflow.spec, &seed_of(workflow))
}

/// [`jitter_of`] a Workflow by its spec and seed.
pub fn jitter(spec: &WorkflowSpec, seed: &str) -> SignedDuration {
    jitter::of(seed, SignedDuration::from_secs(spec.jitter_seconds.unwrap_or_default()))
}

fn check_period(spec: &WorkflowSpec) -> Result<(), BadSpec> {
    let name = spec.period.as_ref().and_then(|period| period.time_zone.as_deref());
    name.map_or(Ok(()), |name| zone::parse(Some(name)).map(|_| ()).map_err(BadSpec::PeriodZone))
}

/// The unit of a period, as the spec names it.
pub fn unit(unit: PeriodUnit) -> period::Unit {
    match unit {
        PeriodUnit::Day => period::Unit::Day,
        PeriodUnit::Month => period::Unit::Month,
        PeriodUnit::Quarter => period::Unit::Quarter,
        PeriodUnit::Year => period::Unit::Year,
    }
}

/// The accounting period of a slot, for a spec that [`slots`] accepts.
pub fn period_of(spec: &WorkflowSpec, slot: Timestamp) -> String {
    let rule = spec.period.as_ref();
    let name = rule.and_then(|rule| rule.time_zone.as_deref()).or(spec.time_zone.as_deref());
    let zone = zone::parse(name).unwrap_or(TimeZone::UTC);
    let unit = rule.map_or(period::Unit::Month, |rule| unit(rule.unit));
    let offset = rule.and_then(|rule| rule.offset).unwrap_or(DEFAULT_OFFSET);
    // The schema bounds the offset to a thousand periods, which no date of this millennium leaves the calendar by.
    period::of(slot, &zone, unit, offset).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: serde_json::Value) -> WorkflowSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_period_is_the_month_before_by_default() {
        let it = spec(serde_json::json!({"runbookRef": {"name": "nav"}, "entity": "spv1", "schedule": "0 8 5 * *"}));
        assert_eq!(period_of(&it, "2026-11-05T08:00:00Z".parse().unwrap()), "2026-10");
    }

    #[test]
    fn no_slot_without_a_zone_to_name_its_period_in() {
        let it = spec(serde_json::json!({
            "runbookRef": {"name": "nav"}, "entity": "spv1", "schedule": "@daily",
            "period": {"unit": "Day", "timeZone": "Mars/Base"},
        }));
        assert!(matches!(slots(&it, "acme/nav"), Err(BadSpec::PeriodZone(_))));
    }

    #[test]
    fn the_period_is_that_of_its_own_zone() {
        let mut value = serde_json::json!({
            "runbookRef": {"name": "nav"}, "entity": "spv1", "schedule": "0 1 1 * *", "period": {"unit": "Month", "offset": 0},
        });
        let slot = "2026-11-01T01:00:00Z".parse().unwrap();
        assert_eq!(period_of(&spec(value.clone()), slot), "2026-11");
        value["period"]["timeZone"] = "America/New_York".into();
        assert_eq!(period_of(&spec(value), slot), "2026-10");
    }
}
