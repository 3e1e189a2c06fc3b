//! Runs for tests: a pin, and journals brought to a state by the real rules.

use jiff::Timestamp;
use ntro_crds::workflow_run::RunPin;
use ntro_journal::machine::{self, Append, AppendLimits, Attach};
use ntro_journal::protocol::entries;
use ntro_journal::protocol::{
    self as journal, AppendRequest, GateKind, INLINE_MAX, Payload, PodEntry, ReleaseCause, RunSecret, RunTenant,
    RunTrigger, RunWorkflow, RunnerVersions,
};
use ntro_journal::{AttachPod, CreateRun, Journal, PurgeRecord, PurgedRun, RunPart, RunState};
use serde_json::{Value, json};
use uuid::Uuid;

/// Second `n` of the tests' day.
pub(crate) fn at(n: i64) -> Timestamp {
    Timestamp::from_second(1_793_865_600 + n).unwrap()
}

/// A pin with this gate policy.
pub(crate) fn pin(gate_policy: Option<Value>) -> RunPin {
    let digest = format!("sha256:{}", "a".repeat(64));
    let mut pin = json!({
        "runbook": {
            "name": "nav-monthly", "version": "1.0.0", "digest": digest, "layerDigest": digest,
            "repository": "oci://registry.example.com/acme/nav-monthly",
        },
        "workflowUid": "wf-uid",
        "tenant": "acme",
        "entity": "spv1",
        "image": format!("registry.example.com/ntro-runner@{digest}"),
        "serviceAccountName": "ntro-runner",
        "config": {"currency": "GBP"},
        "runTemplate": {"labels": {"labels.ntro.dev/cost-centre": "42"}},
        "secretRefs": [{"name": "ntro-run-bank"}],
    });
    if let Some(policy) = gate_policy {
        pin["gatePolicy"] = policy;
    }
    serde_json::from_value(pin).unwrap()
}

/// The first entry of a run that a person asked for, with an empty pin and input.
pub(crate) fn run_created(run_id: Uuid, namespace: &str, name: &str) -> entries::RunCreated {
    entries::RunCreated {
        run_id,
        namespace: namespace.to_owned(),
        tenant: RunTenant { slug: namespace.to_owned(), namespace_uid: format!("uid-{namespace}") },
        name: name.to_owned(),
        workflow: RunWorkflow { name: "nav".to_owned(), uid: "wf-uid".to_owned() },
        slot: None,
        trigger: RunTrigger { kind: "Manual".to_owned(), initiator: "ina".to_owned() },
        pin: journal::Pin::default(),
        input: Payload::inline("{}"),
    }
}

/// A runner of today.
pub(crate) fn versions() -> RunnerVersions {
    let text = || "1".to_owned();
    RunnerVersions { runtime: text(), protocol_min: 1, protocol_max: 1, python: text(), sdk: text() }
}

/// A run that was just created.
pub(crate) fn created() -> RunState {
    let run = run_created(Uuid::from_u128(7), "acme", "nav-abcde");
    machine::create(run, RunSecret::from_bytes([7; 32]), at(0)).unwrap().state
}

/// The same with the Job `job-<segment>` of the wanted segment recorded.
pub(crate) fn queued(state: &RunState) -> RunState {
    let segment = state.wanted().unwrap().segment;
    let (name, uid) = (format!("nav-abcde-{segment}"), format!("job-{segment}"));
    machine::job_recorded(state, segment, (&name, &uid, "hash"), at(1)).state
}

/// The same with the pod `pod-<segment>` as its holder.
pub(crate) fn held(state: &RunState) -> RunState {
    let attach = Attach {
        pod_name: format!("pod-{}", state.segment),
        pod_uid: format!("pod-{}", state.segment),
        job_uid: format!("job-{}", state.segment),
        versions: versions(),
        behind: false,
    };
    let outcome = machine::attach(state, &attach, at(2));
    outcome.reply.unwrap();
    outcome.state
}

/// The same after its holder said this.
pub(crate) fn said(state: &RunState, entries: Vec<PodEntry>) -> RunState {
    let request = AppendRequest { epoch: state.epoch, head: state.length - 1, head_hash: None, entries };
    let append = Append {
        pod_uid: &format!("pod-{}", state.segment),
        request: &request,
        has_blob: &|_| true,
        limits: AppendLimits { inline_max: INLINE_MAX, entry_max: 1 << 20, entries_max: 10_000, bytes_max: 1 << 30 },
    };
    let outcome = machine::append(state, &append, at(3));
    outcome.reply.unwrap();
    outcome.state
}

/// The same with an open gate of `step`.
pub(crate) fn asking(state: &RunState, step: &str) -> RunState {
    let PodEntry::GateOpened(gate) = gate(state.next_command, step, None) else { unreachable!("a gate") };
    said(state, vec![PodEntry::GateOpened(entries::GateOpened { seen_upto: state.last_delivery(), ..gate })])
}

/// What opens a gate of `step`.
pub(crate) fn gate(command: u64, step: &str, due_ms: Option<u64>) -> PodEntry {
    PodEntry::GateOpened(entries::GateOpened {
        command,
        seen_upto: 0,
        step: step.to_owned(),
        kind: GateKind::Review,
        component: "DATA_TABLE".to_owned(),
        actions: vec!["approve".to_owned(), "reject".to_owned()],
        due_ms,
        content: Payload::inline(format!("{{\"of\":\"{step}\"}}")),
    })
}

/// What starts a timer of ten seconds.
pub(crate) fn timer(command: u64) -> PodEntry {
    PodEntry::TimerStarted(entries::TimerStarted { command, seen_upto: 0, duration_ms: 10_000 })
}

/// A run `nav` of this namespace that said this, parked, and has no pod any more.
pub(crate) async fn parked(journal: &Journal, namespace: &str, said: Vec<PodEntry>) -> Uuid {
    let run_id = Uuid::new_v4();
    let run = run_created(run_id, namespace, &format!("nav-{run_id}"));
    journal.create_run(CreateRun { run, request_hash: "h".to_owned() }).await.unwrap();
    journal.job_recorded(run_id, 1, "job", "job", "t").await.unwrap();
    let text = || "pod".to_owned();
    let pod = AttachPod {
        pod_name: text(),
        pod_uid: text(),
        job_uid: "job".to_owned(),
        versions: versions(),
        published: None,
    };
    let attached = journal.attach(run_id, pod).await.unwrap();
    let session = journal.session(&attached.session).unwrap();
    let leave = [
        PodEntry::Parked(entries::Parked { seen_upto: 0, waiting_for: Vec::new() }),
        PodEntry::Released(entries::PodReleased { epoch: None, cause: ReleaseCause::Parked }),
    ];
    let (epoch, head) = (attached.epoch, attached.entries.len() as u64 - 1);
    let entries = said.into_iter().chain(leave).collect();
    journal.append(&session, AppendRequest { epoch, head, head_hash: None, entries }).await.unwrap();
    run_id
}

/// What is left of such a run, cancelled at second 5 and purged since.
pub(crate) fn purged() -> PurgedRun {
    let state = machine::cancel(&created(), "act", "bob", at(5)).state;
    PurgedRun {
        run_id: state.run_id,
        namespace: state.namespace.clone(),
        tenant: state.tenant.clone(),
        name: state.name.clone(),
        ended_at: at(5),
        length: state.length,
        hash: state.head,
        record: PurgeRecord {
            part: RunPart::Journal,
            at: at(6),
            days: 365,
            phase: state.phase(),
            head: state.head_digest(),
            entry_bytes: state.bytes,
        },
    }
}
