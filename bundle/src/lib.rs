//! Runbook bundles: reading `runbook.md`, checking and packing a bundle directory, and keeping bundles in OCI registries.
//!
//! A bundle is a directory with a `runbook.md`, its code under `templates/` and whatever data it needs. It is packed into
//! a reproducible archive and travels as an OCI 1.1 artifact. This crate knows nothing of Kubernetes.
//!
//! Without the feature `full` it only unpacks: that is all a runner needs of it.
//!
//! The TLS backend of the registry client is installed by the binary that uses this crate: call
//! `rustls::crypto::ring::default_provider().install_default()` before making a `registry::Registry`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(feature = "full")]
pub mod artifact;
#[cfg(feature = "full")]
pub mod check;
#[cfg(feature = "full")]
pub mod config_schema;
#[cfg(feature = "full")]
pub mod content;
#[cfg(feature = "full")]
pub mod credentials;
pub mod error;
pub mod finding;
pub mod frontmatter;
pub mod limits;
#[cfg(feature = "full")]
pub mod manifest;
#[cfg(feature = "full")]
pub mod pack;
pub mod path_rules;
pub mod reference;
#[cfg(feature = "full")]
pub mod registry;
pub mod steps;
pub mod unpack;
#[cfg(feature = "full")]
pub mod version;
#[cfg(feature = "full")]
mod yaml;
