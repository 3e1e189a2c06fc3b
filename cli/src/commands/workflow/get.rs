//! `ntro workflow get`.

use jiff::Timestamp;

use super::{get, next, schedules};
use crate::cluster::Cluster;
use crate::commands::shared::columns;
use crate::error::{ExitStatus, Result};
use crate::printer::{Printer, Table};

pub(super) async fn run(name: &str, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let workflow = get(cluster, name).await?;
    if !printer.is_human_readable() {
        printer.objects(&[workflow], Table::default)?;
        return Ok(ExitStatus::Success);
    }
    let spec = &workflow.spec;
    let status = workflow.status.clone().unwrap_or_default();
    let field = |key: &str, value: String| printer.line(format!("{key:<10} {value}"));
    field("workflow", format!("{}/{name}", cluster.namespace()));
    field(
        "runbook",
        format!(
            "{} {}",
            spec.runbook_ref.name,
            columns::text(status.runbook.map(|r| format!("{} {}", r.version, r.digest)))
        ),
    );
    field("entity", spec.entity.clone());
    field("schedule", format!("{} ({})", schedules(spec), spec.time_zone.as_deref().unwrap_or("UTC")));
    field("suspended", spec.suspend.unwrap_or(false).to_string());
    let next = next::describe(&workflow, cluster.namespace(), Timestamp::now());
    field("next", if next.is_empty() { "-".to_owned() } else { next.join(&format!("\n{:11}", "")) });
    field("last", columns::time(status.last_schedule_time.as_ref()));
    if let Some(missed) = status.missed {
        field("missed", format!("{}, last {} ({})", missed.count, columns::time(Some(&missed.time)), missed.reason));
    }
    for slot in status.queued.iter().flatten() {
        let time = columns::time(Some(&slot.time));
        field("queued", format!("{time} for {}, held by {} ({})", slot.period, slot.held_by, slot.reason));
    }
    field("succeeded", columns::time(status.last_successful_time.as_ref()));
    field("failed", columns::time(status.last_failure_time.as_ref()));
    for condition in status.conditions.iter().flatten() {
        field(&condition.type_, format!("{} {} {}", condition.status, condition.reason, condition.message));
    }
    let active: Vec<_> = status.active.into_iter().flatten().map(|a| vec![a.name, columns::text(a.period)]).collect();
    if !active.is_empty() {
        printer.line("");
        printer.table(&Table { header: vec!["ACTIVE RUN", "PERIOD"], rows: active, wide_from: None });
    }
    Ok(ExitStatus::Success)
}
