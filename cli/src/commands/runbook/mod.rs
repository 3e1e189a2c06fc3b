//! `ntro runbook`.

pub mod validate;

use crate::args;
use crate::error::{Outcome, Result};
use crate::printer::Printer;

/// Runs `ntro runbook …`.
pub fn run(args: &args::Runbook, printer: Printer) -> Result<Outcome> {
    match args {
        args::Runbook::Validate(args) => validate::run(args, printer),
    }
}
