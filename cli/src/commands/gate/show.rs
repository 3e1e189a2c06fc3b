//! `ntro gate show`.

use super::{get, open_session, render};
use crate::args::OutputFormat;
use crate::cluster::Cluster;
use crate::error::{ExitStatus, Result};
use crate::printer::{Printer, yaml};

pub(super) async fn run(name: &str, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let gate = get(cluster, name).await?;
    let person = cluster.whoami().await?;
    let session = open_session(cluster, &person, &gate).await?;
    let path = format!("/v1/runs/{}/{}/gates/{name}", cluster.namespace(), gate.spec.run);
    let content = session.get_json(&path).await?;
    match printer.output() {
        OutputFormat::Json => printer.line(format!("{content:#}")),
        OutputFormat::Yaml => printer.bytes(yaml(&content)?.as_bytes()),
        OutputFormat::Name => printer.line(format!("gate/{name}")),
        OutputFormat::Table | OutputFormat::Wide => render::print(&gate, &content, printer),
    }
    Ok(ExitStatus::Success)
}
