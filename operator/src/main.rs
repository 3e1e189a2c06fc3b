//! The operator of ntro: turns Runbooks, Workflows and their runs into Jobs, asks people through Gates, and serves the
//! HTTPS API of runner pods and readers.
#![warn(unreachable_pub, reason = "nothing of a binary is public")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod api;
mod app;
mod args;
mod bundles;
mod cache;
mod clock;
mod context;
mod controllers;
mod error;
mod health;
mod k8s;
mod launch;
mod metrics;
mod queue;
mod telemetry;
#[cfg(test)]
mod testing;
mod tls;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use crate::args::{Args, Command, Settings};

/// Lists of thousands of objects come and go: the C library's allocator keeps twice what is in use, this one gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Crds => print_crds(),
        Command::Run(settings) => {
            telemetry::init(&settings);
            run(*settings).inspect_err(|e| tracing::error!(error = %error::chain(e.as_ref()), "the operator failed"))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error is no reason to fail differently.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> anyhow::Result<()> {
    // Several TLS stacks are linked in: which one is used must not depend on the order they are first touched.
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(app::run(settings))
}

fn print_crds() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for definition in ntro_crds::all() {
        writeln!(out, "---\n{}", serde_saphyr::to_string(&definition)?.trim_end())?;
    }
    Ok(())
}
