//! Whatever a run comes to, its status is one that the API server takes: else people would see an old one for ever.

use jsonschema::Validator;
use kube::CustomResourceExt as _;
use ntro_crds::{Reason, WorkflowRun};
use ntro_journal::RunState;
use ntro_journal::machine::{self, Append, AppendLimits};
use ntro_journal::protocol::entries;
use ntro_journal::protocol::{
    AppendRequest, BlockCode, INLINE_MAX, OutputFile, Payload, Phase, PodEntry, ReleaseCause, Sha256Digest, Site,
    StepProgress, StepStatus, WaitKind, WaitTarget,
};
use proptest::prelude::*;
use serde_json::Value;

use super::{Source, project, was_cancelled};
use crate::testing::runs::{at, created, gate, held, pin, queued, timer};

/// What a pod may say, with some text in it.
#[derive(Debug, Clone)]
enum Say {
    Schedule,
    Start(u64),
    Complete(u64),
    Gate,
    Timer,
    Steps(usize),
    Park(usize),
    Block,
    Leave,
}

fn say() -> impl Strategy<Value = (Say, String)> {
    let what = prop_oneof![
        6 => Just(Say::Schedule),
        6 => (0_u64..20).prop_map(Say::Start),
        2 => (0_u64..20).prop_map(Say::Complete),
        3 => Just(Say::Gate),
        2 => Just(Say::Timer),
        1 => (0_usize..200).prop_map(Say::Steps),
        1 => (0_usize..600).prop_map(Say::Park),
        1 => Just(Say::Block),
        1 => Just(Say::Leave),
    ];
    (what, prop_oneof!["[a-z-]{1,12}", "\\PC{0,40}", "x{0,2000}"])
}

fn entry((say, text): (Say, String), state: &RunState) -> PodEntry {
    let (command, seen_upto) = (state.next_command, state.last_delivery());
    let payload = || Payload::inline("{}");
    match say {
        Say::Schedule => PodEntry::ActivityScheduled(entries::ActivityScheduled {
            command,
            seen_upto,
            activity: text,
            args: payload(),
            step: None,
            timeout_ms: None,
        }),
        Say::Start(target) => PodEntry::ActivityStarted(entries::ActivityStarted { target, attempt: 1, cause: None }),
        Say::Complete(target) => PodEntry::ActivityCompleted(entries::ActivityCompleted {
            target,
            attempt: 1,
            result: payload(),
            outputs: vec![OutputFile {
                name: text,
                media_type: "text/plain".to_owned(),
                size: 1,
                digest: Sha256Digest::of(b"there"),
            }],
        }),
        Say::Gate => {
            let PodEntry::GateOpened(opened) = gate(command, &text, Some(60_000)) else { unreachable!("a gate") };
            PodEntry::GateOpened(entries::GateOpened { seen_upto, ..opened })
        }
        Say::Timer => {
            let PodEntry::TimerStarted(started) = timer(command) else { unreachable!("a timer") };
            PodEntry::TimerStarted(entries::TimerStarted { seen_upto, ..started })
        }
        Say::Steps(n) => PodEntry::StepsChanged(entries::StepsChanged {
            command,
            seen_upto,
            steps: (0..n).map(|n| StepProgress { id: format!("{text}{n}"), status: StepStatus::Active }).collect(),
        }),
        Say::Park(n) => PodEntry::Parked(entries::Parked {
            seen_upto,
            waiting_for: (0..n)
                .map(|_| WaitTarget {
                    kind: WaitKind::Signal,
                    name: Some(text.clone()),
                    step: Some(text.clone()),
                    target: None,
                })
                .collect(),
        }),
        Say::Block => PodEntry::Blocked(entries::Blocked {
            code: BlockCode::CodeError,
            site: Some(Site { file: text.clone(), line: u32::MAX }),
            activity: Some(text),
            detail: None,
        }),
        Say::Leave => PodEntry::Released(entries::PodReleased { epoch: None, cause: ReleaseCause::Parked }),
    }
}

/// The run after its pod has said this, or as much of it as the journal takes.
fn after(said: Vec<(Say, String)>, cancelled: bool, lost: bool) -> RunState {
    let mut state = held(&queued(&created()));
    for said in said {
        let request = AppendRequest {
            epoch: state.epoch,
            head: state.length - 1,
            head_hash: None,
            entries: vec![entry(said, &state)],
        };
        let append = Append {
            pod_uid: "pod-1",
            request: &request,
            has_blob: &|_| true,
            limits: AppendLimits {
                inline_max: INLINE_MAX,
                entry_max: 1 << 20,
                entries_max: 10_000,
                bytes_max: 1 << 30,
            },
        };
        state = machine::append(&state, &append, at(3)).state;
    }
    if cancelled {
        state = machine::cancel(&state, "user-action", "bob", at(3)).state;
    }
    if lost { machine::job_gone(&state, 1, at(4)).state } else { state }
}

fn schema_of_status() -> Validator {
    let crd = serde_json::to_value(WorkflowRun::crd()).unwrap();
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status").unwrap();
    jsonschema::validator_for(schema).unwrap()
}

#[test]
fn a_cancelled_run_says_what_may_have_happened_all_the_same() {
    let posting = vec![(Say::Schedule, "post".to_owned()), (Say::Start(0), String::new())];
    let under_way = after(posting.clone(), true, false);
    assert_eq!(under_way.phase(), Phase::Running);
    let (reason, text) = was_cancelled(&after(posting.clone(), true, true));
    assert_eq!(reason, Reason::CancelledEffectUnknown);
    assert_eq!(text, "run was cancelled; it is not known whether these activities had their effect: post");
    let known = posting.into_iter().chain([(Say::Complete(0), "pack.xlsx".to_owned())]).collect();
    assert_eq!(was_cancelled(&after(known, true, true)), (Reason::Cancelled, "run was cancelled".to_owned()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_state_has_a_status_that_the_api_server_takes(
        said in prop::collection::vec(say(), 0..60),
        cancelled in any::<bool>(),
        lost in any::<bool>(),
        pods_live in any::<bool>(),
    ) {
        let (schema, pin, state) = (schema_of_status(), pin(None), after(said, cancelled, lost));
        // Those that a manifest can declare.
        let titles = state.steps.iter().filter(|step| step.id.chars().count() <= 63);
        let titles: Vec<_> = titles.map(|step| (step.id.clone(), step.id.clone())).collect();
        let limits = crate::args::Settings::for_tests(std::path::Path::new("/")).for_journal().limits;
        let status = project(&Source {
            generation: Some(1),
            before: None,
            state: &state,
            pin: &pin,
            titles: &titles,
            limits,
            pods_live,
            now: at(5),
        });
        let status: Value = serde_json::to_value(status).unwrap();
        let errors: Vec<_> = schema.iter_errors(&status).map(|error| format!("{}: {error}", error.instance_path())).collect();
        prop_assert!(errors.is_empty(), "{errors:?}");
    }
}
