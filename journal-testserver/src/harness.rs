//! The operations of the harness: what the operator and people would do.

use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use ntro_journal::machine::{Gate, GateProgress};
use ntro_journal::protocol::{Entry, Payload, Pin, RunTenant, RunTrigger, RunWorkflow, Verb, entries};
use ntro_journal::{
    CreateRun, DraftRef, GateDecision, Inserted, Journal, RunState, UserActionOutcome, failpoint, verify,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Fault, Server, fields};

const KEY: &str = "harness";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    namespace: Option<String>,
    name: String,
    workflow: Option<String>,
    workflow_uid: Option<String>,
    slot: Option<String>,
    kind: Option<String>,
    initiator: Option<String>,
    #[serde(default)]
    pin: Map<String, Value>,
    #[serde(default)]
    input: Value,
    input_text: Option<String>,
    run: Option<Uuid>,
    request_hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfRun {
    run: Uuid,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    run: Uuid,
    segment: u32,
    name: Option<String>,
    uid: Option<String>,
    template_hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByPerson {
    run: Uuid,
    #[serde(default = "somebody")]
    actor: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default = "fresh")]
    user_action: String,
    gate: Option<Uuid>,
    step: Option<String>,
    verb: Option<Verb>,
    revision: Option<u32>,
    digest: Option<String>,
    acted_at: Option<Timestamp>,
    comment: Option<Value>,
    correction: Option<Value>,
    name: Option<String>,
    #[serde(default)]
    args: Vec<Value>,
    #[serde(default)]
    repeat_effects: Vec<u64>,
}

fn somebody() -> String {
    "somebody".to_owned()
}

fn fresh() -> String {
    Uuid::new_v4().to_string()
}

fn usage<T>(message: &str) -> Result<T, Fault> {
    Err(Fault::Usage(message.to_owned()))
}

/// Answers one operation.
pub(crate) async fn answer(server: &Server, op: &str, request: &Value) -> Result<Value, Fault> {
    match op {
        "create" => create(server, fields(request)?).await,
        "jobRecorded" => {
            let it: Recorded = fields(request)?;
            let name = it.name.unwrap_or_else(|| format!("job-{}", it.segment));
            let uid = it.uid.unwrap_or_else(|| name.clone());
            let hash = it.template_hash.unwrap_or_else(|| "template".to_owned());
            server.journal.job_recorded(it.run, it.segment, &name, &uid, &hash).await?;
            Ok(json!({}))
        }
        "decide" | "signal" | "cancel" | "retry" => user_action(server, op, fields(request)?).await,
        "advance" => {
            let Some(clock) = &server.clock else { return usage("time is not virtual") };
            clock.advance(SignedDuration::from_millis(request["ms"].as_i64().unwrap_or(0)));
            tick(server).await
        }
        "tick" => tick(server).await,
        "now" => Ok(json!({"now": server.journal.now().to_string()})),
        "arm" => {
            let Some(name) = request["failpoint"].as_str() else { return usage("which failpoint?") };
            failpoint::arm(name, request["n"].as_u64().unwrap_or(1));
            Ok(json!({}))
        }
        "holderGone" | "state" | "entries" | "export" | "logs" => view(server, op, fields(request)?).await,
        _ => usage("no such operation"),
    }
}

async fn entries(journal: &Journal, run: Uuid, from: u64) -> Result<Vec<Entry>, Fault> {
    let (mut all, mut next) = (Vec::new(), from);
    loop {
        let page = journal.entries(run, next).await?;
        let Some(last) = page.last() else { return Ok(all) };
        next = last.seq + 1;
        all.extend(page);
    }
}

async fn view(server: &Server, op: &str, it: OfRun) -> Result<Value, Fault> {
    let (journal, run) = (&server.journal, it.run);
    match op {
        "holderGone" => {
            let segment = journal.state(run).await?.segment;
            journal.job_gone(run, segment).await?;
            server.make_jobs(run).await?;
            Ok(json!({}))
        }
        "entries" => Ok(json!({"entries": entries(journal, run, it.from).await?})),
        "export" => {
            let export: String = journal.audit_export(run).await?.try_collect().await?;
            let end = verify(&export).map_err(|error| Fault::Usage(error.to_string()))?;
            Ok(json!({"lines": export.lines().collect::<Vec<_>>(), "length": end.length, "head": end.head}))
        }
        "logs" => {
            let wait = Duration::from_millis(it.wait_ms);
            let lines = journal.read_log(run, None, u32::MAX, wait).await?;
            let line = |it: ntro_journal::store::StoredLine| json!({"epoch": it.epoch, "n": it.line.n, "stream": it.line.stream, "time": it.line.time, "text": it.line.text});
            Ok(json!({"lines": lines.into_iter().map(line).collect::<Vec<_>>()}))
        }
        "state" => Ok(picture(&*journal.state(run).await?)),
        _ => usage("no such view of a run"),
    }
}

