//! The slots of a Workflow and moments as people give them, for `ntro workflow next`, `get` and `backfill`.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use ntro_crds::{Workflow, names};
use ntro_schedule::slots::Slots;
use ntro_schedule::spec::{self, period_of, slots};
use ntro_schedule::zone;

use crate::error::{Failure, Result};

/// A Workflow with its slots.
#[derive(Debug)]
pub struct Schedule {
    /// The Workflow.
    pub workflow: Workflow,
    /// Its slots.
    pub slots: Slots,
    /// The zone its dates are in.
    pub zone: TimeZone,
    jitter: SignedDuration,
}

/// A slot to come.
#[derive(Debug)]
pub struct Fire {
    /// Name of the Workflow.
    pub workflow: String,
    /// The slot.
    pub slot: Timestamp,
    /// When its run starts.
    pub starts: Timestamp,
    /// The same in the schedule's zone.
    pub local: String,
    /// The accounting period.
    pub period: String,
}

impl Fire {
    /// Name of its run.
    pub fn run(&self) -> String {
        names::slot_run(&self.workflow, self.slot)
    }
}

impl Schedule {
    /// Reads the schedule of a Workflow, which is in `namespace` unless it says otherwise.
    pub fn of(workflow: Workflow, namespace: &str) -> Result<Self> {
        let name = workflow.name_any();
        let seed = spec::seed(workflow.namespace().as_deref().unwrap_or(namespace), &name);
        let invalid = |error: String| Failure::Invalid(format!("Workflow {name}: {error}"));
        if workflow.spec.schedule.is_some() && workflow.spec.schedules.is_some() {
            return Err(invalid("give schedule or schedules, not both".to_owned()));
        }
        let slots = slots(&workflow.spec, &seed).map_err(|e| invalid(e.to_string()))?;
        if slots.schedules.is_empty() {
            return Err(invalid("it has no schedule".to_owned()));
        }
        let zone = zone::parse(workflow.spec.time_zone.as_deref()).map_err(|e| invalid(e.to_string()))?;
        Ok(Self { jitter: spec::jitter(&workflow.spec, &seed), workflow, slots, zone })
    }

    /// A time in the schedule's zone.
    pub fn local(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string()
    }

    /// The accounting period of a slot.
    pub fn period(&self, slot: Timestamp) -> String {
        period_of(&self.workflow.spec, slot)
    }

    /// The first `count` slots whose runs start after a time that was asked for.
    pub fn after(&self, time: Timestamp, count: usize) -> Vec<Fire> {
        self.fires(self.clock(time), count)
    }

    /// The first `count` slots that will fire. As the operator has it, none fires that is no later than the moment the
    /// schedule was first seen as it is, or than the latest one that fired.
    pub fn to_come(&self, now: Timestamp, count: usize) -> Vec<Fire> {
        let status = self.workflow.status.as_ref();
        let observed = status.and_then(|status| status.schedule_observed.as_ref()).map(|observed| observed.time.0);
        let last = status.and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
        self.fires(observed.into_iter().chain(last).fold(self.clock(now), Timestamp::max), count)
    }

    /// The schedule's own clock runs late by the jitter.
    fn clock(&self, time: Timestamp) -> Timestamp {
        time.saturating_sub(self.jitter).unwrap_or(time)
    }

    fn fires(&self, after: Timestamp, count: usize) -> Vec<Fire> {
        let all = std::iter::successors(self.slots.next_after(after), |slot| self.slots.next_after(*slot));
        let fire = |slot: Timestamp| {
            let starts = slot.saturating_add(self.jitter).unwrap_or(slot);
            let (workflow, local) = (self.workflow.name_any(), self.local(starts));
            Fire { workflow, slot, starts, local, period: self.period(slot) }
        };
        all.take(count).map(fire).collect()
    }
}

/// A moment: RFC 3339, or a date, which begins in the schedule's zone.
pub fn instant(text: &str, zone: &TimeZone, flag: &str) -> Result<Timestamp> {
    let time = text.parse().ok().or_else(|| start(date(text)?, zone));
    time.ok_or_else(|| bad_moment(text, flag))
}

