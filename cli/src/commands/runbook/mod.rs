//! `ntro runbook`.

pub(super) mod validate;

use crate::args::RunbookCommand;
use crate::error::{ExitStatus, Result};
use crate::printer::Printer;

pub(super) fn run(command: &RunbookCommand, printer: Printer) -> Result<ExitStatus> {
    match command {
        RunbookCommand::Validate(args) => validate::run(args, printer),
    }
}
