//! `ntro tenant`.

mod create;

use crate::args::{GlobalArgs, TenantCommand};
use crate::error::{ExitStatus, Result};
use crate::printer::Printer;

pub(super) async fn run(command: &TenantCommand, global: &GlobalArgs, printer: Printer) -> Result<ExitStatus> {
    match command {
        TenantCommand::Create(args) => create::run(args, global, printer).await,
    }
}
