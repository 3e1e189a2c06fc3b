//! The exit codes of a runner (`docs/protocol.md` §9). None of them decides anything: only the journal does.

/// How a pod leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitCode {
    Ok,
    Crash,
    Blocked,
    Outage,
    Fenced,
    Config,
    Terminated,
}

const ALL: [ExitCode; 7] = [
    ExitCode::Ok,
    ExitCode::Crash,
    ExitCode::Blocked,
    ExitCode::Outage,
    ExitCode::Fenced,
    ExitCode::Config,
    ExitCode::Terminated,
];

impl ExitCode {
    /// The process's status.
    pub(crate) const fn status(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Crash => 1,
            Self::Blocked => 70,
            Self::Outage => 75,
            Self::Fenced => 77,
            Self::Config => 78,
            Self::Terminated => 143,
        }
    }

    /// The word for it in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Crash => "crash",
            Self::Blocked => "blocked",
            Self::Outage => "outage",
            Self::Fenced => "fenced",
            Self::Config => "config",
            Self::Terminated => "terminated",
        }
    }

    /// What a child that exited with `status` meant by it.
    pub(crate) fn of_status(status: i32) -> Option<Self> {
        ALL.into_iter().find(|code| i32::from(code.status()) == status)
    }
}
