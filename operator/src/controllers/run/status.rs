//! The status of a `WorkflowRun`: a projection of its journal. Pure.

mod pace;

use jiff::Timestamp;
use ntro_crds::Reason;
use ntro_crds::conditions::{self, Readiness};
use ntro_crds::workflow_run::{
    BlockedRun, JobRef, JournalHead, Output, RunPhase, RunPin, StepState, StepStatus, WaitKind, WaitingFor,
    WorkflowRunStatus,
};
use ntro_journal::machine::{Activity, ActivityState};
use ntro_journal::protocol as journal;
use ntro_journal::{JournalLimits, PurgedRun, RunState};

use crate::clock::whole_seconds;
use crate::error::{Class, Problem};

pub(super) use pace::can_wait;

/// What the projection is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    /// Generation of the `WorkflowRun`.
    pub generation: Option<i64>,
    /// The status so far.
    pub before: Option<&'a WorkflowRunStatus>,
    /// The journal.
    pub state: &'a RunState,
    /// What the run is fixed to.
    pub pin: &'a RunPin,
    /// Titles of steps, from the manifest.
    pub titles: &'a [(String, String)],
    /// What the tenant's runs may keep.
    pub limits: JournalLimits,
    /// Something lives that belongs to the run: a cancelled run is Cancelled only when nothing does.
    pub pods_live: bool,
    /// The time.
    pub now: Timestamp,
}

/// The whole status.
pub(super) fn project(source: &Source<'_>) -> WorkflowRunStatus {
    let state = source.state;
    let phase = phase(source);
    let mut status = WorkflowRunStatus {
        observed_generation: source.generation,
        run_id: Some(state.run_id.to_string()),
        pin: Some(source.pin.clone()),
        phase: Some(phase),
        segment: Some(i64::from(state.segment)),
        job: state.job.as_ref().map(|job| JobRef { name: job.name.clone(), uid: job.uid.clone() }),
        steps: some(steps(source)),
        waiting_for: some(waiting(state)),
        blocked: blocked(state),
        error_type: state.terminal.as_ref().and_then(|end| end.error.clone()),
        attempts: Some(i64::from(state.attempts)),
        journal: Some(JournalHead { length: signed(state.length), head: state.head_digest() }),
        outputs: some(outputs(source)),
        start_time: state.started_at.map(whole_seconds),
        completion_time: state.completed_at().map(whole_seconds),
        conditions: source.before.and_then(|before| before.conditions.clone()),
    };
    set_conditions(&mut status, phase, source);
    set_nearly_full(&mut status, phase, source);
    status
}

/// A blocked run whose journal may not be believed, or that ran before: the status it had, with a condition that says so.
pub(super) fn refused(
    before: Option<&WorkflowRunStatus>,
    generation: Option<i64>,
    code: Reason,
    message: &str,
    now: Timestamp,
) -> WorkflowRunStatus {
    let mut status = before.cloned().unwrap_or_default();
    status.observed_generation = generation;
    if !status.phase.is_some_and(RunPhase::is_terminal) {
        status.phase = Some(RunPhase::Blocked);
        status.blocked =
            Some(BlockedRun { code: code.as_str().to_owned(), site: None, activity: None, repeat_effects: None });
    }
    let mut list = status.conditions.take().unwrap_or_default();
    conditions::set_readiness(&mut list, &Readiness::Stalled, code, message, generation, now);
    status.conditions = Some(list);
    status
}

/// A run that ended and whose journal was purged: the status it had, with a condition that says so.
pub(super) fn purged(
    before: Option<&WorkflowRunStatus>,
    generation: Option<i64>,
    purged: &PurgedRun,
    now: Timestamp,
) -> WorkflowRunStatus {
    let mut status = before.cloned().unwrap_or_default();
    status.observed_generation = generation;
    let mut list = status.conditions.take().unwrap_or_default();
    if !status.phase.is_some_and(RunPhase::is_terminal) {
        // Its end was never published: only how and when it ended is known of it.
        let (phase, reason) = ended(purged.record.phase);
        (status.phase, status.blocked, status.waiting_for) = (Some(phase), None, None);
        status.completion_time = Some(whole_seconds(purged.ended_at));
        conditions::set_readiness(&mut list, &Readiness::Ready, reason, "run has ended", generation, now);
        conditions::remove(&mut list, conditions::JOURNAL_NEARLY_FULL);
    }
    status.journal = Some(JournalHead { length: signed(purged.length), head: purged.record.head.clone() });
    let (kind, message) = (conditions::JOURNAL_PURGED, purged.record.to_string());
    conditions::upsert(&mut list, conditions::condition(kind, true, Reason::Purged, &message, generation, now));
    status.conditions = Some(list);
    status
}

