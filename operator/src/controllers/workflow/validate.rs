//! A Workflow's spec as checked values. Pure.

use jiff::SignedDuration;
use ntro_bundle::reference::Digest;
use ntro_crds::Reason;
use ntro_crds::runbook::Resolved;
use ntro_crds::workflow::{ConcurrencyPolicy, MissedRunPolicy, WorkflowSpec};
use ntro_crds::{Runbook, Workflow};
use ntro_schedule::spec::{self, BadSpec, seed_of, slots};

use super::decide::{Concurrency, DEFAULT_DEADLINE, Missed, Rules};
use super::history::{DEFAULT_HISTORY, Keep};
use super::observe::Observed;
use super::precreate;
use crate::error::{Classified, Problem};
use crate::launch::pin::{self, PinError};

/// Missed slots that `All` starts, and slots that `Queue` lets wait, if the spec does not say.
const DEFAULT_MANY: usize = 10;

/// A Workflow, checked.
pub(super) struct Validated {
    /// Whether the spec has a schedule at all.
    pub scheduled: bool,
    /// The schedule and its rules.
    pub rules: Result<Rules, Problem>,
    /// The version the next run would take, or why none could be started.
    pub runnable: Result<Resolved, Problem>,
}

/// Checks a Workflow. `image` is the installation's runner image.
pub(super) fn validate(observed: &Observed, image: Option<&str>) -> Validated {
    let workflow = &observed.workflow;
    let rules = rules(&workflow.spec, &seed_of(workflow));
    Validated {
        scheduled: is_scheduled(&workflow.spec),
        rules: rules.map_err(|bad| Problem::invalid(Reason::ScheduleInvalid, bad.to_string())),
        runnable: runnable(workflow, observed.runbook.as_deref(), image).map_err(|error| error.problem()),
    }
}

/// Checks everything about slots. `seed` is `namespace/name` of the Workflow.
fn rules(spec: &WorkflowSpec, seed: &str) -> Result<Rules, BadSpec> {
    let keep = |limit: Option<i32>| limit.map_or(DEFAULT_HISTORY, |n| usize::try_from(n).unwrap_or_default());
    let many = |limit: Option<i32>| limit.map_or(DEFAULT_MANY, |n| usize::try_from(n).unwrap_or(1).max(1));
    Ok(Rules {
        slots: slots(spec, seed)?,
        jitter: spec::jitter(spec, seed),
        lead: precreate::lead(seed),
        suspended: spec.suspend == Some(true),
        deadline: spec.starting_deadline_seconds.map_or(DEFAULT_DEADLINE, SignedDuration::from_secs),
        missed: match spec.missed_run_policy {
            Some(MissedRunPolicy::Skip) => Missed::Skip,
            Some(MissedRunPolicy::All) => Missed::Latest(many(spec.max_missed_runs)),
            Some(MissedRunPolicy::Latest) | None => Missed::Latest(1),
        },
        concurrency: match spec.concurrency_policy {
            Some(ConcurrencyPolicy::Allow) => Concurrency::Allow,
            Some(ConcurrencyPolicy::Replace) => Concurrency::Replace,
            Some(ConcurrencyPolicy::Queue) => Concurrency::Queue(many(spec.max_queued_runs)),
            Some(ConcurrencyPolicy::Forbid) | None => Concurrency::Forbid,
        },
        keep: Keep {
            succeeded: keep(spec.successful_runs_history_limit),
            failed: keep(spec.failed_runs_history_limit),
            ttl: spec.ttl_seconds_after_finished.map(SignedDuration::from_secs),
        },
    })
}

fn is_scheduled(spec: &WorkflowSpec) -> bool {
    spec.schedule.is_some() || spec.schedules.as_ref().is_some_and(|list| !list.is_empty())
}

/// Hash of what decides which slots there are: when it changes, the past no longer counts.
pub(super) fn schedule_hash(spec: &WorkflowSpec) -> String {
    let mut said = serde_json::json!([spec.schedule, spec.schedules, spec.time_zone, spec.suspend == Some(true)]);
    // Left out where nothing is said, so that a release that learns a field does not take every schedule for edited.
    let later = [
        ("calendar", spec.calendar.as_ref().map(|calendar| serde_json::json!(calendar))),
        ("notBefore", spec.not_before.as_ref().map(|time| serde_json::json!(time))),
        ("notAfter", spec.not_after.as_ref().map(|time| serde_json::json!(time))),
    ];
    if let Some(list) = said.as_array_mut() {
        list.extend(later.into_iter().filter_map(|(field, value)| Some(serde_json::json!({ field: value? }))));
    }
    Digest::of(said.to_string().as_bytes()).hex()[..32].to_owned()
}

/// The runbook's version a run would take now, if the Workflow could start one: everything but the slot.
fn runnable(workflow: &Workflow, runbook: Option<&Runbook>, image: Option<&str>) -> Result<Resolved, PinError> {
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
        let rules = rules(&it, "acme/nav").unwrap();
        assert_eq!((rules.deadline, rules.missed), (DEFAULT_DEADLINE, Missed::Latest(1)));
        assert_eq!((rules.concurrency, rules.keep), (Concurrency::Forbid, Keep::default()));
        assert_eq!(rules.jitter, SignedDuration::ZERO);
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
        for (key, value) in [
            ("schedule", "0 9 5 * *".into()),
            ("timeZone", "Europe/London".into()),
            ("suspend", true.into()),
            ("calendar", serde_json::json!({"excludeDates": ["2026-12-25"]})),
            ("notBefore", "2026-12-01T00:00:00Z".into()),
            ("notAfter", "2026-12-01T00:00:00Z".into()),
        ] {
            assert_ne!(plain, with(key, value), "{key}");
        }
        let bound = "2026-12-01T00:00:00Z";
        assert_ne!(with("notBefore", bound.into()), with("notAfter", bound.into()));
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let table = [
            (serde_json::json!({"schedule": "61 8 5 * *"}), "character 1, minute: 61"),
            (serde_json::json!({"schedule": "0 8 5 * *", "timeZone": "Europe/Lunnon"}), "timeZone `Europe/Lunnon`"),
            (serde_json::json!({"schedules": ["0 8 5 * *", "0 8 * *"]}), "has 4 fields"),
            (
                serde_json::json!({"schedule": "@daily", "calendar": {"businessDays": [1], "holidays": ["2026-13-01"]}}),
                "calendar.holidays[0]",
            ),
            (serde_json::json!({"schedule": "@daily", "calendar": {"weekend": ["Friday"]}}), "without businessDays"),
            (serde_json::json!({"schedule": "0 8 1 * *", "calendar": {"businessDays": [23]}}), "never fires"),
            (
                serde_json::json!({"schedule": "@daily", "period": {"unit": "Day", "timeZone": "Mars"}}),
                "period.timeZone `Mars`",
            ),
        ];
        for (more, message) in table {
            let mut value = serde_json::json!({"runbookRef": {"name": "nav"}, "entity": "spv1"});
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let error = rules(&spec(value), "acme/nav").unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
