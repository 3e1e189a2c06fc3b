//! Arguments of `ntro gate`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::NameArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum GateCommand {
    /// List gates that wait for an answer.
    List(GateListArgs),
    /// Show a gate with its content. Access is recorded in the run's journal with your name.
    Show(NameArgs),
    /// Approve what the gate shows.
    Approve(GateAnswerArgs),
    /// Reject what the gate shows.
    Reject(GateAnswerArgs),
    /// Submit corrections from a JSON or YAML file.
    Correct(GateCorrectArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GateListArgs {
    /// Include gates that have been answered.
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
    /// Show only gates of this run.
    #[arg(long, value_name = "NAME")]
    pub(crate) run: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GateAnswerArgs {
    /// Name of the gate.
    pub(crate) name: String,
    /// Comment for the record, kept in the journal and never in the Kubernetes API.
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Revision that you reviewed [default: the current one]. Answers to an older revision are refused.
    #[arg(long, value_name = "N")]
    pub(crate) revision: Option<u32>,
    /// How long to wait for the operator to process the answer. The answer stands even if this expires.
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    pub(crate) timeout: String,
}

#[derive(Debug, Args)]
pub(crate) struct GateCorrectArgs {
    #[command(flatten)]
    pub(crate) answer: GateAnswerArgs,
    /// File with the corrections.
    #[arg(long, short = 'f', value_name = "FILE")]
    pub(crate) file: PathBuf,
}
