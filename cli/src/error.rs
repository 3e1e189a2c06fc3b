//! How a command ends, and the exit codes that scripts may rely on.

use std::process::ExitCode;

use thiserror::Error;

/// Printed in one line after `error: `: what failed, on which object, why, and what to do next.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The command line or a file that it names is wrong (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// A bundle, schedule, configuration or object is invalid (exit code 1).
    #[error("{0}")]
    Invalid(String),
    /// The API server or the operator denied access (exit code 4).
    #[error("{0}")]
    Forbidden(String),
    /// (Exit code 5.)
    #[error("{0}")]
    NotFound(String),
    /// A user action was refused, e.g. because somebody else was first (exit code 6).
    #[error("{0}")]
    Refused(String),
    /// A timeout expired (exit code 124).
    #[error("{0}")]
    Timeout(String),
    /// Anything else (exit code 1).
    #[error("{0}")]
    Other(String),
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// How a command that did not fail ended. What became of runs is only said by commands that wait for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    Success,
    /// Findings were printed that make the input invalid (exit code 1).
    Invalid,
    /// (Exit code 3.)
    RunFailed,
    /// (Exit code 6.)
    RunCancelled,
    /// The run waits for a person or is blocked (exit code 7).
    RunWaiting,
}

impl ExitStatus {
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Success => 0,
            Self::Invalid => 1,
            Self::RunFailed => 3,
            Self::RunCancelled => 6,
            Self::RunWaiting => 7,
        })
    }
}

impl Failure {
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Invalid(_) | Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Forbidden(_) => 4,
            Self::NotFound(_) => 5,
            Self::Refused(_) => 6,
            Self::Timeout(_) => 124,
        })
    }

    /// `what` names verb and object, e.g. `create Workflow acme/nav-monthly`.
    pub(crate) fn from_kube(what: &str, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let text = format!("cannot {what}: {}", status.message);
                match status.code {
                    401 | 403 => Self::Forbidden(text),
                    404 if status.message.contains("could not find the requested resource") => Self::Other(format!(
                        "cannot {what}: the cluster does not have this resource type; install the chart `ntro-crds`"
                    )),
                    404 => Self::NotFound(text),
                    400 | 409 | 422 => Self::Invalid(text),
                    _ => Self::Other(text),
                }
            }
            other => Self::Other(format!("cannot {what}: API server unreachable: {}", chain(&other))),
        }
    }
}

/// An error and its causes in one line, without repeating what a cause already says.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
