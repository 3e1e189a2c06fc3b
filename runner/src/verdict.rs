//! What was decided about the pod while its child runs.

use std::cell::Cell;

use tokio::sync::Notify;

use crate::exit_code::ExitCode;

/// The first word counts.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    code: Cell<Option<ExitCode>>,
    leaving: Notify,
}

impl Verdict {
    /// If the child does not end in order, this is how the pod leaves.
    pub(crate) fn note(&self, code: ExitCode) {
        self.code.set(self.code.get().or(Some(code)));
    }

    /// The segment is over for this pod: its child is not waited for.
    pub(crate) fn leave(&self, code: ExitCode) {
        self.note(code);
        self.leaving.notify_one();
    }

    /// Waits for that.
    pub(crate) async fn leaving(&self) {
        self.leaving.notified().await;
    }

    pub(crate) fn code(&self) -> Option<ExitCode> {
        self.code.get()
    }
}
