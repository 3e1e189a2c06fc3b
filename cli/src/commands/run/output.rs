//! `ntro run output`.

use std::path::Path;

use serde_json::{Value, json};

use super::{api_path, get, open_session};
use crate::args::RunOutputArgs;
use crate::cluster::Cluster;
use crate::error::{ExitStatus, Failure, Result};
use crate::operator_api::ReadSession;
use crate::printer::{Printer, Table};

pub(super) async fn run(args: &RunOutputArgs, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let run = get(cluster, &args.name).await?;
    let session = open_session(cluster, &run).await?;
    let path = |rest: &str| api_path(cluster, &args.name, rest);
    if args.audit {
        session.stream(&path("audit"), |piece| printer.bytes(piece)).await?;
    } else if let Some(name) = &args.output_name {
        let path = path(&format!("outputs/{}", percent_encode(name)));
        fetch(&session, &path, args.file.as_deref(), printer).await?;
    } else {
        let outputs = session.get_json(&path("outputs")).await?;
        let result = session.get_json(&path("result")).await?;
        print(&result["result"], &outputs["outputs"], printer);
    }
    Ok(ExitStatus::Success)
}

async fn fetch(session: &ReadSession, path: &str, file: Option<&Path>, printer: Printer) -> Result<()> {
    let bytes = session.get(path).await?;
    let Some(file) = file else {
        printer.bytes(&bytes);
        return Ok(());
    };
    std::fs::write(file, &bytes).map_err(|e| Failure::Other(format!("cannot write `{}`: {e}", file.display())))?;
    printer.progress(format!("wrote {} bytes to {}", bytes.len(), file.display()));
    Ok(())
}

fn print(result: &Value, outputs: &Value, printer: Printer) {
    if !printer.is_human_readable() {
        printer.line(format!("{:#}", json!({"result": result, "outputs": outputs})));
        return;
    }
    printer.line(format!("{result:#}"));
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let rows: Vec<_> = outputs
        .as_array()
        .into_iter()
        .flatten()
        .map(|o| vec![text(&o["name"]), o["size"].to_string(), text(&o["mediaType"]), text(&o["digest"])])
        .collect();
    printer.line("");
    printer.table(&Table { header: vec!["OUTPUT", "BYTES", "TYPE", "DIGEST"], rows, wide_from: None });
}

/// Encodes what is reserved in a path segment.
fn percent_encode(segment: &str) -> String {
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