/// How a run ended that has.
fn ended(phase: journal::Phase) -> (RunPhase, Reason) {
    match phase {
        journal::Phase::Succeeded => (RunPhase::Succeeded, Reason::Succeeded),
        journal::Phase::Cancelled => (RunPhase::Cancelled, Reason::Cancelled),
        _ => (RunPhase::Failed, Reason::Failed),
    }
}

/// A run that cannot start yet, or never can.
pub(super) fn not_started(
    before: Option<&WorkflowRunStatus>,
    generation: Option<i64>,
    problem: &Problem,
    now: Timestamp,
) -> WorkflowRunStatus {
    let mut status = before.cloned().unwrap_or_default();
    status.observed_generation = generation;
    status.phase = Some(RunPhase::Pending);
    let mut list = status.conditions.take().unwrap_or_default();
    let readiness = if problem.class == Class::Invalid { Readiness::Stalled } else { Readiness::Reconciling };
    conditions::set_readiness(&mut list, &readiness, problem.reason, &problem.message, generation, now);
    status.conditions = Some(list);
    status
}

fn phase(source: &Source<'_>) -> RunPhase {
    use journal::Phase as J;
    match source.state.phase() {
        J::Pending => RunPhase::Pending,
        J::Queued => RunPhase::Queued,
        J::Waiting => RunPhase::Waiting,
        J::Blocked => RunPhase::Blocked,
        J::Succeeded => RunPhase::Succeeded,
        J::Failed => RunPhase::Failed,
        J::Cancelled if source.pods_live => RunPhase::Running,
        J::Cancelled => RunPhase::Cancelled,
        J::Running => RunPhase::Running,
    }
}

fn steps(source: &Source<'_>) -> Vec<StepState> {
    let known = |id: &str| source.titles.iter().find(|(step, _)| step == id).map(|(_, title)| title.clone());
    let steps = source.state.steps.iter().take(64);
    // Only ids that the manifest declares: what code calls a step may hold anything.
    steps
        .filter(|step| known(&step.id).is_some())
        .map(|step| StepState {
            id: step.id.clone(),
            title: known(&step.id),
            status: match step.status {
                journal::StepStatus::Pending => StepStatus::Pending,
                journal::StepStatus::Active => StepStatus::Active,
                journal::StepStatus::Completed => StepStatus::Completed,
            },
        })
        .collect()
}

fn waiting(state: &RunState) -> Vec<WaitingFor> {
    let timer =
        |target: Option<u64>| target.and_then(|t| state.timers.get(&t)).map(|timer| whole_seconds(timer.fires_at));
    state
        .waiting_for()
        .iter()
        .take(32)
        .map(|wait| WaitingFor {
            kind: match wait.kind {
                journal::WaitKind::Gate => WaitKind::Gate,
                journal::WaitKind::Timer => WaitKind::Timer,
                journal::WaitKind::Signal => WaitKind::Signal,
            },
            step: wait.step.as_deref().map(|step| fitting(step, 63)),
            name: wait.name.as_deref().map(|name| fitting(name, 128)),
            until: timer(wait.target),
        })
        .collect()
}

fn blocked(state: &RunState) -> Option<BlockedRun> {
    let blocked = state.blocked.as_ref().filter(|_| state.terminal.is_none())?;
    let repeat_effects: Vec<i64> =
        state.activities.iter().filter(|(_, a)| a.unknown_effect()).map(|(command, _)| signed(*command)).collect();
    Some(BlockedRun {
        code: blocked.code.as_str().to_owned(),
        site: blocked.site.as_ref().map(|site| format!("{}:{}", fitting(&site.file, 500), site.line)),
        activity: blocked.activity.as_deref().map(|activity| fitting(activity, 128)),
        repeat_effects: some(repeat_effects),
    })
}

