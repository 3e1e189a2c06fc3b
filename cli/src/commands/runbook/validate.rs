//! `ntro runbook validate`.

use std::path::Path;

use ntro_bundle::check::{self, Report};

use crate::args::RunbookValidateArgs;
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::Printer;

pub(super) fn run(args: &RunbookValidateArgs, printer: Printer) -> Result<ExitStatus> {
    let report = check_bundle(&args.path)?;
    print(&report, printer);
    if report.errors().next().is_some() {
        return Ok(ExitStatus::Invalid);
    }
    printer.line(format!("{} is valid", args.path.display()));
    Ok(ExitStatus::Success)
}

pub(in crate::commands) fn check_bundle(path: &Path) -> Result<Report> {
    let name = path.display();
    if !path.is_dir() {
        return Err(Failure::Usage(format!("`{name}` is not a directory: pass the one that contains `runbook.md`")));
    }
    check::check(path).map_err(|e| Failure::Usage(format!("cannot read `{name}`: {e}")))
}

pub(in crate::commands) fn print(report: &Report, printer: Printer) {
    for finding in &report.findings {
        printer.warn(finding.to_string());
    }
}
