//! The slots of a Workflow, and times as people give them.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use ntro_crds::{Workflow, names};
use ntro_schedule::slots::Slots;
use ntro_schedule::spec::{self, period_of, slots};
use ntro_schedule::zone;

use crate::error::{Failure, Result};

#[derive(Debug)]
pub(crate) struct WorkflowSchedule {
    pub(crate) workflow: Workflow,
    pub(crate) slots: Slots,
    pub(crate) zone: TimeZone,
    jitter: SignedDuration,
}

#[derive(Debug)]
pub(crate) struct UpcomingRun {
    pub(crate) workflow: String,
    pub(crate) slot: Timestamp,
    /// The slot and the jitter.
    pub(crate) starts: Timestamp,
    /// `starts` in the schedule's zone.
    pub(crate) local: String,
    pub(crate) period: String,
}

impl UpcomingRun {
    pub(crate) fn name(&self) -> String {
        names::slot_run(&self.workflow, self.slot)
    }
}

impl WorkflowSchedule {
    /// `namespace` is that of a manifest that names none.
    pub(crate) fn new(workflow: Workflow, namespace: &str) -> Result<Self> {
        let name = workflow.name_any();
        let seed = spec::seed(workflow.namespace().as_deref().unwrap_or(namespace), &name);
        let invalid = |error: String| Failure::Invalid(format!("invalid schedule of Workflow `{name}`: {error}"));
        if workflow.spec.schedule.is_some() && workflow.spec.schedules.is_some() {
            return Err(invalid("set schedule or schedules, not both".to_owned()));
        }
        let slots = slots(&workflow.spec, &seed).map_err(|e| invalid(e.to_string()))?;
        if slots.schedules.is_empty() {
            return Err(Failure::Invalid(format!("Workflow `{name}` has no schedule")));
        }
        let zone = zone::parse(workflow.spec.time_zone.as_deref()).map_err(|e| invalid(e.to_string()))?;
        Ok(Self { jitter: spec::jitter(&workflow.spec, &seed), workflow, slots, zone })
    }

    /// A time in the schedule's zone, for people.
    pub(crate) fn local(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string()
    }

    pub(crate) fn period(&self, slot: Timestamp) -> String {
        period_of(&self.workflow.spec, slot)
    }

    /// The first `count` runs that start after `time`, whatever has been started.
    pub(crate) fn after(&self, time: Timestamp, count: usize) -> Vec<UpcomingRun> {
        self.runs(self.without_jitter(time), count)
    }

    /// The next `count` runs. Like the operator, this skips slots up to the time of the schedule's last edit and up to the
    /// latest slot that was decided.
    pub(crate) fn upcoming(&self, now: Timestamp, count: usize) -> Vec<UpcomingRun> {
        let status = self.workflow.status.as_ref();
        let observed = status.and_then(|status| status.schedule_observed.as_ref()).map(|observed| observed.time.0);
        let last = status.and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
        self.runs(observed.into_iter().chain(last).fold(self.without_jitter(now), Timestamp::max), count)
    }

    /// A run that starts at `time` has this slot.
    fn without_jitter(&self, time: Timestamp) -> Timestamp {
        time.saturating_sub(self.jitter).unwrap_or(time)
    }

    fn runs(&self, after: Timestamp, count: usize) -> Vec<UpcomingRun> {
        let all = std::iter::successors(self.slots.next_after(after), |slot| self.slots.next_after(*slot));
        let upcoming = |slot: Timestamp| {
            let starts = slot.saturating_add(self.jitter).unwrap_or(slot);
            let (workflow, local) = (self.workflow.name_any(), self.local(starts));
            UpcomingRun { workflow, slot, starts, local, period: self.period(slot) }
        };
        all.take(count).map(upcoming).collect()
    }
}

/// RFC 3339, or a date, which counts from its start in the schedule's zone.
pub(crate) fn parse_start(text: &str, zone: &TimeZone, flag: &str) -> Result<Timestamp> {
    let time = text.parse().ok().or_else(|| start_of(date(text)?, zone));
    time.ok_or_else(|| invalid_time(text, flag))
}

/// RFC 3339, or a date, which counts to its end in the schedule's zone.
pub(crate) fn parse_end(text: &str, zone: &TimeZone, flag: &str) -> Result<Timestamp> {
    let Some(date) = date(text) else { return parse_start(text, zone, flag) };
    let next = date.tomorrow().ok().and_then(|next| start_of(next, zone));
    let end = next.and_then(|next| next.checked_sub(SignedDuration::from_nanos(1)).ok());
    end.ok_or_else(|| invalid_time(text, flag))
}

