//! Whether a status can wait, because what it would say passes by itself in a moment. Pure.

use jiff::{SignedDuration, Timestamp};
use ntro_crds::workflow_run::{RunPhase, WorkflowRunStatus};
use ntro_journal::RunState;

/// How long a run may be on its way to a pod: most are there sooner.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(2);
/// How long the first pod may hold a run: many are done, or wait for a person, sooner.
const BEGINNING: SignedDuration = SignedDuration::from_secs(1);
/// How long the pod of a run that has ended may take to leave.
const LEAVING: SignedDuration = SignedDuration::from_secs(1);

/// Until when the status may stay as it is. What takes longer is told; a clock that was set back holds nothing up.
pub(in super::super) fn can_wait(
    state: &RunState,
    before: Option<&WorkflowRunStatus>,
    after: &WorkflowRunStatus,
    now: Timestamp,
) -> Option<Timestamp> {
    let (since, time) = match after.phase? {
        RunPhase::Pending | RunPhase::Queued if before.is_none_or(|before| before.blocked.is_none()) => {
            (state.head_time, ON_ITS_WAY)
        }
        RunPhase::Running if state.cancel_requested.is_none() && is_new(before) => (state.holder()?.since, BEGINNING),
        phase if phase.is_terminal() && state.holder().is_some() => (state.head_time, LEAVING),
        _ => return None,
    };
    let due = since.checked_add(time).ok()?;
    (now < due && due.duration_since(now) <= time).then_some(due)
}

fn is_new(before: Option<&WorkflowRunStatus>) -> bool {
    let phase = before.and_then(|before| before.phase);
    matches!(phase, None | Some(RunPhase::Pending | RunPhase::Queued))
}

#[cfg(test)]
mod tests {
    use ntro_journal::protocol::entries::{self, RunCompleted};
    use ntro_journal::protocol::{Payload, PodEntry, ReleaseCause};

    use super::*;
    use crate::testing::runs::{at, created, held, queued, said};

    fn of(phase: RunPhase) -> WorkflowRunStatus {
        WorkflowRunStatus { phase: Some(phase), ..WorkflowRunStatus::default() }
    }

    fn millis(from: Timestamp, millis: i64) -> Timestamp {
        from + SignedDuration::from_millis(millis)
    }

    #[test]
    fn a_run_that_does_nothing_for_long_is_told_once_when_it_has_ended() {
        let state = queued(&created());
        assert!(can_wait(&state, None, &of(RunPhase::Queued), millis(state.head_time, 1999)).is_some());
        assert_eq!(can_wait(&state, None, &of(RunPhase::Queued), millis(state.head_time, 2000)), None);
        let state = held(&state);
        let since = state.holder().unwrap().since;
        assert_eq!(can_wait(&state, None, &of(RunPhase::Running), since), Some(millis(since, 1000)));
        assert_eq!(can_wait(&state, None, &of(RunPhase::Running), millis(since, 1000)), None);
        let done = RunCompleted { command: 0, seen_upto: 0, result: Payload::inline("1") };
        let state = said(&state, vec![PodEntry::RunCompleted(done)]);
        assert!(can_wait(&state, None, &of(RunPhase::Succeeded), state.head_time).is_some());
        let left = entries::PodReleased { epoch: None, cause: ReleaseCause::Finished };
        let state = said(&state, vec![PodEntry::Released(left)]);
        assert_eq!(can_wait(&state, None, &of(RunPhase::Succeeded), state.head_time), None);
    }

    #[test]
    fn what_people_have_seen_or_wait_for_is_told_at_once() {
        let state = held(&queued(&created()));
        let waiting = of(RunPhase::Waiting);
        assert_eq!(can_wait(&state, Some(&waiting), &of(RunPhase::Running), at(3)), None);
        assert_eq!(can_wait(&state, None, &of(RunPhase::Blocked), at(3)), None);
        assert_eq!(can_wait(&state, None, &waiting, at(3)), None);
        let cancelled = ntro_journal::machine::cancel(&state, "user-action", "bob", at(3)).state;
        assert_eq!(can_wait(&cancelled, None, &of(RunPhase::Running), at(3)), None);
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_up() {
        let state = queued(&created());
        let long_before = millis(state.head_time, -600_000);
        assert_eq!(can_wait(&state, None, &of(RunPhase::Queued), long_before), None);
    }
}
