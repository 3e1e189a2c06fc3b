//! Gates as people see them: projections of the journal. Only the operator writes them.

pub(super) mod expiry;
mod object;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use ntro_crds::Gate;
use ntro_crds::workflow_run::RunPin;
use ntro_journal::{RunState, machine};

use super::validate::Open;
use crate::context::Context;
use crate::error::Problem;
use crate::k8s::{Created, create_once, patch_status_if_changed};

/// What a Gate is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct GateInput<'a> {
    /// The journal.
    pub state: &'a RunState,
    /// The gate in it.
    pub gate: &'a machine::Gate,
    /// What the run is fixed to.
    pub pin: &'a RunPin,
    /// UID of the `WorkflowRun`, which owns the Gate.
    pub run_uid: &'a str,
    /// Title of the step, from the manifest.
    pub title: &'a str,
    /// Names of user actions by their UID, as far as they still exist.
    pub user_actions: &'a BTreeMap<String, String>,
    /// The time.
    pub now: Timestamp,
}

/// Makes the Gates of a run what the journal says: creates those that are missing, writes those that differ. `titles` are those of
/// the steps, `seen` the Gates the watch shows.
pub(super) async fn project(
    context: &Context,
    open: &Open,
    titles: &[(String, String)],
    seen: &[Arc<Gate>],
) -> Result<(), Problem> {
    let run_uid = open.object.uid().unwrap_or_default();
    let named = open.user_actions.iter().filter_map(|action| Some((action.uid()?, action.name_any())));
    let user_actions: BTreeMap<_, _> = named.collect();
    let now = context.clock.now();
    for gate in open.state.gates.values() {
        let title = titles.iter().find(|(id, _)| *id == gate.step).map_or(gate.step.as_str(), |(_, title)| title);
        let (state, pin) = (&open.state, &open.pin);
        let input = GateInput { state, gate, pin, run_uid: &run_uid, title, user_actions: &user_actions, now };
        ensure(context, &input, seen).await?;
    }
    Ok(())
}

async fn ensure(context: &Context, input: &GateInput<'_>, seen: &[Arc<Gate>]) -> Result<(), Problem> {
    let wanted = object::build(input);
    let name = wanted.name_any();
    let api = context.kube.namespaced::<Gate>(&input.state.namespace);
    let current = match seen.iter().find(|gate| gate.name_any() == name) {
        Some(gate) if gate.metadata.deletion_timestamp.is_none() => Gate::clone(gate),
        _ => match create_once(&context.kube.client, &wanted).await? {
            Created::New(gate) | Created::Existing(gate) => gate,
        },
    };
    let next = status::status(input, current.status.as_ref(), current.metadata.generation);
    patch_status_if_changed(&api, &name, current.status.as_ref(), &next).await?;
    Ok(())
}
