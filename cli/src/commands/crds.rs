//! `ntro crds`.

use crate::error::{ExitStatus, Result};
use crate::printer::{Printer, yaml};

pub(super) fn run(printer: Printer) -> Result<ExitStatus> {
    for definition in ntro_crds::all() {
        printer.line("---");
        printer.bytes(yaml(&definition)?.as_bytes());
    }
    Ok(ExitStatus::Success)
}
