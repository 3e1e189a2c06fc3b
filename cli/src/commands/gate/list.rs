//! `ntro gate list`.

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;
use ntro_crds::Gate;
use ntro_crds::gate::GateState;

use super::api;
use crate::args::GateListArgs;
use crate::cluster::Cluster;
use crate::commands::shared::columns;
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::{Printer, Table};

pub(super) async fn run(args: &GateListArgs, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let what = format!("list Gates in namespace {}", cluster.namespace());
    let mut gates = api(cluster).list(&ListParams::default()).await.map_err(|e| Failure::from_kube(&what, e))?.items;
    gates.retain(|g| args.all || state(g) == Some(GateState::Open));
    gates.retain(|g| args.run.as_ref().is_none_or(|run| &g.spec.run == run));
    gates.sort_by_key(|g| (g.spec.due.clone(), g.creation_timestamp()));
    let now = Timestamp::now();
    printer.objects(&gates, || Table {
        header: vec!["NAME", "RUN", "STEP", "TITLE", "STATE", "DUE", "AGE", "REVISION", "DECIDED BY"],
        rows: gates
            .iter()
            .map(|g| {
                let status = g.status.clone().unwrap_or_default();
                let deciders: Vec<_> = status.decisions.iter().flatten().map(|d| d.actor.clone()).collect();
                vec![
                    g.name_any(),
                    g.spec.run.clone(),
                    g.spec.step.clone(),
                    g.spec.title.clone(),
                    columns::variant(status.state),
                    columns::time(g.spec.due.as_ref()),
                    columns::age(g.creation_timestamp().as_ref(), now),
                    columns::text(status.revision.map(|r| r.n)),
                    if deciders.is_empty() { "-".into() } else { deciders.join(",") },
                ]
            })
            .collect(),
        wide_from: Some(7),
    })?;
    if gates.is_empty() && printer.is_human_readable() {
        printer.progress(format!("no open gates in namespace {}", cluster.namespace()));
    }
    Ok(ExitStatus::Success)
}

fn state(gate: &Gate) -> Option<GateState> {
    gate.status.as_ref().and_then(|s| s.state)
}
