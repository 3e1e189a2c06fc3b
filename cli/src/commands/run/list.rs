//! `ntro run list`.

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;
use ntro_crds::WorkflowRun;

use super::{api, phase};
use crate::args::RunListArgs;
use crate::cluster::Cluster;
use crate::commands::shared::columns;
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::{Printer, Table};

pub(super) async fn run(args: &RunListArgs, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let what = format!("list WorkflowRuns in namespace {}", cluster.namespace());
    let mut runs = api(cluster).list(&ListParams::default()).await.map_err(|e| Failure::from_kube(&what, e))?.items;
    runs.retain(|r| args.workflow.as_ref().is_none_or(|w| &r.spec.request.workflow_ref.name == w));
    runs.sort_by_key(|r| std::cmp::Reverse(r.creation_timestamp()));
    let now = Timestamp::now();
    printer.objects(&runs, || Table {
        header: vec![
            "NAME", "WORKFLOW", "PERIOD", "PHASE", "WAITING", "SEGMENT", "AGE", "TRIGGER", "VERSION", "RUN ID",
        ],
        rows: runs.iter().map(|r| row(r, now)).collect(),
        wide_from: Some(7),
    })?;
    Ok(ExitStatus::Success)
}

fn row(run: &WorkflowRun, now: Timestamp) -> Vec<String> {
    let request = &run.spec.request;
    let status = run.status.clone().unwrap_or_default();
    let waiting: Vec<_> =
        status.waiting_for.iter().flatten().filter_map(|w| w.step.clone().or(w.name.clone())).collect();
    vec![
        run.name_any(),
        request.workflow_ref.name.clone(),
        columns::text(request.context.as_ref().and_then(|c| c.period.clone())),
        phase(run),
        if waiting.is_empty() { "-".into() } else { waiting.join(",") },
        columns::text(status.segment),
        columns::age(run.creation_timestamp().as_ref(), now),
        columns::variant(Some(request.trigger.kind)),
        columns::text(status.pin.map(|p| p.runbook.version)),
        columns::text(status.run_id),
    ]
}
