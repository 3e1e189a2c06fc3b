use ntro_journal::machine;
use ntro_journal::protocol::PodEntry;
use ntro_journal::protocol::entries;

use super::*;
use crate::testing::runs::{at, created, held, queued, said};

fn job(segment: u32) -> JobView {
    JobView {
        name: format!("nav-abcde-{segment}"),
        uid: format!("job-{segment}"),
        segment,
        owner: "run-uid".to_owned(),
        template_hash: "hash".to_owned(),
        finished: false,
        deleting: false,
        suspended: None,
        since: Some(at(1)),
    }
}

fn finished(segment: u32) -> JobView {
    JobView { finished: true, ..job(segment) }
}

fn deleting(segment: u32) -> JobView {
    JobView { deleting: true, ..job(segment) }
}

fn pod(segment: u32, alive: bool) -> PodView {
    PodView {
        uid: format!("pod-{segment}"),
        job_uid: format!("job-{segment}"),
        alive,
        lost: false,
        ending: false,
        running: None,
        exit: None,
    }
}

fn lost(segment: u32) -> PodView {
    PodView { lost: true, ending: true, ..pod(segment, false) }
}

fn plan_at(state: &RunState, jobs: &[JobView], pods: &[PodView], second: i64) -> Plan {
    let deadlines = Deadlines { queue: None, pending: SignedDuration::from_hours(9), run: None };
    plan_within(deadlines, state, jobs, pods, second)
}

fn plan_within(deadlines: Deadlines, state: &RunState, jobs: &[JobView], pods: &[PodView], second: i64) -> Plan {
    let name = state.wanted().map(|wanted| format!("nav-abcde-{}", wanted.segment));
    plan(&View {
        state,
        run_uid: "run-uid",
        wanted_job: name.as_deref().map(|name| (name, "hash")),
        jobs,
        pods,
        deadlines,
        now: at(second),
    })
}

fn delete(segment: u32) -> Step {
    Step::DeleteJob { name: format!("nav-abcde-{segment}"), uid: format!("job-{segment}") }
}

/// Held by the second segment's pod, after the first was lost.
fn second() -> RunState {
    let gone = machine::job_gone(&held(&queued(&created())), 1, at(4)).state;
    held(&queued(&gone))
}

#[test]
fn the_wanted_job_is_made_once_and_taken_up_if_it_is_there() {
    let state = created();
    assert_eq!(plan_at(&state, &[], &[], 1).steps, [Step::CreateJob { segment: 1 }]);
    let record =
        Step::RecordJob { segment: 1, name: "nav-abcde-1".into(), uid: "job-1".into(), template_hash: "hash".into() };
    assert_eq!(plan_at(&state, &[job(1)], &[], 1).steps, [record]);
    let foreign = JobView { owner: "somebody".to_owned(), ..job(1) };
    assert_eq!(plan_at(&state, &[foreign], &[], 1).steps, [Step::NameTaken { name: "nav-abcde-1".into() }]);
    let older = JobView { template_hash: "older".to_owned(), ..job(1) };
    assert_eq!(plan_at(&state, &[older], &[], 1).steps, [delete(1)]);
    let leaving = plan_at(&state, &[deleting(1)], &[], 1);
    assert!(leaving.steps.is_empty() && leaving.requeue != Requeue::OnChange);
}

#[test]
fn a_queued_run_waits_for_its_pod_and_notices_when_none_will_come() {
    let state = queued(&created());
    let gone = [Step::JobLost { segment: 1 }];
    assert!(plan_at(&state, &[job(1)], &[], 2).steps.is_empty());
    assert!(plan_at(&state, &[job(1)], &[pod(1, true)], 2).steps.is_empty());
    assert!(plan_at(&state, &[deleting(1)], &[pod(1, true)], 2).steps.is_empty());
    assert_eq!(plan_at(&state, &[], &[], 2).steps, gone);
    assert_eq!(plan_at(&state, &[finished(1)], &[pod(1, false)], 2).steps, gone);
    assert_eq!(plan_at(&state, &[deleting(1)], &[], 2).steps, gone);
    assert_eq!(plan_at(&state, &[job(1)], &[lost(1)], 2).steps, gone);
}

