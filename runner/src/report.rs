//! What the runner says outside the journal: one JSON object per line with ids, steps and classes of errors. Never
//! payload.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serializer as _;
use serde_json::{Map, Value, json};

use crate::clock;
use crate::exit_code::ExitCode;

/// The codes of a `blocked` entry that the runtime itself writes.
const CODES: [&str; 10] = [
    "Divergence",
    "ArgsDrift",
    "CodeError",
    "SdkMisuse",
    "GateOverlap",
    "BundleInvalid",
    "RuntimeTooOld",
    "EffectUnknown",
    "ActivityRetriesExhausted",
    "TooLarge",
];

type Fields<'a> = Vec<(&'a str, Value)>;

#[derive(Debug, Default)]
struct Known {
    ids: Fields<'static>,
    steps: BTreeSet<String>,
}

/// The container's own output, and its termination message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report(Arc<Mutex<Known>>);

impl Report {
    /// From now on every line names the run.
    pub(crate) fn identify(&self, run_id: &str, segment: u64, epoch: u64) {
        let ids = vec![("runId", json!(run_id)), ("segment", json!(segment)), ("epoch", json!(epoch))];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ids = ids;
    }

    /// The steps of the bundle's manifest; only these are ever named.
    pub(crate) fn declare_steps(&self, ids: BTreeSet<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).steps = ids;
    }

    /// One line.
    pub(crate) fn event(&self, event: &str, fields: &[(&str, Value)]) {
        let ids = self.ids();
        let head = [("time", json!(clock::now())), ("event", json!(event))];
        print(&object(head.iter().chain(&ids).chain(fields)));
    }

    /// An entry that the child wrote. Words of its own are shown only if the manifest or the protocol knows them.
    pub(crate) fn entry(&self, entry: &Map<String, Value>) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fields = shown(entry, &known.steps);
        drop(known);
        self.event("appended", &fields);
    }

    /// Has panics reported by place: their texts can hold payload, and must not reach the container's output.
    pub(crate) fn install_hook(&self) {
        let report = self.clone();
        std::panic::set_hook(Box::new(move |panic| report.defect(panic)));
    }

    fn defect(&self, panic: &PanicHookInfo<'_>) {
        let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line()));
        let ids = self.0.try_lock().map(|known| known.ids.clone()).unwrap_or_default();
        let fields = [
            ("time", json!(clock::now())),
            ("event", json!("defect")),
            ("error", json!("panic")),
            ("where", json!([place])),
        ];
        print(&object(fields.iter().chain(&ids)));
    }

    /// Overwrites whatever stands in the container's termination message.
    pub(crate) fn termination_message(&self, path: &Path, code: ExitCode) {
        let ids = self.ids();
        if std::fs::write(path, object(ids.iter().chain(&[("exit", json!(code.name()))]))).is_err() {
            self.event("noTerminationMessage", &[]);
        }
    }

    fn ids(&self) -> Fields<'static> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ids.clone()
    }
}

fn shown(entry: &Map<String, Value>, steps: &BTreeSet<String>) -> Fields<'static> {
    let mut fields = vec![("type", json!(entry.get("type").and_then(Value::as_str).unwrap_or_default()))];
    for name in ["command", "target", "attempt"] {
        if let Some(number) = entry.get(name).and_then(Value::as_u64) {
            fields.push((name, json!(number)));
        }
    }
    let text = |name| entry.get(name).and_then(Value::as_str);
    if let Some(step) = text("step").filter(|step| steps.contains(*step)) {
        fields.push(("step", json!(step)));
    }
    if let Some(code) = text("code").filter(|code| CODES.contains(code)) {
        fields.push(("code", json!(code)));
    }
    fields
}

/// A JSON object with its fields in this order.
fn object<'a>(fields: impl Iterator<Item = &'a (&'a str, Value)>) -> String {
    let mut text = Vec::new();
    let written = serde_json::Serializer::new(&mut text).collect_map(fields.map(|(name, value)| (name, value)));
    written.ok().and_then(|()| String::from_utf8(text).ok()).unwrap_or_default()
}

fn print(line: &str) {
    // Nobody may listen any more: the journal has what matters.
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_child_are_shown_only_if_somebody_else_knows_them() {
        let entry = json!({"type": "blocked", "command": 3, "target": "x", "step": "one", "code": "SECRET", "detail": "SECRET"});
        let entry = entry.as_object().unwrap();
        let fields = shown(entry, &BTreeSet::from(["one".to_owned()]));
        let text = object(fields.iter());
        assert_eq!(text, r#"{"type":"blocked","command":3,"step":"one"}"#);
        let fields = shown(entry, &BTreeSet::new());
        assert_eq!(object(fields.iter()), r#"{"type":"blocked","command":3}"#);
    }
}
