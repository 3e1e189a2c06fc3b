//! `cargo run -p xtask -- <task>`: what developers run. A file per task.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed assumption is a failed test"))]

mod generate;
mod tenant;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What developers of ntro run.
#[derive(Debug, Parser)]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
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
    match Xtask::parse().task {
        Task::Generate { check } => generate::run(check),
        Task::Tenant => tenant::run(),
    }
}
