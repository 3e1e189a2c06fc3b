//! `ntro run logs`.

use super::{api_path, get, open_session};
use crate::args::RunLogsArgs;
use crate::cluster::Cluster;
use crate::error::{ExitStatus, Result};
use crate::printer::Printer;

pub(super) async fn run(args: &RunLogsArgs, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let run = get(cluster, &args.name).await?;
    let session = open_session(cluster, &run).await?;
    let segment = args.segment.map(|n| format!("&segment={n}")).unwrap_or_default();
    let path = api_path(cluster, &args.name, &format!("logs?follow={}{segment}", args.follow));
    session.stream(&path, |piece| printer.bytes(piece)).await?;
    Ok(ExitStatus::Success)
}