fn date(text: &str) -> Option<Date> {
    if text.len() == 10 { text.parse().ok() } else { None }
}

fn start_of(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    date.to_zoned(zone.clone()).ok().map(|start| start.timestamp())
}

fn invalid_time(text: &str, flag: &str) -> Failure {
    Failure::Usage(format!("{flag}: invalid time `{text}`, use a date (2026-01-31) or a time (2026-01-31T08:00:00Z)"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn schedule(spec: &Value, status: &Value) -> Result<WorkflowSchedule> {
        let mut whole = json!({"runbookRef": {"name": "nav"}, "entity": "spv1"});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let object = json!({"metadata": {"name": "nav"}, "spec": whole, "status": status});
        WorkflowSchedule::new(serde_json::from_value(object).unwrap(), "acme")
    }

    fn slots(runs: &[UpcomingRun]) -> Vec<String> {
        runs.iter().map(|run| run.slot.to_string()).collect()
    }

    #[test]
    fn a_start_is_a_time_or_the_start_of_a_day_in_the_schedules_zone() {
        let zone = TimeZone::get("Europe/London").unwrap();
        let of = |text: &str| parse_start(text, &zone, "--from").map(|time| time.to_string());
        assert_eq!(of("2026-07-01").unwrap(), "2026-06-30T23:00:00Z");
        assert_eq!(of("2026-07-01T08:00:00Z").unwrap(), "2026-07-01T08:00:00Z");
        assert!(of("July").unwrap_err().to_string().contains("--from: invalid time `July`"));
        assert!(of("2026-02-30").is_err());
    }

    #[test]
    fn a_date_as_the_end_counts_to_its_end_in_the_schedules_zone() {
        let zone = TimeZone::get("Europe/London").unwrap();
        let of = |text: &str| parse_end(text, &zone, "--to").map(|time| time.to_string());
        assert_eq!(of("2026-06-30").unwrap(), "2026-06-30T22:59:59.999999999Z");
        assert_eq!(of("2026-06-30T08:00:00Z").unwrap(), "2026-06-30T08:00:00Z");
        assert!(of("June").unwrap_err().to_string().contains("--to: invalid time `June`"));
        let daily = schedule(&json!({"schedule": "@daily", "timeZone": "Europe/London"}), &Value::Null).unwrap();
        let from = parse_start("2026-06-29", &zone, "--from").unwrap().saturating_sub(SignedDuration::from_nanos(1));
        let (due, _) = daily.slots.due(from.unwrap(), parse_end("2026-06-30", &zone, "--to").unwrap(), 10);
        assert_eq!(due.len(), 2, "the midnights that begin the 29th and the 30th, not that of 1 July: {due:?}");
    }

    #[test]
    fn no_run_is_upcoming_from_before_the_edit_of_the_schedule_or_its_latest_slot() {
        let now = "2026-05-01T00:00:00Z".parse().unwrap();
        let of = |status: Value| slots(&schedule(&json!({"schedule": "0 8 5 * *"}), &status).unwrap().upcoming(now, 1));
        assert_eq!(of(Value::Null), ["2026-05-05T08:00:00Z"]);
        assert_eq!(of(json!({"lastScheduleTime": "2026-05-05T08:00:00Z"})), ["2026-06-05T08:00:00Z"]);
        let observed = json!({"scheduleObserved": {"hash": "x", "time": "2026-06-06T00:00:00Z"}});
        assert_eq!(of(observed.clone()), ["2026-07-05T08:00:00Z"]);
        let asked = schedule(&json!({"schedule": "0 8 5 * *"}), &observed).unwrap();
        assert_eq!(slots(&asked.after(now, 1)), ["2026-05-05T08:00:00Z"]);
    }

    #[test]
    fn a_contradictory_spec_is_refused() {
        let why = |spec: Value| schedule(&spec, &Value::Null).unwrap_err().to_string();
        assert!(why(json!({"schedule": "@daily", "schedules": ["@daily"]})).contains("not both"));
        assert!(why(json!({})).contains("no schedule"));
        let period = json!({"unit": "Day", "timeZone": "Mars/Base"});
        assert!(why(json!({"schedule": "@daily", "period": period})).contains("period.timeZone `Mars/Base`"));
    }
}
