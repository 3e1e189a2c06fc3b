//! `ntro run logs`.

use super::{path, read, session};
use crate::args::RunLogs;
use crate::cluster::Cluster;
use crate::error::{Outcome, Result};
use crate::printer::Printer;

pub(super) async fn logs(args: &RunLogs, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let run = read(cluster, &args.name).await?;
    let session = session(cluster, &run).await?;
    let segment = args.segment.map(|n| format!("&segment={n}")).unwrap_or_default();
    let path = path(cluster, &args.name, &format!("logs?follow={}{segment}", args.follow));
    session.stream(&path, |piece| printer.bytes(piece)).await?;
    Ok(Outcome::Done)
}
