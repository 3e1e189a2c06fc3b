//! `ntro workflow next`: upcoming runs of a Workflow in the cluster or of manifests.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use ntro_crds::Workflow;
use serde_json::{Value, json};

use super::get;
use crate::args::{GlobalArgs, OutputFormat, WorkflowNextArgs};
use crate::cluster::Cluster;
use crate::commands::shared::schedule::{UpcomingRun, WorkflowSchedule, parse_start};
use crate::commands::shared::{columns, manifests};
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::{Printer, Table, yaml};

/// Upcoming runs that `ntro workflow get` shows.
const SHOWN: usize = 3;

pub(super) async fn run(args: &WorkflowNextArgs, global: &GlobalArgs, printer: Printer) -> Result<ExitStatus> {
    if let Some(workflows) = manifests::read_workflows(&args.source)? {
        // Manifests need no cluster, so no kubeconfig is read for the namespace of its context.
        let namespace = global.namespace.as_deref().or(global.tenant.as_deref()).unwrap_or("default");
        of_manifests(args, workflows, namespace, printer)?;
    } else {
        let cluster = Cluster::connect(global).await?;
        let workflow = get(&cluster, &args.source).await?;
        print(args, &[WorkflowSchedule::new(workflow, cluster.namespace())?], false, printer)?;
    }
    Ok(ExitStatus::Success)
}

fn of_manifests(args: &WorkflowNextArgs, workflows: Vec<Workflow>, namespace: &str, printer: Printer) -> Result<()> {
    let several = workflows.len() > 1;
    let mut schedules = Vec::new();
    for workflow in workflows {
        // Among others, one that only people start is not a mistake.
        if several && workflow.spec.schedule.is_none() && workflow.spec.schedules.is_none() {
            printer.progress(format!("workflow/{} has no schedule", workflow.name_any()));
        } else {
            schedules.push(WorkflowSchedule::new(workflow, namespace)?);
        }
    }
    print(args, &schedules, several, printer)
}

/// The next runs of a Workflow. None if it is suspended or has no valid schedule.
pub(super) fn describe(workflow: &Workflow, namespace: &str, now: Timestamp) -> Vec<String> {
    if workflow.spec.suspend == Some(true) {
        return Vec::new();
    }
    let runs = WorkflowSchedule::new(workflow.clone(), namespace).map(|schedule| schedule.upcoming(now, SHOWN));
    let describe =
        |run: UpcomingRun| format!("{} ({}, for {})", columns::time(Some(&Time(run.starts))), run.local, run.period);
    runs.unwrap_or_default().into_iter().map(describe).collect()
}

fn print(args: &WorkflowNextArgs, schedules: &[WorkflowSchedule], several: bool, printer: Printer) -> Result<()> {
    let now = Timestamp::now();
    let mut runs = Vec::new();
    for schedule in schedules {
        let after = args.after.as_deref().map(|text| parse_start(text, &schedule.zone, "--after")).transpose()?;
        let name = schedule.workflow.name_any();
        if printer.is_human_readable() && schedule.workflow.spec.suspend == Some(true) {
            printer.warn(format!("warning: workflow/{name} is suspended"));
        }
        let found = after.map_or_else(|| schedule.upcoming(now, args.count), |time| schedule.after(time, args.count));
        if found.is_empty() {
            printer.warn(format!("warning: workflow/{name} has no upcoming runs after {}", after.unwrap_or(now)));
        }
        runs.extend(found);
    }
    match printer.output() {
        OutputFormat::Json => {
            let text = serde_json::to_string_pretty(&objects(&runs, several));
            printer.line(text.map_err(|e| Failure::Other(e.to_string()))?);
        }
        OutputFormat::Yaml => printer.bytes(yaml(&objects(&runs, several))?.as_bytes()),
        OutputFormat::Name => {
            for run in &runs {
                let name = if several { format!("workflow/{} ", run.workflow) } else { String::new() };
                printer.line(format!("{name}{}", run.slot));
            }
        }
        OutputFormat::Table | OutputFormat::Wide => printer.table(&table(&runs, several)),
    }
    Ok(())
}

fn objects(runs: &[UpcomingRun], several: bool) -> Vec<Value> {
    let object = |run: &UpcomingRun| {
        let (slot, starts) = (run.slot.to_string(), run.starts.to_string());
        let mut object = json!({"slot": slot, "starts": starts, "period": run.period});
        if several {
            object["workflow"] = run.workflow.as_str().into();
        }
        object
    };
    runs.iter().map(object).collect()
}

fn table(runs: &[UpcomingRun], several: bool) -> Table {
    // The name comes first, and only if there is more than one.
    let skip = usize::from(!several);
    let row = |run: &UpcomingRun| {
        let cells = [
            run.workflow.clone(),
            columns::time(Some(&Time(run.starts))),
            run.local.clone(),
            run.period.clone(),
            columns::time(Some(&Time(run.slot))),
            run.name(),
        ];
        cells.into_iter().skip(skip).collect()
    };
    Table {
        header: ["NAME", "STARTS", "LOCAL TIME", "PERIOD", "SLOT", "RUN"].into_iter().skip(skip).collect(),
        rows: runs.iter().map(row).collect(),
        wide_from: Some(4 - skip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(suspend: bool, schedule: &str) -> Workflow {
        let spec = json!({
            "runbookRef": {"name": "nav"}, "entity": "spv1", "schedule": schedule, "timeZone": "Europe/London",
            "suspend": suspend,
        });
        serde_json::from_value(json!({"metadata": {"name": "nav"}, "spec": spec})).unwrap()
    }

    fn now() -> Timestamp {
        "2026-09-20T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn upcoming_runs_are_shown_with_local_time_and_period() {
        assert_eq!(
            describe(&workflow(false, "0 8 5 * *"), "acme", now()),
            [
                "2026-10-05 07:00:00Z (Mon 2026-10-05 08:00 BST, for 2026-09)",
                "2026-11-05 08:00:00Z (Thu 2026-11-05 08:00 GMT, for 2026-10)",
                "2026-12-05 08:00:00Z (Sat 2026-12-05 08:00 GMT, for 2026-11)",
            ]
        );
        assert!(describe(&workflow(true, "0 8 5 * *"), "acme", now()).is_empty());
        assert!(describe(&workflow(false, "61 8 5 * *"), "acme", now()).is_empty());
    }

    #[test]
    fn workflows_are_named_only_if_there_are_several() {
        let runs = WorkflowSchedule::new(workflow(false, "0 8 5 * *"), "acme").unwrap().after(now(), 1);
        let one = json!({"slot": "2026-10-05T07:00:00Z", "starts": "2026-10-05T07:00:00Z", "period": "2026-09"});
        let mut of_several = one.clone();
        of_several["workflow"] = "nav".into();
        assert_eq!(objects(&runs, false), [one]);
        assert_eq!(objects(&runs, true), [of_several]);
        let (one, several) = (table(&runs, false), table(&runs, true));
        assert_eq!((one.header[0], one.rows[0].len(), one.wide_from), ("STARTS", 5, Some(3)));
        assert_eq!((several.header[0], several.rows[0][0].as_str(), several.wide_from), ("NAME", "nav", Some(4)));
    }
}
