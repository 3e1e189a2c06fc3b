//! Process 1 of a runner pod.
//!
//! It holds the pod's token and the session, and is the only one to speak with the operator. The bundle runs in a
//! confined child (`runtime/`) that reaches the journal through this process alone. What it prints itself are ids, steps
//! and classes of errors.
#![warn(unreachable_pub, reason = "nothing of a binary is public")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod attached;
mod body;
mod bundle;
mod channel;
mod child;
mod clock;
mod config;
mod download;
mod exit_code;
mod https;
mod json_text;
mod last_words;
mod lease;
mod log_lines;
mod log_pump;
mod operator_api;
mod outcome;
mod patience;
mod position;
mod proxy;
mod reaper;
mod report;
mod stop;
mod supervisor;
mod turns;
mod verdict;
mod versions;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode as Status;

use rustix::process::{DumpableBehavior, getpid, set_child_subreaper, set_dumpable_behavior};
use serde_json::json;
use tokio::task::LocalSet;

use crate::child::Environment;
use crate::config::{Config, Variables};
use crate::exit_code::ExitCode;
use crate::report::Report;
use crate::supervisor::Supervisor;

fn main() -> Status {
    let report = Report::default();
    report.install_hook();
    let env: Environment = std::env::vars_os().collect();
    let text = |(name, value): (&std::ffi::OsString, &std::ffi::OsString)| {
        Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
    };
    let config = match Config::from_env(&env.iter().filter_map(text).collect::<Variables>()) {
        Ok(config) => config,
        Err(error) => {
            report.event("misconfigured", &[("error", json!(error.to_string()))]);
            return Status::from(ExitCode::Config.status());
        }
    };
    let termination_log = config.termination_log.clone();
    let code = match catch_unwind(AssertUnwindSafe(|| run(config, env, report.clone()))) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            report.event("defect", &[("error", json!(error.kind().to_string()))]);
            ExitCode::Crash
        }
        // Reported by the hook.
        Err(_) => ExitCode::Crash,
    };
    report.event("leaving", &[("exit", json!(code.name())), ("status", json!(code.status()))]);
    report.termination_message(&termination_log, code);
    Status::from(code.status())
}

fn run(config: Config, env: Environment, report: Report) -> io::Result<ExitCode> {
    // No process without privileges may look into this one through /proc.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // As for process 1, wherever this is not: orphans come here.
    set_child_subreaper(Some(getpid()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = LocalSet::new().block_on(&runtime, async { Ok(Supervisor::new(config, env, report)?.run().await) });
    // What may still block a thread is of no use to anybody.
    runtime.shutdown_background();
    code
}
