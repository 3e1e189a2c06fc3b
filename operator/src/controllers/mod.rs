//! The controllers. Each has a folder with the same two files: `mod.rs` says what it shares and what fills its queue, and
//! `reconcile.rs` reads as its five phases: observe (reads), validate (pure), decide (pure, `now` is an argument), apply
//! (writes), summarize (status, which is made only from what was applied).
//!
//! | controller | reconciles | into |
//! |---|---|---|
//! | [`runbook`] | a `Runbook` | a verified bundle |
//! | [`workflow`] | a `Workflow` | the runs of its slots |
//! | [`run`] | a `WorkflowRun` | Jobs, Gates, answers to `UserAction`s |
//! | [`tenant`] | a tenant's namespace | the `ConfigMap` by which its pods find the operator |
//!
//! A new one implements [`driver::Controller`] and is started in [`start`] (tenants, which wait for no CRD,
//! in `app.rs`). None imports another: what two of them need is
//! in [`crate::launch`] (how a run is begun) or [`crate::cache`] (what is known of the cluster).

pub(crate) mod driver;
pub(crate) mod run;
pub(crate) mod runbook;
pub(crate) mod start;
pub(crate) mod tenant;
pub(crate) mod workflow;