#[test]
fn a_holder_is_released_when_its_pod_is_gone() {
    let state = held(&queued(&created()));
    assert!(plan_at(&state, &[job(1)], &[pod(1, true)], 5).steps.is_empty());
    for pods in [vec![], vec![pod(1, false)], vec![lost(1)]] {
        assert_eq!(plan_at(&state, &[job(1)], &pods, 5).steps, [Step::JobLost { segment: 1 }], "{pods:?}");
    }
}

#[test]
fn a_pod_that_could_not_reach_the_operator_is_no_attempt() {
    let state = held(&queued(&created()));
    let ended = |exit: i32| PodView { exit: Some(exit), ..pod(1, false) };
    assert_eq!(plan_at(&state, &[job(1)], &[ended(75)], 5).steps, [Step::Outage { segment: 1 }]);
    let finished = JobView { finished: true, ..job(1) };
    assert_eq!(plan_at(&queued(&created()), &[finished], &[ended(75)], 5).steps, [Step::Outage { segment: 1 }]);
    for other in [0, 1, 70, 77, 137] {
        assert_eq!(plan_at(&state, &[job(1)], &[ended(other)], 5).steps, [Step::JobLost { segment: 1 }], "{other}");
    }
}

#[test]
fn a_run_whose_queue_took_its_pod_away_is_queued_again_at_once() {
    let state = held(&queued(&created()));
    let suspended = JobView { suspended: Some(at(4)), ..job(1) };
    assert!(
        plan_at(&state, std::slice::from_ref(&suspended), &[pod(1, true)], 5).steps.is_empty(),
        "its pod is on its way out"
    );
    assert_eq!(plan_at(&state, std::slice::from_ref(&suspended), &[], 5).steps, [Step::Evicted { segment: 1 }]);
    let state = machine::evicted(&state, 1, at(5)).state;
    assert_eq!(state.attempts, 0);
    assert_eq!(plan_at(&state, &[suspended], &[], 5).steps, [delete(1)]);
    assert_eq!(plan_at(&state, &[], &[], 5).steps, [Step::CreateJob { segment: 2 }]);
}

#[test]
fn the_next_job_waits_for_its_time_and_for_everything_earlier() {
    let state = machine::job_gone(&held(&queued(&created())), 1, at(4)).state;
    let create = [Step::CreateJob { segment: 2 }];
    assert!(plan_at(&state, &[finished(1)], &[], 5).steps.is_empty(), "back-off after a loss");
    assert_eq!(plan_at(&state, &[finished(1)], &[], 60).steps, create);
    assert_eq!(plan_at(&state, &[finished(1)], &[pod(1, true)], 60).steps, [delete(1)]);
    assert!(plan_at(&state, &[deleting(1)], &[pod(1, true)], 60).steps.is_empty());
    assert_eq!(plan_at(&state, &[deleting(1)], &[lost(1)], 60).steps, create, "what is fenced and out of reach");
    assert!(plan_at(&state, &[], &[pod(1, true)], 60).steps.is_empty(), "a pod without its Job");
}

#[test]
fn a_job_whose_pods_ended_is_left_to_its_controller_for_a_moment() {
    let state = machine::job_gone(&held(&queued(&created())), 1, at(4)).state;
    assert!(plan_at(&state, &[job(1)], &[pod(1, false)], 5).steps.is_empty());
    assert_eq!(plan_at(&state, &[job(1)], &[pod(1, false)], 60).steps, [delete(1)]);
}

