//! Arguments of `ntro run`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::NameArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// List runs, newest first.
    List(RunListArgs),
    /// Show a run: its phase, steps, outputs and what it waits for.
    Get(NameArgs),
    /// Print the logs of a run. Access is recorded in the run's journal with your name.
    Logs(RunLogsArgs),
    /// Print the result and the outputs of a run, or fetch one output. Access is recorded in the run's journal with your name.
    Output(RunOutputArgs),
    /// Cancel a run.
    Cancel(NameArgs),
    /// Resume a blocked run. Allows effects with unknown outcome to be repeated.
    Retry(NameArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunListArgs {
    /// Show only runs of this workflow.
    #[arg(long, value_name = "NAME")]
    pub(crate) workflow: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunLogsArgs {
    /// Name of the run.
    pub(crate) name: String,
    /// Stream until the run finishes.
    #[arg(long, short = 'f')]
    pub(crate) follow: bool,
    /// Show only this segment.
    #[arg(long, value_name = "N")]
    pub(crate) segment: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct RunOutputArgs {
    /// Name of the run.
    pub(crate) name: String,
    /// Output to fetch [default: print the result and list the outputs].
    #[arg(value_name = "OUTPUT")]
    pub(crate) output_name: Option<String>,
    /// File to write the output to [default: standard output].
    #[arg(long, short = 'f', value_name = "FILE", requires = "output_name")]
    pub(crate) file: Option<PathBuf>,
    /// Export the whole journal as JSON lines, for offline verification.
    #[arg(long, conflicts_with = "output_name")]
    pub(crate) audit: bool,
}
