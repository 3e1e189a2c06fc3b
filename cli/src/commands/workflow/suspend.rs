//! `ntro workflow suspend` and `resume`.

use kube::api::{Patch, PatchParams};
use ntro_crds::labels;
use serde_json::json;

use super::api;
use crate::cluster::Cluster;
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::Printer;

pub(super) async fn run(name: &str, suspend: bool, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    // Resuming removes the field, as `false` would conflict with a manifest that does not have it.
    let patch = json!({"spec": {"suspend": suspend.then_some(true)}});
    let (verb, past_tense) = if suspend { ("suspend", "suspended") } else { ("resume", "resumed") };
    let what = format!("{verb} Workflow {}/{name}", cluster.namespace());
    let params = PatchParams { field_manager: Some(labels::CLI_FIELD_MANAGER.into()), ..PatchParams::default() };
    api(cluster).patch(name, &params, &Patch::Merge(patch)).await.map_err(|e| Failure::from_kube(&what, e))?;
    printer.line(format!("workflow/{name} {past_tense}"));
    Ok(ExitStatus::Success)
}
