//! `ntro run output`.

use serde_json::Value;

use super::{path, read, session};
use crate::args::RunOutput;
use crate::cluster::Cluster;
use crate::error::{Failure, Outcome, Result};
use crate::printer::{Printer, Table};

pub(super) async fn output(args: &RunOutput, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let run = read(cluster, &args.name).await?;
    let session = session(cluster, &run).await?;
    if args.audit {
        session.stream(&path(cluster, &args.name, "audit"), |piece| printer.bytes(piece)).await?;
        return Ok(Outcome::Done);
    }
    if let Some(name) = &args.wanted {
        let bytes = session.get(&path(cluster, &args.name, &format!("outputs/{}", escape(name)))).await?;
        match &args.file {
            Some(file) => {
                std::fs::write(file, &bytes)
                    .map_err(|e| Failure::Other(format!("cannot write {}: {e}", file.display())))?;
                printer.progress(format!("{} bytes written to {}", bytes.len(), file.display()));
            }
            None => printer.bytes(&bytes),
        }
        return Ok(Outcome::Done);
    }
    let read = |bytes: bytes::Bytes| {
        serde_json::from_slice::<Value>(&bytes)
            .map_err(|e| Failure::Other(format!("the operator's answer cannot be read: {e}")))
    };
    let outputs = read(session.get(&path(cluster, &args.name, "outputs")).await?)?;
    let result = read(session.get(&path(cluster, &args.name, "result")).await?)?;
    if !printer.for_people() {
        printer.line(format!("{:#}", serde_json::json!({"result": result["result"], "outputs": outputs["outputs"]})));
        return Ok(Outcome::Done);
    }
    printer.line(format!("{:#}", result["result"]));
    let rows: Vec<_> = outputs["outputs"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|o| vec![word(&o["name"]), o["size"].to_string(), word(&o["mediaType"]), word(&o["digest"])])
        .collect();
    printer.line("");
    printer.table(&Table { header: vec!["OUTPUT", "BYTES", "TYPE", "DIGEST"], rows, wide_from: None });
    Ok(Outcome::Done)
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

/// Percent-encodes what may not stand in a path segment.
fn escape(segment: &str) -> String {
    segment.bytes().fold(String::new(), |mut text, byte| {
        use std::fmt::Write as _;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}
