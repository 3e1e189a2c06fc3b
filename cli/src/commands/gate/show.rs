//! `ntro gate show`.

use serde_json::Value;

use super::{open_session, parse, read, render};
use crate::args;
use crate::cluster::Cluster;
use crate::error::{Outcome, Result};
use crate::printer::{Printer, yaml};

pub(super) async fn show(name: &str, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let gate = read(cluster, name).await?;
    let person = cluster.whoami().await?;
    let session = open_session(cluster, &person, &gate).await?;
    let path = format!("/v1/runs/{}/{}/gates/{name}", cluster.namespace(), gate.spec.run);
    let content: Value = parse(&session.get(&path).await?)?;
    match printer.output() {
        args::Output::Json => printer.line(format!("{content:#}")),
        args::Output::Yaml => printer.bytes(yaml(&content)?.as_bytes()),
        args::Output::Name => printer.line(format!("gate/{name}")),
        args::Output::Table | args::Output::Wide => {
            render::print(&gate, &content, printer);
        }
    }
    Ok(Outcome::Done)
}
