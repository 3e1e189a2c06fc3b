//! `ntro tenant`.

mod create;

use crate::args::{self, Global};
use crate::error::{Outcome, Result};
use crate::printer::Printer;

/// Runs `ntro tenant …`.
pub async fn run(args: &args::Tenant, global: &Global, printer: Printer) -> Result<Outcome> {
    match args {
        args::Tenant::Create(args) => create::run(args, global, printer).await,
    }
}
