//! What ntro puts into clusters, as functions: admission policies, the manifests of a tenant, the operator's own rights.
//!
//! One source for three users: `xtask generate` renders the charts from it, `ntro tenant create` applies it, and the operator
//! compares what it finds in the cluster with it. They cannot drift.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed assumption is a failed test")
)]

pub mod admission;
pub mod rights;
pub mod tenant;

/// The operator's pod. People reach its API through the API server's port-forward, so their roles name it.
const OPERATOR_POD: &str = "ntro-0";
