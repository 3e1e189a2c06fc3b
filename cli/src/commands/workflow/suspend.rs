//! `ntro workflow suspend` and `resume`.

use kube::api::{Patch, PatchParams};
use ntro_crds::labels;
use serde_json::json;

use super::api;
use crate::cluster::Cluster;
use crate::error::{Failure, Outcome, Result};
use crate::printer::Printer;

pub(super) async fn suspend(name: &str, suspend: bool, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
    // Resuming removes the field instead of setting it to false, so that it does not fight a manifest without it.
    let patch = json!({"spec": {"suspend": suspend.then_some(true)}});
    let what = format!("{} Workflow {}/{name}", if suspend { "suspend" } else { "resume" }, cluster.namespace());
    let params = PatchParams { field_manager: Some(labels::CLI_FIELD_MANAGER.into()), ..PatchParams::default() };
    api(cluster).patch(name, &params, &Patch::Merge(patch)).await.map_err(|e| Failure::from_kube(&what, e))?;
    printer.line(format!("workflow/{name} {}", if suspend { "suspended" } else { "resumed" }));
    Ok(Outcome::Done)
}
