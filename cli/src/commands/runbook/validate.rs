//! `ntro runbook validate`: a bundle directory, without a cluster.

use std::path::Path;

use ntro_bundle::check::{self, Report};

use crate::args;
use crate::error::{Failure, Outcome, Result};
use crate::printer::Printer;

/// Runs `ntro runbook validate`.
pub fn run(args: &args::RunbookValidate, printer: Printer) -> Result<Outcome> {
    let report = read(&args.path)?;
    print(&report, printer);
    if report.errors().next().is_some() {
        return Ok(Outcome::Invalid);
    }
    printer.line(format!("{} is valid", args.path.display()));
    Ok(Outcome::Done)
}

/// Checks the bundle in `path`; a missing directory is a usage error.
pub fn read(path: &Path) -> Result<Report> {
    if !path.is_dir() {
        return Err(Failure::Usage(format!("{} is no directory; name the one that holds runbook.md", path.display())));
    }
    check::check(path).map_err(|e| Failure::Usage(format!("cannot read {}: {e}", path.display())))
}

/// Prints what was found, one line each.
pub fn print(report: &Report, printer: Printer) {
    for finding in &report.findings {
        printer.warn(finding.to_string());
    }
}
