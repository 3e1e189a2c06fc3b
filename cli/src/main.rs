//! `ntro`: pushes runbook bundles, applies custom resources, shows and answers gates. It holds no logic of its own.
#![allow(
    clippy::doc_markdown,
    reason = "doc comments are the help texts: they name kinds and products as people write them"
)]
#![allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed assumption is a failed test"))]
#![warn(unreachable_pub, reason = "nothing of a binary is public")]

mod args;
mod cluster;
mod commands;
mod error;
mod operator_api;
mod printer;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let printer = printer::Printer::new(&cli.global);
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        printer.warn("error: a TLS provider is already installed");
        return ExitCode::FAILURE;
    }
    match commands::run(&cli, printer).await {
        Ok(status) => status.code(),
        Err(failure) => {
            printer.warn(format!("error: {failure}"));
            failure.code()
        }
    }
}
