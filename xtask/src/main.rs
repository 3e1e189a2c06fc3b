//! `cargo run -p xtask -- <command>`: what developers run. A file per command.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod generate;
mod tenant;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What developers of ntro run.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the generated files: charts, the table of entries in docs/protocol.md, the runtime's tables
    Generate {
        /// Write nothing, and fail if a file is not as generated
        #[arg(long)]
        check: bool,
    },
    /// Print the manifests of a tenant as a JSON array; the values are read from standard input, as the chart takes them
    Tenant,
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    match Args::parse().command {
        Command::Generate { check } => generate::run(check),
        Command::Tenant => tenant::run(),
    }
}
