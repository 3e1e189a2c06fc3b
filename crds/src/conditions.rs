//! Conditions, laid out as tools that wait for health expect them: `Ready` always, `Reconciling` and `Stalled` only while true.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::reasons::ConditionReason;

/// Type: the object is usable.
pub const READY: &str = "Ready";
/// Type: the operator works towards the spec. Present only while true.
pub const RECONCILING: &str = "Reconciling";
/// Type: the operator cannot proceed until somebody changes something. Present only while true.
pub const STALLED: &str = "Stalled";
/// Type, Workflow: `spec.config` matches the runbook's schema.
pub const CONFIG_VALID: &str = "ConfigValid";
/// Type, Workflow: schedule, calendar and zone are valid.
pub const SCHEDULE_VALID: &str = "ScheduleValid";
/// Type, WorkflowRun: its journal has three quarters of what it may hold; a full one blocks the run. Present only while true.
pub const JOURNAL_NEARLY_FULL: &str = "JournalNearlyFull";
/// Type, WorkflowRun: its journal was purged, and the message says when and by which setting. Present only while true.
pub const JOURNAL_PURGED: &str = "JournalPurged";
/// Type, Workflow: the latest finished run succeeded.
pub const LAST_RUN_SUCCEEDED: &str = "LastRunSucceeded";

/// Longest message the schema admits, in characters.
const MESSAGE_MAX: usize = 1024;

/// Whether an object is usable, and if not, whether waiting helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Usable.
    Ready,
    /// Not usable yet; the operator works on it.
    Reconciling,
    /// Not usable until somebody changes something.
    Stalled,
    /// Not usable, and neither of the two: waits for something outside.
    NotReady,
}

/// A condition without a history.
pub fn condition(
    kind: &str,
    status: bool,
    reason: impl ConditionReason,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.word().to_owned(),
        message: message.chars().take(MESSAGE_MAX).collect(),
        last_transition_time: Time(now),
        observed_generation: generation,
    }
}

/// Puts `new` in the place of the condition of its type, or at the end. The transition time of the old one is kept while
/// the status stays the same.
pub fn upsert(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// Removes the condition of a type.
pub fn remove(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|c| c.type_ != kind);
}

/// Writes `Ready` with `reason` and `message`, and `Reconciling` or `Stalled` exactly while true.
pub fn set_readiness(
    conditions: &mut Vec<Condition>,
    readiness: &Readiness,
    reason: impl ConditionReason + Copy,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let make = |kind: &str, status: bool| condition(kind, status, reason, message, generation, now);
    for (kind, holds) in
        [(RECONCILING, *readiness == Readiness::Reconciling), (STALLED, *readiness == Readiness::Stalled)]
    {
        if holds {
            upsert(conditions, make(kind, true));
        } else {
            remove(conditions, kind);
        }
    }
    upsert(conditions, make(READY, *readiness == Readiness::Ready));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reasons::Reason;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_is_kept_while_the_status_stays() {
        let mut conditions = Vec::new();
        set_readiness(&mut conditions, &Readiness::Ready, Reason::Resolved, "1.0.0", Some(1), at(10));
        set_readiness(&mut conditions, &Readiness::Ready, Reason::Resolved, "1.1.0", Some(2), at(20));
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, Time(at(10)));
        assert_eq!(conditions[0].message, "1.1.0");
        set_readiness(&mut conditions, &Readiness::Stalled, Reason::SourceGone, "no such tag", Some(2), at(30));
        assert_eq!(conditions[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn stalled_and_reconciling_exist_only_while_true_and_never_together() {
        let mut conditions = Vec::new();
        for readiness in [Readiness::Reconciling, Readiness::Stalled, Readiness::NotReady, Readiness::Ready] {
            set_readiness(&mut conditions, &readiness, Reason::Valid, "", None, at(1));
            let has = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
            assert_eq!(has(STALLED), readiness == Readiness::Stalled);
            assert_eq!(has(RECONCILING), readiness == Readiness::Reconciling);
            assert_eq!(has(READY), readiness == Readiness::Ready);
            assert!(conditions.iter().all(|c| c.type_ == READY || c.status == "True"));
        }
    }

    #[test]
    fn a_message_fits_the_schema() {
        let long = "ü".repeat(5_000);
        assert_eq!(condition(READY, true, Reason::Valid, &long, None, at(0)).message.chars().count(), MESSAGE_MAX);
    }
}
