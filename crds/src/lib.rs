//! The kinds of `ntro.dev`, their names and their labels: types only, no client, no I/O.
//!
//! One module per kind; [`all`] gives the definitions as they are installed. Optional fields are `Option` everywhere and
//! no spec field has a default in its schema, so that what a user applied is what is stored.
#![allow(
    clippy::doc_markdown,
    reason = "docs of fields are what `kubectl explain` prints, where kinds stand without backticks"
)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed assumption is a failed test")
)]

pub mod conditions;
pub mod duration;
pub mod gate;
pub mod labels;
pub mod names;
pub mod policy;
pub mod quantity;
pub mod reasons;
pub mod runbook;
pub mod schema;
pub mod user_action;
pub mod workflow;
pub mod workflow_run;

pub use gate::{Gate, GateSpec, GateStatus};
pub use policy::{Deciders, GatePolicy, GateRule};
pub use reasons::{BlockReason, Reason, SlotReason, UserActionReason};
pub use runbook::{Runbook, RunbookSpec, RunbookStatus};
pub use user_action::{UserAction, UserActionSpec, UserActionStatus};
pub use workflow::{Workflow, WorkflowSpec, WorkflowStatus};
pub use workflow_run::{WorkflowRun, WorkflowRunSpec, WorkflowRunStatus};

pub use k8s_openapi;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// API group of all kinds.
pub const GROUP: &str = "ntro.dev";
/// Version of all kinds.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of all kinds.
pub const API_VERSION: &str = "ntro.dev/v1alpha1";

/// The definitions of all kinds as they are installed, in the order they are listed to users.
pub fn all() -> Vec<CustomResourceDefinition> {
    [Runbook::crd(), Workflow::crd(), WorkflowRun::crd(), Gate::crd(), UserAction::crd()]
        .into_iter()
        .map(schema::finish)
        .collect()
}
