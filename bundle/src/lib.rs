//! Runbook bundles: reading `runbook.md`, checking and packing a bundle directory, and keeping bundles in OCI registries.
//!
//! A bundle is a directory with a `runbook.md`, its code under `templates/` and whatever data it needs. It is packed into
//! a reproducible archive and travels as an OCI 1.1 artifact. This crate knows nothing of Kubernetes.
//!
//! The TLS backend of the registry client is installed by the binary that uses this crate: call
//! `rustls::crypto::ring::default_provider().install_default()` before [`registry::Registry::new`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod artifact;
pub mod check;
pub mod config_schema;
pub mod content;
pub mod credentials;
pub mod error;
pub mod finding;
pub mod frontmatter;
pub mod limits;
pub mod manifest;
pub mod pack;
pub mod path_rules;
pub mod reference;
pub mod registry;
pub mod unpack;
pub mod version;
mod yaml;
