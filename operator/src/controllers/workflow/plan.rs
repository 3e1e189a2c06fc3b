//! What a reconcile of a Workflow is to do. Pure.

use jiff::Timestamp;
use ntro_crds::workflow::ScheduleObserved;
use ntro_schedule::spec::{jitter_of, period_of};

use super::decide::{self, Decision, Past, Rules, Skipped};
use super::edit;
use super::observe::Observed;
use super::precreate::{self, Precreation};
use super::validate::Validated;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Since when the schedule holds.
    pub schedule: ScheduleObserved,
    /// About the slots that are due and the runs that have ended.
    pub decision: Decision,
    /// About the objects of slots to come.
    pub precreation: Precreation,
    /// Slots that an edit of the schedule took away.
    pub removed: Vec<Skipped>,
}

/// Decides. A schedule that is not valid gives no slots.
pub(super) fn decide(observed: &Observed, validated: &Validated) -> Plan {
    let status = observed.status.as_ref();
    let schedule = edit::observed(&observed.workflow, status, observed.now);
    let removed = edit::taken_away(status, &schedule, jitter_of(&observed.workflow), &observed.runs).into_iter();
    let Ok(rules) = &validated.rules else {
        let precreation = Precreation::none_of(&observed.precreated);
        let removed = removed.chain(edit::dropped(status)).collect();
        return Plan { schedule, decision: Decision::default(), precreation, removed };
    };
    let decision = decide_slots(observed, rules, &schedule, None);
    let period = |slot| period_of(&observed.workflow.spec, slot);
    let precreation = precreate::decide(rules, &observed.runs, &observed.precreated, &decision, &period, observed.now);
    Plan { schedule, decision, precreation, removed: removed.collect() }
}

/// What stands of a decision when the run of `stuck` could not be started: it and all later slots are left as they were, for
/// another reconcile, because what was decided about them was decided as if it had started.
pub(super) fn decide_without(observed: &Observed, validated: &Validated, plan: &Plan, stuck: Timestamp) -> Decision {
    match &validated.rules {
        Ok(rules) => decide_slots(observed, rules, &plan.schedule, Some(stuck)),
        Err(_) => plan.decision.clone(),
    }
}

fn decide_slots(observed: &Observed, rules: &Rules, schedule: &ScheduleObserved, stuck: Option<Timestamp>) -> Decision {
    let status = observed.status.as_ref();
    let queued: Vec<_> = status.and_then(|s| s.queued.as_ref()).into_iter().flatten().map(|q| q.time.0).collect();
    let past = Past {
        observed: schedule.time.0,
        last_run: status.and_then(|s| s.last_schedule_time.as_ref()).map(|time| time.0),
        last_missed: status.and_then(|s| s.missed.as_ref()).map(|missed| missed.time.0),
        queued: &queued,
        runs: &observed.runs,
        stuck,
    };
    decide::decide(rules, &past, &|slot| period_of(&observed.workflow.spec, slot), observed.now)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ntro_crds::Workflow;
    use serde_json::json;

    use super::super::fixtures::at;
    use super::super::validate::validate;
    use super::*;
    use crate::k8s::NamespacedName;

    fn observed(spec: &serde_json::Value) -> Observed {
        let mut object = json!({
            "metadata": {"name": "nav", "namespace": "acme", "creationTimestamp": "2026-11-01T00:00:00Z"},
            "spec": {"runbookRef": {"name": "nav"}, "entity": "spv1", "concurrencyPolicy": "Allow", "missedRunPolicy": "All"},
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let workflow: Workflow = serde_json::from_value(object).unwrap();
        Observed {
            key: NamespacedName::new("acme", "nav"),
            workflow: Arc::new(workflow),
            status: None,
            runs: Vec::new(),
            precreated: Vec::new(),
            runbook: None,
            now: at("2026-11-01T03:30:00Z"),
        }
    }

    #[test]
    fn without_a_slot_that_is_stuck_only_earlier_ones_stand() {
        let observed = observed(&json!({"schedule": "0 * * * *"}));
        let validated = validate(&observed, None);
        let plan = decide(&observed, &validated);
        let slots = |decision: &Decision| decision.start.iter().map(|due| due.slot).collect::<Vec<_>>();
        let all = ["2026-11-01T01:00:00Z", "2026-11-01T02:00:00Z", "2026-11-01T03:00:00Z"].map(at);
        assert_eq!(slots(&plan.decision), all);
        for (n, stuck) in all.into_iter().enumerate() {
            let stands = decide_without(&observed, &validated, &plan, stuck);
            assert_eq!(slots(&stands), all[..n]);
            assert_eq!(
                (stands.next_slot, stands.skipped),
                (plan.decision.next_slot, Vec::new()),
                "no later slot is lost"
            );
        }
    }

    #[test]
    fn an_invalid_schedule_gives_no_slots_and_drops_what_was_queued() {
        let mut observed = observed(&json!({"schedule": "61 * * * *"}));
        observed.status = serde_json::from_value(json!({"queued": [
            {"time": "2026-11-01T01:00:00Z", "period": "2026-10", "heldBy": "-", "reason": "RunUnfinished"},
        ]}))
        .unwrap();
        let validated = validate(&observed, None);
        let plan = decide(&observed, &validated);
        assert_eq!(plan.decision, Decision::default());
        assert_eq!(plan.removed.iter().map(|skipped| skipped.latest).collect::<Vec<_>>(), [at("2026-11-01T01:00:00Z")]);
        assert_eq!(decide_without(&observed, &validated, &plan, at("2026-11-01T01:00:00Z")), plan.decision);
    }
}
