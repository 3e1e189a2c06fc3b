//! The operator of ntro: turns Runbooks, Workflows and their runs into Jobs, asks people through Gates, and serves the
//! HTTPS API of runner pods and readers.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod api;
pub mod app;
pub mod args;
pub mod bundles;
pub mod clock;
pub mod clock_set;
pub mod context;
pub mod controllers;
pub mod crd_wait;
pub mod error;
pub mod failpoint;
pub mod health;
pub mod kube_ext;
pub mod listing;
pub mod metrics;
pub mod pace;
pub mod queue;
pub mod telemetry;
pub mod tenants;
#[cfg(test)]
mod testing;
pub mod ticker;
pub mod tls;
