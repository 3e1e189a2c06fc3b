//! `ntro workflow next`: the slots to come, of a Workflow of the cluster or of manifests.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use ntro_crds::Workflow;
use serde_json::{Value, json};

use super::read;
use crate::args;
use crate::cluster::Cluster;
use crate::commands::shared::slots::{Fire, Schedule, instant};
use crate::commands::shared::{columns, documents};
use crate::error::{Failure, Outcome, Result};
use crate::printer::{Printer, Table, yaml};

/// How many slots `ntro workflow get` shows.
const SHOWN: usize = 3;

/// Runs `ntro workflow next` on manifests, which needs no cluster. `None` if what was named is no path. Workflows that do not
/// say their namespace are taken to be in `namespace`.
pub fn of_manifests(args: &args::WorkflowNext, namespace: &str, printer: Printer) -> Result<Option<Outcome>> {
    let Some(found) = documents::workflows(&args.what)? else { return Ok(None) };
    let several = found.len() > 1;
    let mut schedules = Vec::new();
    for workflow in found {
        // Among others, one that only people start is no mistake.
        if several && workflow.spec.schedule.is_none() && workflow.spec.schedules.is_none() {
            printer.progress(format!("workflow/{} has no schedule", workflow.name_any()));
        } else {
            schedules.push(Schedule::of(workflow, namespace)?);
        }
    }
    show(args, &schedules, several, printer)?;
    Ok(Some(Outcome::Done))
}

/// Runs `ntro workflow next` on a Workflow of the cluster.
pub async fn of_cluster(args: &args::WorkflowNext, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    let workflow = read(cluster, &args.what).await?;
    show(args, &[Schedule::of(workflow, cluster.namespace())?], false, printer)?;
    Ok(Outcome::Done)
}

/// The next slots of a Workflow of `namespace` in words. None if it is suspended, has no schedule, or one that cannot be read.
pub fn in_words(workflow: &Workflow, namespace: &str, now: Timestamp) -> Vec<String> {
    if workflow.spec.suspend == Some(true) {
        return Vec::new();
    }
    let fires = Schedule::of(workflow.clone(), namespace).map(|schedule| schedule.to_come(now, SHOWN));
    let words =
        |fire: Fire| format!("{} ({}, for {})", columns::time(Some(&Time(fire.starts))), fire.local, fire.period);
    fires.unwrap_or_default().into_iter().map(words).collect()
}

fn show(args: &args::WorkflowNext, schedules: &[Schedule], several: bool, printer: Printer) -> Result<()> {
    let now = Timestamp::now();
    let mut fires = Vec::new();
    for schedule in schedules {
        let after = args.after.as_deref().map(|text| instant(text, &schedule.zone, "--after")).transpose()?;
        let name = schedule.workflow.name_any();
        if printer.for_people() && schedule.workflow.spec.suspend == Some(true) {
            printer.warn(format!("workflow/{name} is suspended: nothing starts"));
        }
        let found = after.map_or_else(|| schedule.to_come(now, args.count), |time| schedule.after(time, args.count));
        if found.is_empty() {
            printer.warn(format!("workflow/{name} has no slot after {}", after.unwrap_or(now)));
        }
        fires.extend(found);
    }
    match printer.output() {
        args::Output::Json => {
            let text = serde_json::to_string_pretty(&objects(&fires, several));
            printer.line(text.map_err(|e| Failure::Other(e.to_string()))?);
        }
        args::Output::Yaml => printer.bytes(yaml(&objects(&fires, several))?.as_bytes()),
        args::Output::Name => {
            for fire in &fires {
                let name = if several { format!("workflow/{} ", fire.workflow) } else { String::new() };
                printer.line(format!("{name}{}", fire.slot));
            }
        }
        args::Output::Table | args::Output::Wide => printer.table(&table(&fires, several)),
    }
    Ok(())
}

fn objects(fires: &[Fire], several: bool) -> Vec<Value> {
    let object = |fire: &Fire| {
        let (slot, starts) = (fire.slot.to_string(), fire.starts.to_string());
        let mut object = json!({"slot": slot, "starts": starts, "period": fire.period});
        if several {
            object["workflow"] = fire.workflow.as_str().into();
        }
        object
    };
    fires.iter().map(object).collect()
}

fn table(fires: &[Fire], several: bool) -> Table {
    // The name comes first, and only if there is more than one.
    let skip = usize::from(!several);
    let row = |fire: &Fire| {
        let cells = [
            fire.workflow.clone(),
            columns::time(Some(&Time(fire.starts))),
            fire.local.clone(),
            fire.period.clone(),
            columns::time(Some(&Time(fire.slot))),
            fire.run(),
        ];
        cells.into_iter().skip(skip).collect()
    };
    Table {
        header: ["NAME", "STARTS", "LOCAL TIME", "PERIOD", "SLOT", "RUN"].into_iter().skip(skip).collect(),
        rows: fires.iter().map(row).collect(),
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
    fn slots_to_come_are_told_with_local_time_and_period() {
        assert_eq!(
            in_words(&workflow(false, "0 8 5 * *"), "acme", now()),
            [
                "2026-10-05 07:00:00Z (Mon 2026-10-05 08:00 BST, for 2026-09)",
                "2026-11-05 08:00:00Z (Thu 2026-11-05 08:00 GMT, for 2026-10)",
                "2026-12-05 08:00:00Z (Sat 2026-12-05 08:00 GMT, for 2026-11)",
            ]
        );
        assert!(in_words(&workflow(true, "0 8 5 * *"), "acme", now()).is_empty());
        assert!(in_words(&workflow(false, "61 8 5 * *"), "acme", now()).is_empty());
    }

    #[test]
    fn several_workflows_are_told_apart_and_one_is_told_as_ever() {
        let fires = Schedule::of(workflow(false, "0 8 5 * *"), "acme").unwrap().after(now(), 1);
        let one = json!({"slot": "2026-10-05T07:00:00Z", "starts": "2026-10-05T07:00:00Z", "period": "2026-09"});
        let mut of_several = one.clone();
        of_several["workflow"] = "nav".into();
        assert_eq!(objects(&fires, false), [one]);
        assert_eq!(objects(&fires, true), [of_several]);
        let (one, several) = (table(&fires, false), table(&fires, true));
        assert_eq!((one.header[0], one.rows[0].len(), one.wide_from), ("STARTS", 5, Some(3)));
        assert_eq!((several.header[0], several.rows[0][0].as_str(), several.wide_from), ("NAME", "nav", Some(4)));
    }
}