/// A last moment: RFC 3339, or a date, which counts to its end in the schedule's zone.
pub fn last_instant(text: &str, zone: &TimeZone, flag: &str) -> Result<Timestamp> {
    let Some(date) = date(text) else { return instant(text, zone, flag) };
    let next = date.tomorrow().ok().and_then(|next| start(next, zone));
    let end = next.and_then(|next| next.checked_sub(SignedDuration::from_nanos(1)).ok());
    end.ok_or_else(|| bad_moment(text, flag))
}

fn date(text: &str) -> Option<Date> {
    if text.len() == 10 { text.parse().ok() } else { None }
}

fn start(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    date.to_zoned(zone.clone()).ok().map(|start| start.timestamp())
}

fn bad_moment(text: &str, flag: &str) -> Failure {
    Failure::Usage(format!("{flag} {text}: give a date (2026-01-31) or a time (2026-01-31T08:00:00Z)"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn schedule(spec: &Value, status: &Value) -> Result<Schedule> {
        let mut whole = json!({"runbookRef": {"name": "nav"}, "entity": "spv1"});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let object = json!({"metadata": {"name": "nav"}, "spec": whole, "status": status});
        Schedule::of(serde_json::from_value(object).unwrap(), "acme")
    }

    fn slots(fires: &[Fire]) -> Vec<String> {
        fires.iter().map(|fire| fire.slot.to_string()).collect()
    }

    #[test]
    fn a_moment_is_a_time_or_the_start_of_a_day_in_the_schedules_zone() {
        let zone = TimeZone::get("Europe/London").unwrap();
        let of = |text: &str| instant(text, &zone, "--from").map(|time| time.to_string());
        assert_eq!(of("2026-07-01").unwrap(), "2026-06-30T23:00:00Z");
        assert_eq!(of("2026-07-01T08:00:00Z").unwrap(), "2026-07-01T08:00:00Z");
        assert!(of("July").unwrap_err().to_string().contains("--from July"));
        assert!(of("2026-02-30").is_err());
    }

    #[test]
    fn a_last_date_counts_to_its_end_in_the_schedules_zone() {
        let zone = TimeZone::get("Europe/London").unwrap();
        let of = |text: &str| last_instant(text, &zone, "--to").map(|time| time.to_string());
        assert_eq!(of("2026-06-30").unwrap(), "2026-06-30T22:59:59.999999999Z");
        assert_eq!(of("2026-06-30T08:00:00Z").unwrap(), "2026-06-30T08:00:00Z");
        assert!(of("June").unwrap_err().to_string().contains("--to June"));
        let daily = schedule(&json!({"schedule": "@daily", "timeZone": "Europe/London"}), &Value::Null).unwrap();
        let from = instant("2026-06-29", &zone, "--from").unwrap().saturating_sub(SignedDuration::from_nanos(1));
        let (due, _) = daily.slots.due(from.unwrap(), last_instant("2026-06-30", &zone, "--to").unwrap(), 10);
        assert_eq!(due.len(), 2, "the midnights that begin the 29th and the 30th, not that of 1 July: {due:?}");
    }

    #[test]
    fn nothing_fires_that_was_due_before_the_schedule_was_seen_or_before_its_latest_run() {
        let now = "2026-05-01T00:00:00Z".parse().unwrap();
        let of = |status: Value| slots(&schedule(&json!({"schedule": "0 8 5 * *"}), &status).unwrap().to_come(now, 1));
        assert_eq!(of(Value::Null), ["2026-05-05T08:00:00Z"]);
        assert_eq!(of(json!({"lastScheduleTime": "2026-05-05T08:00:00Z"})), ["2026-06-05T08:00:00Z"]);
        let observed = json!({"scheduleObserved": {"hash": "x", "time": "2026-06-06T00:00:00Z"}});
        assert_eq!(of(observed.clone()), ["2026-07-05T08:00:00Z"]);
        let asked = schedule(&json!({"schedule": "0 8 5 * *"}), &observed).unwrap();
        assert_eq!(slots(&asked.after(now, 1)), ["2026-05-05T08:00:00Z"]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let why = |spec: Value| schedule(&spec, &Value::Null).unwrap_err().to_string();
        assert!(why(json!({"schedule": "@daily", "schedules": ["@daily"]})).contains("not both"));
        assert!(why(json!({})).contains("no schedule"));
        let period = json!({"unit": "Day", "timeZone": "Mars/Base"});
        assert!(why(json!({"schedule": "@daily", "period": period})).contains("period.timeZone `Mars/Base`"));
    }
}