/// Outputs whose names the manifest lists; others are read from the operator's API.
fn outputs(source: &Source<'_>) -> Vec<Output> {
    let listed = source.pin.outputs.as_deref().unwrap_or_default();
    let outputs = source.state.outputs.iter().filter(|(name, _)| listed.contains(name));
    outputs
        .map(|(name, output)| Output {
            name: name.clone(),
            size: signed(output.size),
            digest: source.state.keyed(output.digest.to_string().as_bytes()),
        })
        .collect()
}

fn set_conditions(status: &mut WorkflowRunStatus, phase: RunPhase, source: &Source<'_>) {
    let mut list = status.conditions.take().unwrap_or_default();
    let blocked = status.blocked.as_ref();
    let why = blocked.map(|b| b.code.as_str()).unwrap_or_default();
    let site = blocked.and_then(|b| b.site.as_ref()).map(|site| format!(" at {site}")).unwrap_or_default();
    let cannot =
        format!("run is blocked: {why}{site}; see `ntro run logs` for details, and resume it with `ntro run retry`");
    let unreachable = format!(
        "{} pods in a row exited because they could not reach the operator; check the network policies of the namespace \
         and the pods' logs",
        source.state.unattached
    );
    let (left, cancelled) = was_cancelled(source.state);
    let (readiness, reason, message) = match phase {
        RunPhase::Succeeded => (Readiness::Ready, Reason::Succeeded, "run succeeded"),
        RunPhase::Failed => (Readiness::Ready, Reason::Failed, "run failed: its code raised an error"),
        RunPhase::Cancelled => (Readiness::Ready, left, cancelled.as_str()),
        RunPhase::Waiting => (Readiness::Ready, Reason::Waiting, "run is waiting for a person, a time or a signal"),
        RunPhase::Blocked => (Readiness::Stalled, Reason::Blocked, cannot.as_str()),
        _ if source.state.unattached > 0 => (Readiness::Reconciling, Reason::OperatorUnreachable, unreachable.as_str()),
        _ if source.state.cancel_requested.is_some() => {
            let message = "run is being cancelled: its code may undo what it has done, within the grace period";
            (Readiness::Reconciling, Reason::Progressing, message)
        }
        RunPhase::Pending | RunPhase::Queued | RunPhase::Running => {
            (Readiness::Reconciling, Reason::Progressing, "run is in progress")
        }
    };
    conditions::set_readiness(&mut list, &readiness, reason, message, source.generation, source.now);
    status.conditions = Some(list);
}

/// How a cancelled run was left: what was done all the same, or may have been, people have to look after outside.
fn was_cancelled(state: &RunState) -> (Reason, String) {
    let external = |activity: &&Activity| activity.effect == journal::Effect::External;
    let done = names(state.activities.values().filter(external).filter(|it| it.state == ActivityState::Completed));
    let unknown = names(state.activities.values().filter(|activity| activity.may_have_happened()));
    let done = done.map(|names| format!("; these activities had their effect: {names}")).unwrap_or_default();
    match unknown {
        None => (Reason::Cancelled, format!("run was cancelled{done}")),
        Some(names) => {
            let text =
                format!("run was cancelled{done}; it is not known whether these activities had their effect: {names}");
            (Reason::CancelledEffectUnknown, text)
        }
    }
}