#[test]
fn who_ended_the_run_leaves_by_itself_and_is_ended_when_it_does_not() {
    let done = PodEntry::RunCompleted(entries::RunCompleted {
        command: 0,
        seen_upto: 0,
        result: ntro_journal::protocol::Payload::inline("1"),
    });
    let finish = PodEntry::Released(entries::PodReleased { epoch: None, cause: ReleaseCause::Finished });
    let state = said(&held(&queued(&created())), vec![done, finish]);
    let soon = plan_at(&state, &[job(1)], &[pod(1, true)], 10);
    assert!(soon.steps.is_empty() && soon.requeue != Requeue::OnChange);
    assert_eq!(plan_at(&state, &[job(1)], &[pod(1, true)], 100).steps, [delete(1)]);
    assert_eq!(plan_at(&state, &[finished(1)], &[pod(1, false)], 100).steps, []);
}

#[test]
fn a_cancelled_run_is_stopped_at_once() {
    let state = machine::cancel(&queued(&created()), "act", "amy", at(3)).state;
    assert!(state.terminal.is_some());
    assert_eq!(plan_at(&state, &[job(1)], &[pod(1, true)], 3).steps, [delete(1)]);
}

#[test]
fn finished_jobs_go_but_the_last() {
    let state = second();
    assert_eq!(plan_at(&state, &[finished(1), job(2)], &[pod(2, true)], 60).steps, [delete(1)]);
    let state = machine::job_gone(&state, 2, at(70)).state;
    assert_eq!(plan_at(&state, &[finished(2)], &[], 70).steps, []);
}

#[test]
fn what_takes_longer_than_it_may_blocks_the_run_and_its_job_is_ended() {
    let deadlines = Deadlines {
        queue: Some(SignedDuration::from_secs(100)),
        pending: SignedDuration::from_secs(20),
        run: Some(SignedDuration::from_secs(50)),
    };
    let state = queued(&created());
    let block = |code| vec![Step::Block { code }];
    // In a queue only the queue's limit counts, and it starts when the Job was suspended.
    let held_back = JobView { suspended: Some(at(10)), ..job(1) };
    assert_eq!(plan_within(deadlines, &state, std::slice::from_ref(&held_back), &[], 109).steps, []);
    assert_eq!(
        plan_within(deadlines, &state, std::slice::from_ref(&held_back), &[], 110).steps,
        block(BlockCode::QueueTimeout)
    );
    let free = Deadlines { queue: None, ..deadlines };
    assert_eq!(plan_within(free, &state, &[held_back], &[], 9000), Plan { steps: vec![], requeue: Requeue::OnChange });
    // Let go by the queue, the pod has its own time.
    let let_go = JobView { since: Some(at(200)), ..job(1) };
    let on_its_way = plan_within(deadlines, &state, std::slice::from_ref(&let_go), &[pod(1, true)], 219);
    assert_eq!((on_its_way.steps, on_its_way.requeue), (vec![], Requeue::After(Duration::from_secs(1))));
    assert_eq!(
        plan_within(deadlines, &state, std::slice::from_ref(&let_go), &[pod(1, true)], 220).steps,
        block(BlockCode::PendingTimeout)
    );
    let running = PodView { running: Some(at(219)), ..pod(1, true) };
    assert_eq!(plan_within(deadlines, &state, &[let_go], std::slice::from_ref(&running), 230).steps, []);
    let held = held(&state);
    assert_eq!(plan_within(deadlines, &held, &[job(1)], std::slice::from_ref(&running), 268).steps, []);
    assert_eq!(
        plan_within(deadlines, &held, &[job(1)], std::slice::from_ref(&running), 269).steps,
        block(BlockCode::RunDeadlineExceeded)
    );
    let gone = vec![Step::JobLost { segment: 1 }];
    for (state, code, after) in [(state, BlockCode::QueueTimeout, vec![]), (held, BlockCode::RunDeadlineExceeded, gone)]
    {
        let blocked = machine::block(&state, code, at(300)).state;
        let seen = plan_within(deadlines, &blocked, &[job(1)], std::slice::from_ref(&running), 301);
        assert_eq!(seen.steps, [delete(1)]);
        assert_eq!(plan_within(deadlines, &blocked, &[deleting(1)], &[], 302).steps, after);
    }
}
