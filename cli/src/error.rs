//! What a command can end with, and the exit code scripts may rely on.

use std::process::ExitCode;

use thiserror::Error;

/// A failure, in one line: what failed, which object, why, and what to do next.
#[derive(Debug, Error)]
pub enum Failure {
    /// The command line or a file it names is wrong (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// What was asked for is not valid: a bundle, a schedule, a configuration (exit code 1).
    #[error("{0}")]
    Invalid(String),
    /// The API server or the operator refused (exit code 4).
    #[error("{0}")]
    Forbidden(String),
    /// No such object (exit code 5).
    #[error("{0}")]
    NotFound(String),
    /// An act of a person was refused, e.g. because somebody else was first (exit code 6).
    #[error("{0}")]
    Refused(String),
    /// Waiting took longer than allowed (exit code 124).
    #[error("{0}")]
    Timeout(String),
    /// Anything else (exit code 1).
    #[error("{0}")]
    Other(String),
}

/// Result of a command.
pub type Result<T> = std::result::Result<T, Failure>;

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All went well (exit code 0).
    Done,
    /// `--wait`: the run failed (exit code 3).
    RunFailed,
    /// `--wait`: the run was cancelled (exit code 6).
    RunCancelled,
    /// `--wait`: the run waits for a person or is blocked (exit code 7).
    RunWaits,
    /// Findings were printed that make the input invalid (exit code 1).
    Invalid,
}

impl Outcome {
    /// The exit code.
    pub fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Invalid => 1,
            Self::RunFailed => 3,
            Self::RunCancelled => 6,
            Self::RunWaits => 7,
        })
    }
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Invalid(_) | Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Forbidden(_) => 4,
            Self::NotFound(_) => 5,
            Self::Refused(_) => 6,
            Self::Timeout(_) => 124,
        })
    }

    /// Turns an error of the API server into a failure that names `what` was tried, e.g. `create Workflow acme/nav-monthly`.
    pub fn from_kube(what: &str, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let text = format!("cannot {what}: {}", status.message);
                match status.code {
                    401 | 403 => Self::Forbidden(text),
                    404 if status.message.contains("could not find the requested resource") => Self::Other(format!(
                        "cannot {what}: the cluster does not know this kind; install the chart `ntro-crds` first"
                    )),
                    404 => Self::NotFound(text),
                    400 | 409 | 422 => Self::Invalid(text),
                    _ => Self::Other(text),
                }
            }
            other => Self::Other(format!("cannot {what}: the API server cannot be reached: {}", chain(&other))),
        }
    }
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
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
