//! `ntro run get`.

use ntro_crds::conditions;
use ntro_crds::workflow_run::RunPhase;

use super::{get, phase};
use crate::cluster::Cluster;
use crate::commands::shared::columns;
use crate::error::{ExitStatus, Result};
use crate::printer::{Printer, Table};

pub(super) async fn run(name: &str, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let run = get(cluster, name).await?;
    if !printer.is_human_readable() {
        printer.objects(&[run], Table::default)?;
        return Ok(ExitStatus::Success);
    }
    let request = &run.spec.request;
    let status = run.status.clone().unwrap_or_default();
    let field = |key: &str, value: String| printer.line(format!("{key:<10} {value}"));
    field("run", format!("{}/{name}", cluster.namespace()));
    field("workflow", request.workflow_ref.name.clone());
    field("period", columns::text(request.context.as_ref().and_then(|c| c.period.clone())));
    field("trigger", format!("{} by {}", columns::variant(Some(request.trigger.kind)), request.trigger.initiator));
    if let Some(pin) = &status.pin {
        field("runbook", format!("{} {} {}", pin.runbook.name, pin.runbook.version, pin.runbook.digest));
        field("entity", pin.entity.clone());
    }
    field("phase", phase(&run));
    field("run id", columns::text(status.run_id.as_ref()));
    field("started", columns::time(status.start_time.as_ref()));
    field("ended", columns::time(status.completion_time.as_ref()));
    if let Some(blocked) = &status.blocked {
        let site = blocked.site.as_ref().map(|s| format!(" at {s}")).unwrap_or_default();
        let activity = blocked.activity.as_ref().map(|a| format!(", activity {a}")).unwrap_or_default();
        field("blocked", format!("{}{site}{activity}", blocked.code));
        printer.line(format!("           see `ntro run logs {name}` for details; `ntro run retry {name}` resumes it"));
    }
    if let Some(purged) = columns::condition(status.conditions.as_ref(), conditions::JOURNAL_PURGED) {
        field("purged", purged.message.clone());
    }
    let ready = columns::condition(status.conditions.as_ref(), conditions::READY);
    // What a cancelled run has done all the same concerns whoever cancelled it.
    if let Some(ready) = ready.filter(|c| c.status != "True" || status.phase == Some(RunPhase::Cancelled)) {
        field("ready", format!("{} {}: {}", ready.status, ready.reason, ready.message));
    }
    print_lists(&status, printer);
    Ok(ExitStatus::Success)
}

fn print_lists(status: &ntro_crds::WorkflowRunStatus, printer: Printer) {
    let steps: Vec<_> = status
        .steps
        .iter()
        .flatten()
        .map(|s| vec![s.id.clone(), columns::variant(Some(s.status)), s.title.clone().unwrap_or_default()])
        .collect();
    let waiting: Vec<_> = status
        .waiting_for
        .iter()
        .flatten()
        .map(|w| {
            let what = w.step.clone().or(w.name.clone()).unwrap_or_default();
            vec![columns::variant(Some(w.kind)), what, columns::time(w.until.as_ref())]
        })
        .collect();
    let outputs: Vec<_> =
        status.outputs.iter().flatten().map(|o| vec![o.name.clone(), o.size.to_string(), o.digest.clone()]).collect();
    for (header, rows) in [
        (vec!["STEP", "STATUS", "TITLE"], steps),
        (vec!["WAITING FOR", "NAME", "UNTIL"], waiting),
        (vec!["OUTPUT", "BYTES", "DIGEST"], outputs),
    ] {
        if !rows.is_empty() {
            printer.line("");
            printer.table(&Table { header, rows, wide_from: None });
        }
    }
}
