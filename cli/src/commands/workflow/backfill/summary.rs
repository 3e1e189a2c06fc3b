//! What became of a backfill.

use std::collections::BTreeSet;

use serde::Serialize;

use super::PlannedRun;
use super::slot_state::{SlotState, SlotStates};
use crate::error::ExitStatus;

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct BackfillSummary {
    slots: usize,
    started: usize,
    before: usize,
    succeeded: usize,
    waiting: usize,
    failed: usize,
}

impl BackfillSummary {
    /// `created` are the runs whose objects this backfill created. Those that were executed before started nothing.
    pub(super) fn of(plan: &[PlannedRun], created: &BTreeSet<String>, states: &SlotStates) -> Self {
        let count = |wanted: &dyn Fn(&SlotState) -> bool| {
            plan.iter().filter_map(|planned| states.get(&planned.name)).filter(|state| wanted(state)).count()
        };
        let started = created.iter().filter(|run| states.get(*run) != Some(&SlotState::RanBefore)).count();
        Self {
            slots: plan.len(),
            started,
            before: plan.len() - started,
            succeeded: count(&|state| *state == SlotState::Succeeded),
            waiting: count(&|state| *state == SlotState::Waiting),
            failed: count(&|state| matches!(state, SlotState::Failed(_))),
        }
    }

    pub(super) fn sentence(&self) -> String {
        let Self { slots, started, before, succeeded, waiting, failed } = self;
        format!(
            "{slots} slots: {started} runs started, {before} already existed; {succeeded} succeeded, {waiting} waiting for a person, {failed} failed, cancelled, refused or blocked"
        )
    }

    pub(super) fn exit_status(&self) -> ExitStatus {
        match (self.failed, self.waiting) {
            (0, 0) => ExitStatus::Success,
            (0, _) => ExitStatus::RunWaiting,
            _ => ExitStatus::RunFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn planned(name: &str) -> PlannedRun {
        PlannedRun { slot: Timestamp::UNIX_EPOCH, period: "2026-04".to_owned(), name: name.to_owned(), existing: None }
    }

    #[test]
    fn what_ran_before_is_neither_started_nor_failed() {
        let plan: Vec<_> = ["a", "b", "c", "d"].map(planned).into();
        let created = ["a", "b", "c"].map(str::to_owned).into();
        let mut states: SlotStates = [
            ("a".to_owned(), SlotState::Succeeded),
            ("b".to_owned(), SlotState::RanBefore),
            ("c".to_owned(), SlotState::Waiting),
            ("d".to_owned(), SlotState::Succeeded),
            ("of-another-slot".to_owned(), SlotState::Failed("Failed".to_owned())),
        ]
        .into();
        let summary = BackfillSummary::of(&plan, &created, &states);
        assert_eq!(
            serde_json::to_value(&summary).unwrap(),
            json!({"slots": 4, "started": 2, "before": 2, "succeeded": 2, "waiting": 1, "failed": 0})
        );
        assert!(summary.sentence().starts_with("4 slots: 2 runs started, 2 already existed; 2 succeeded, 1 waiting"));
        assert_eq!(summary.exit_status(), ExitStatus::RunWaiting);
        states.insert("d".to_owned(), SlotState::Failed("refused (NotASlot: no slot)".to_owned()));
        assert_eq!(BackfillSummary::of(&plan, &created, &states).exit_status(), ExitStatus::RunFailed);
    }
}