async fn create(server: &Server, it: Create) -> Result<Value, Fault> {
    let namespace = it.namespace.unwrap_or_else(|| "test".to_owned());
    let uid = it.workflow_uid.unwrap_or_else(|| "workflow-uid".to_owned());
    let run_id = it.run.unwrap_or_else(Uuid::new_v4);
    let input = it.input_text.unwrap_or_else(|| it.input.to_string());
    let request_hash = it.request_hash.unwrap_or_else(|| input.clone());
    let run = CreateRun {
        run: entries::RunCreated {
            run_id,
            tenant: RunTenant { slug: namespace.clone(), namespace_uid: namespace.clone() },
            namespace,
            name: it.name,
            workflow: RunWorkflow { name: it.workflow.unwrap_or_else(|| "workflow".to_owned()), uid },
            slot: it.slot,
            trigger: RunTrigger {
                kind: it.kind.unwrap_or_else(|| "Manual".to_owned()),
                initiator: it.initiator.unwrap_or_else(somebody),
            },
            pin: Pin(it.pin),
            input: Payload::inline(input),
        },
        request_hash,
    };
    let (run, outcome) = match server.journal.create_run(run).await? {
        Inserted::Created(run) => (run, "Created"),
        Inserted::Existing(run) => (run, "Existing"),
        Inserted::AlreadyRan(run) => (run, "AlreadyRan"),
        Inserted::Conflict { run_id, .. } => (run_id, "Conflict"),
    };
    server.make_jobs(run).await?;
    Ok(json!({"run": run, "outcome": outcome}))
}

async fn tick(server: &Server) -> Result<Value, Fault> {
    let now = server.journal.now();
    if let Some((_, error)) = server.journal.tick(|_| Some(now)).await.into_iter().next() {
        return Err(error.into());
    }
    for state in server.journal.take_up(|_, _| true).await? {
        server.make_jobs(state.run_id).await?;
    }
    Ok(json!({"now": server.journal.now().to_string()}))
}

async fn user_action(server: &Server, op: &str, it: ByPerson) -> Result<Value, Fault> {
    let (journal, run) = (&server.journal, it.run);
    let outcome = match op {
        "decide" => {
            let state = journal.state(run).await?;
            let open = |gate: &&Gate| match (&it.gate, &it.step) {
                (Some(id), _) => gate.id == *id,
                (None, Some(step)) => gate.step == *step && gate.state == GateProgress::Open,
                (None, None) => gate.state == GateProgress::Open,
            };
            let gate = state.gates.values().find(open);
            let Some(gate_id) = it.gate.or(gate.map(|gate| gate.id)) else { return usage("no gate is open") };
            let Some(verb) = it.verb else { return usage("which verb?") };
            let decision = GateDecision {
                gate_id,
                revision: it.revision.or(gate.map(|gate| gate.revision)).unwrap_or(1),
                digest: it.digest,
                verb,
                actor: it.actor,
                groups: it.groups,
                user_action: it.user_action,
                acted_at: it.acted_at.unwrap_or_else(|| journal.now()),
                comment: draft(server, run, it.comment).await?,
                correction: draft(server, run, it.correction).await?,
            };
            journal.decide(run, decision).await?
        }
        "signal" => {
            let args = Value::from(it.args).to_string();
            journal.signal(run, &it.user_action, &it.actor, &it.name.unwrap_or_default(), args).await?
        }
        "cancel" => journal.cancel(run, &it.user_action, &it.actor).await?,
        "retry" => journal.retry(run, &it.user_action, &it.actor, it.repeat_effects).await?,
        _ => return usage("no such user action"),
    };
    server.make_jobs(run).await?;
    Ok(match outcome {
        UserActionOutcome::Applied { seq } => json!({"outcome": "Applied", "seq": seq}),
        UserActionOutcome::Refused { reason, seq } => json!({"outcome": "Refused", "reason": reason, "seq": seq}),
    })
}

async fn draft(server: &Server, run: Uuid, value: Option<Value>) -> Result<Option<DraftRef>, Fault> {
    let Some(value) = value else { return Ok(None) };
    let digest = server.journal.put_draft(run, KEY, value.to_string()).await?;
    Ok(Some(DraftRef { key_hash: KEY.to_owned(), digest }))
}

/// The state as a reader of tests wants it.
fn picture(state: &RunState) -> Value {
    let gate = |gate: &Gate| {
        json!({
            "command": gate.command,
            "id": gate.id,
            "step": gate.step,
            "revision": gate.revision,
            "digest": gate.content_digest,
            "state": match &gate.state {
                GateProgress::Open => "Open",
                GateProgress::Decided => "Decided",
                GateProgress::Closed(cause) => cause.as_str(),
            },
            "verb": gate.decision.as_ref().map(|decision| decision.verb),
        })
    };
    let activity = |(command, it): (&u64, &ntro_journal::machine::Activity)| json!({"command": command, "activity": it.name, "attempt": it.attempt, "state": format!("{:?}", it.state)});
    json!({
        "run": state.run_id,
        "phase": state.phase(),
        "segment": state.segment,
        "wanted": state.wanted().map(|it| json!({"segment": it.segment, "cause": it.cause, "notBefore": it.not_before.to_string()})),
        "job": state.current_job().map(|job| json!({"name": job.name, "uid": job.uid})),
        "holder": state.holder().map(|it| json!({"epoch": it.epoch, "podUid": it.pod_uid})),
        "steps": state.steps,
        "waitingFor": state.waiting_for(),
        "gates": state.gates.values().map(gate).collect::<Vec<_>>(),
        "activities": state.activities.iter().map(activity).collect::<Vec<_>>(),
        "outputs": state.outputs.values().collect::<Vec<_>>(),
        "attempts": state.attempts,
        "blocked": state.blocked.as_ref().map(|it| json!({"code": it.code, "site": it.site, "activity": it.activity})),
        "error": state.terminal.as_ref().and_then(|it| it.error.clone()),
        "cancelRequested": state.cancel_requested.is_some(),
        "nextTimer": state.next_timer().map(|due| due.to_string()),
        "nextCommand": state.next_command,
        "length": state.length,
        "head": state.head_digest(),
    })
}
