//! A gate's content on a terminal: title, reason, summary, tables, checks.

use ntro_crds::Gate;
use serde_json::Value;

use crate::commands::shared::columns;
use crate::printer::{Printer, Table};

/// Rows of a table beyond these are only counted.
const MAX_ROWS: usize = 200;

/// `answer` is the operator's: `{revision, digest, content{reason, display_hint, payload, checks}}`.
pub(super) fn print(gate: &Gate, answer: &Value, printer: Printer) {
    let content = &answer["content"];
    printer.line(format!("{}  ({})", gate.spec.title, gate.spec.class));
    printer.line(format!("run       {}", gate.spec.run));
    printer.line(format!("state     {}", columns::variant(gate.status.as_ref().and_then(|s| s.state))));
    printer.line(format!("revision  {}  {}", answer["revision"], plain(&answer["digest"])));
    if let Some(due) = &gate.spec.due {
        printer.line(format!("due       {}", columns::time(Some(due))));
    }
    if let Some(reason) = content["reason"].as_str() {
        printer.line(format!("\n{reason}"));
    }
    let config = &content["display_hint"]["config"];
    for key in ["title", "subtitle", "instructions", "summary"] {
        if let Some(text) = config[key].as_str() {
            printer.line(format!("\n{text}"));
        }
    }
    payload(&content["payload"], config, printer);
    checks(&content["checks"], printer);
}

fn payload(payload: &Value, config: &Value, printer: Printer) {
    let datasets = config["datasets"].as_array().cloned().unwrap_or_default();
    let shown: Vec<&str> = datasets.iter().filter_map(|d| d["data_key"].as_str().or(d["key"].as_str())).collect();
    for dataset in &datasets {
        let key = dataset["data_key"].as_str().or(dataset["key"].as_str()).unwrap_or_default();
        if let Some(rows) = payload[key].as_array() {
            printer.line(format!("\n{}", dataset["label"].as_str().unwrap_or(key)));
            rows_table(rows, dataset["columns"].as_array(), printer);
        }
    }
    let Some(fields) = payload.as_object() else {
        if !payload.is_null() {
            printer.line(format!("\n{payload:#}"));
        }
        return;
    };
    for (key, value) in fields.iter().filter(|(key, _)| !shown.contains(&key.as_str())) {
        match value.as_array() {
            Some(rows) if rows.iter().all(Value::is_object) && !rows.is_empty() => {
                printer.line(format!("\n{key}"));
                rows_table(rows, None, printer);
            }
            _ if value.is_object() || value.is_array() => printer.line(format!("\n{key}\n{value:#}")),
            _ => printer.line(format!("{key:<28}  {}", plain(value))),
        }
    }
}

fn rows_table(rows: &[Value], columns: Option<&Vec<Value>>, printer: Printer) {
    let keys: Vec<(String, String)> = match columns {
        Some(columns) => columns
            .iter()
            .filter_map(|c| c["key"].as_str().map(|k| (k.to_owned(), c["label"].as_str().unwrap_or(k).to_owned())))
            .collect(),
        None => rows
            .first()
            .and_then(Value::as_object)
            .map(|row| row.keys().map(|k| (k.clone(), k.clone())).collect())
            .unwrap_or_default(),
    };
    let mut lines = vec![keys.iter().map(|(_, label)| label.to_uppercase()).collect::<Vec<_>>()];
    lines.extend(rows.iter().take(MAX_ROWS).map(|row| keys.iter().map(|(key, _)| plain(&row[key.as_str()])).collect()));
    printer.table(&Table { rows: lines, ..Table::default() });
    if rows.len() > MAX_ROWS {
        printer.line(format!("… and {} more rows; use `-o json` to print all", rows.len() - MAX_ROWS));
    }
}

fn checks(checks: &Value, printer: Printer) {
    let Some(items) = checks["items"].as_array() else { return };
    printer.line(format!("\nChecks: {}", plain(&checks["summary"])));
    for item in items {
        printer.line(format!("  {:<8} {}  {}", plain(&item["status"]), plain(&item["title"]), plain(&item["detail"])));
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.replace('\n', " "),
        other => other.to_string(),
    }
}