/// Their names, if there are any: as many as people read.
fn names<'a>(activities: impl Iterator<Item = &'a Activity>) -> Option<String> {
    let all: Vec<_> = activities.map(|activity| fitting(&activity.name, 128)).collect();
    let more = if all.len() > 8 { ", ..." } else { "" };
    (!all.is_empty())
        .then(|| format!("{}{more}", all.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ")))
}

/// Tells in time that the journal is going to be full: a full one blocks the run.
fn set_nearly_full(status: &mut WorkflowRunStatus, phase: RunPhase, source: &Source<'_>) {
    let mut list = status.conditions.take().unwrap_or_default();
    let (state, limits) = (source.state, source.limits);
    if limits.nearly_full(state) && !phase.is_terminal() {
        let message = format!(
            "journal has {} of {} entries and {} of {} bytes; the run is blocked when the journal is full",
            state.length, limits.entries_max, state.bytes, limits.entry_bytes_max
        );
        let (kind, reason) = (conditions::JOURNAL_NEARLY_FULL, Reason::JournalNearlyFull);
        conditions::upsert(
            &mut list,
            conditions::condition(kind, true, reason, &message, source.generation, source.now),
        );
    } else {
        conditions::remove(&mut list, conditions::JOURNAL_NEARLY_FULL);
    }
    status.conditions = Some(list);
}

/// Whether two statuses differ in what people act on: such a change is written at once, others wait for company.
pub(super) fn urgent(before: Option<&WorkflowRunStatus>, after: &WorkflowRunStatus) -> bool {
    let Some(before) = before else { return true };
    before.phase != after.phase
        || before.waiting_for != after.waiting_for
        || before.run_id != after.run_id
        || before.blocked != after.blocked
}

/// As much of a name as there is room for in the API: workflow code may choose a longer one, and the API server would refuse
/// the whole status. The journal has all of it.
fn fitting(name: &str, max: usize) -> String {
    match name.char_indices().nth(max) {
        None => name.to_owned(),
        Some(_) => name.chars().take(max - 1).chain(['…']).collect(),
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod validity;

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use ntro_crds::workflow_run::{RunPhase, WorkflowRunStatus};
    use ntro_crds::{BlockReason, Reason, UserActionReason};
    use ntro_crds::{UserAction, WorkflowRun};
    use ntro_journal::protocol::{BlockCode, ErrorCode, RUNNING_MAX, RefusalReason};

    use super::{purged, whole_seconds};

    #[test]
    fn the_api_knows_every_word_of_the_journal() {
        for code in BlockCode::ALL {
            assert_eq!(BlockReason::try_from(code.as_str()).map(BlockReason::as_str), Ok(code.as_str()));
        }
        for reason in RefusalReason::ALL {
            assert_eq!(UserActionReason::try_from(reason.as_str()).map(UserActionReason::as_str), Ok(reason.as_str()));
        }
        for code in ErrorCode::ALL {
            assert_eq!(Reason::try_from(code.as_str()).map(Reason::as_str), Ok(code.as_str()));
        }
    }

    #[test]
    fn a_purged_run_keeps_the_status_it_had_and_says_so() {
        let at = crate::testing::runs::at;
        let left = crate::testing::runs::purged();
        let before = WorkflowRunStatus {
            run_id: Some(left.run_id.to_string()),
            phase: Some(RunPhase::Succeeded),
            segment: Some(3),
            ..WorkflowRunStatus::default()
        };
        let after = purged(Some(&before), Some(1), &left, at(9));
        assert_eq!(
            (after.phase, after.segment),
            (Some(RunPhase::Succeeded), Some(3)),
            "a terminal phase never changes"
        );
        assert_eq!(after.journal.as_ref().unwrap().head, left.record.head);
        let conditions = after.conditions.as_deref().unwrap();
        assert_eq!((conditions[0].type_.as_str(), conditions[0].reason.as_str()), ("JournalPurged", "Purged"));
        assert!(conditions[0].message.contains("retention.journal of the tenant was 365d"));
        assert_eq!(purged(Some(&after), Some(1), &left, at(10)), after, "nothing is written again");

        let unpublished = WorkflowRunStatus { phase: Some(RunPhase::Blocked), ..before };
        let after = purged(Some(&unpublished), Some(1), &left, at(9));
        assert_eq!(
            (after.phase, after.completion_time),
            (Some(RunPhase::Cancelled), Some(whole_seconds(left.ended_at)))
        );
    }

    /// Else a run with that many could never be retried.
    #[test]
    fn the_api_has_room_for_all_effects_that_can_be_unknown() {
        for (crd, place) in [
            (WorkflowRun::crd(), "status/properties/blocked/properties/repeatEffects"),
            (UserAction::crd(), "spec/properties/repeatEffects"),
        ] {
            let crd = serde_json::to_value(crd).unwrap();
            let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/{place}/maxItems");
            let room = crd.pointer(&path).and_then(serde_json::Value::as_u64).unwrap();
            assert!(room >= u64::try_from(RUNNING_MAX).unwrap(), "{place} has room for {room}");
        }
    }
}
