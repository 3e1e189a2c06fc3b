//! How a run's payload is laid out for readers. Pure.

use ntro_crds::names;
use ntro_journal::machine::{Gate, GateProgress, RunState};
use ntro_journal::protocol::entries;
use ntro_journal::protocol::{Entry, EntryBody, GateCloseCause, LogLine, Payload, Verb};
use serde_json::{Value, json};

/// The gate of a run that has this name as a resource.
pub(super) fn gate_named<'a>(state: &'a RunState, name: &str) -> Option<&'a Gate> {
    state.gates.values().find(|gate| names::gate(&state.name, &gate.step, &gate.id.to_string()) == name)
}

/// The payload an entry shows at a gate.
pub(super) fn shown(entry: &Entry) -> Option<&Payload> {
    match &entry.body {
        EntryBody::GateOpened(it) => Some(&it.said.content),
        EntryBody::GateRevised(it) => Some(&it.said.content),
        _ => None,
    }
}

/// A gate and what it shows: `{gate, gateId, step, kind, component, actions, state, revision, digest, due?, content}`.
pub(super) fn gate(name: &str, gate: &Gate, content: &Value) -> Value {
    let mut view = json!({
        "gate": name,
        "gateId": gate.id,
        "step": gate.step,
        "kind": gate.kind,
        "component": gate.component,
        "actions": gate.actions,
        "state": gate_state(gate),
        "revision": gate.revision,
        "digest": gate.content_digest,
        "openedAt": gate.opened_at.to_string(),
        "content": content,
    });
    if let Some(due) = gate.due {
        view["due"] = json!(due.to_string());
    }
    view
}

fn gate_state(gate: &Gate) -> &'static str {
    match (&gate.state, &gate.decision) {
        (GateProgress::Open, _) => "Open",
        (GateProgress::Decided, Some(decision)) => match decision.verb {
            Verb::Approve => "Approved",
            Verb::Reject => "Rejected",
            Verb::Correct => "Corrected",
            Verb::Submit => "Submitted",
        },
        (GateProgress::Decided, None)
        | (GateProgress::Closed(GateCloseCause::Decided | GateCloseCause::Satisfied), _) => "Satisfied",
        (GateProgress::Closed(GateCloseCause::Expired), _) => "Expired",
        (GateProgress::Closed(GateCloseCause::Abandoned), _) => "Abandoned",
    }
}

/// The outputs of a run: `{outputs: [{name, size, mediaType, digest}]}`. The digest is the plain one of the content: who
/// reads this may read the content.
pub(super) fn outputs(state: &RunState) -> Value {
    let output = |(name, output): (&String, &ntro_journal::protocol::OutputFile)| json!({"name": name, "size": output.size, "mediaType": output.media_type, "digest": output.digest});
    json!({"outputs": state.outputs.iter().map(output).collect::<Vec<_>>()})
}

/// The steps of a run and its activities: names, effects, attempts and states, no payload. `carriers` are the entries of
/// the signals that the state knows as ignored.
pub(super) fn steps(state: &RunState, carriers: &[Entry]) -> Value {
    let activity = |(command, activity): (&u64, &ntro_journal::machine::Activity)| {
        json!({
            "command": command,
            "activity": activity.name,
            "step": activity.step,
            "effect": activity.effect,
            "attempt": activity.attempt,
            "state": format!("{:?}", activity.state),
        })
    };
    json!({
        "phase": state.phase(),
        "steps": state.steps,
        "waitingFor": state.waiting_for(),
        "activities": state.activities.iter().map(activity).collect::<Vec<_>>(),
        "ignoredSignals": state.ignored_signals.iter().map(|it| ignored_signal(*it, carriers)).collect::<Vec<_>>(),
    })
}

/// A signal that reached no handler: `{seq, reason, name?}`. What was handed in at a gate has no name here.
fn ignored_signal(ignored: entries::SignalIgnored, carriers: &[Entry]) -> Value {
    let mut view = json!({"seq": ignored.signal, "reason": ignored.reason});
    let carrier = carriers.iter().find(|entry| entry.seq == ignored.signal);
    if let Some(EntryBody::SignalReceived(signal)) = carrier.map(|entry| &entry.body) {
        view["name"] = json!(signal.name);
    }
    view
}

/// The payload a run ended with: its result, or what went wrong.
pub(super) fn ending(entry: &Entry) -> Option<(&'static str, &Payload)> {
    match &entry.body {
        EntryBody::RunCompleted(entries::RunCompleted { result, .. }) => Some(("result", result)),
        EntryBody::RunFailed(entries::RunFailed { detail, .. })
        | EntryBody::Blocked(entries::Blocked { detail: Some(detail), .. }) => Some(("detail", detail)),
        _ => None,
    }
}

/// A log line as text: time, stream, what was written. Control characters are made visible, so that a bundle cannot
/// steer the terminal of whoever reads its log.
pub(super) fn log_line(line: &LogLine) -> String {
    let visible = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let text: String = line.text.trim_end_matches(['\n', '\r']).chars().map(visible).collect();
    let time: String = line.time.chars().filter(|c| !c.is_control()).take(40).collect();
    format!("{time} {} {text}\n", line.stream.as_str())
}

#[cfg(test)]
mod tests {
    use ntro_journal::protocol::LogStream;

    use super::*;

    #[test]
    fn log_lines_cannot_steer_a_terminal() {
        let line = LogLine {
            n: 0,
            stream: LogStream::Stderr,
            time: "2026-10-31T08:00:00Z".to_owned(),
            text: "balance\tok\u{1b}[2J\n".to_owned(),
        };
        assert_eq!(log_line(&line), "2026-10-31T08:00:00Z stderr balance\tok\u{fffd}[2J\n");
    }
}
