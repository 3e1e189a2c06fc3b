//! `ntro workflow list`.

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;
use ntro_crds::{Workflow, conditions};

use super::{api, schedules};
use crate::cluster::Cluster;
use crate::commands::shared::columns;
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::{Printer, Table};

pub(super) async fn run(cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let what = format!("list Workflows in namespace {}", cluster.namespace());
    let items = api(cluster).list(&ListParams::default()).await.map_err(|e| Failure::from_kube(&what, e))?.items;
    let now = Timestamp::now();
    printer.objects(&items, || Table {
        header: vec![
            "NAME",
            "RUNBOOK",
            "VERSION",
            "ENTITY",
            "SCHEDULE",
            "READY",
            "NEXT",
            "ACTIVE",
            "AGE",
            "ZONE",
            "SUSPENDED",
        ],
        rows: items.iter().map(|w| row(w, now)).collect(),
        wide_from: Some(9),
    })?;
    Ok(ExitStatus::Success)
}

fn row(workflow: &Workflow, now: Timestamp) -> Vec<String> {
    let spec = &workflow.spec;
    let status = workflow.status.clone().unwrap_or_default();
    let ready = columns::condition(status.conditions.as_ref(), conditions::READY);
    vec![
        workflow.name_any(),
        spec.runbook_ref.name.clone(),
        columns::text(status.runbook.map(|r| r.version)),
        spec.entity.clone(),
        schedules(spec),
        ready.map_or_else(|| "-".into(), |c| if c.status == "True" { c.status.clone() } else { c.reason.clone() }),
        columns::time(status.next_schedule_time.as_ref()),
        status.active.map_or(0, |a| a.len()).to_string(),
        columns::age(workflow.creation_timestamp().as_ref(), now),
        columns::text(spec.time_zone.clone()),
        spec.suspend.unwrap_or(false).to_string(),
    ]
}
