//! `ntro crds`.

use crate::error::{Outcome, Result};
use crate::printer::{Printer, yaml};

/// Prints the custom resource definitions.
pub fn run(printer: Printer) -> Result<Outcome> {
    for definition in ntro_crds::all() {
        printer.line("---");
        printer.bytes(yaml(&definition)?.as_bytes());
    }
    Ok(Outcome::Done)
}
