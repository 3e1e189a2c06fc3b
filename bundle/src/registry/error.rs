//! What can go wrong with a registry, and what to do about it.

use std::time::Duration;

use oci_client::errors::{OciDistributionError, OciEnvelope, OciErrorCode};
use thiserror::Error;

use crate::artifact::ArtifactError;
use crate::error::BundleErrorClass;
use crate::finding::one_line;
use crate::reference::{Digest, Repository, Tag};
use crate::unpack::UnpackError;

/// A failed registry operation. Every message is one line.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum RegistryError {
    #[error("invalid registry settings: {0}")]
    SettingsInvalid(String),
    #[error("cannot reach registry {host}: {problem}")]
    Unreachable { host: String, problem: String },
    #[error("registry {host} is unavailable: {problem}")]
    Unavailable { host: String, problem: String, retry_after: Option<Duration> },
    #[error("registry {host} refused the {what}")]
    AuthenticationFailed { host: String, what: &'static str },
    #[error("{0} not found")]
    NotFound(String),
    #[error("{reference}: {source}")]
    ManifestInvalid { reference: String, source: ArtifactError },
    #[error("{reference}: received content with digest {found}, expected {expected}")]
    DigestMismatch { reference: String, found: Digest, expected: Digest },
    #[error("{reference}: {source}")]
    ContentInvalid { reference: String, source: UnpackError },
    #[error(
        "{repository} already has version {tag} with different content ({existing}); increase `version` in runbook.md and try again"
    )]
    VersionExists { repository: Repository, tag: Tag, existing: Digest },
    #[error("tag {tag} does not belong to version {version} of the bundle")]
    TagMismatch { tag: Tag, version: semver::Version },
    #[error("registry {host} violated the protocol: {problem}")]
    Protocol { host: String, problem: String },
    #[error("registry {host} refused the request: {problem}")]
    Refused { host: String, problem: String },
    #[error("internal error: {0}")]
    Internal(String),
}

impl RegistryError {
    /// What to do about it.
    pub fn class(&self) -> BundleErrorClass {
        match self {
            Self::SettingsInvalid(_)
            | Self::ManifestInvalid { .. }
            | Self::ContentInvalid { .. }
            | Self::VersionExists { .. }
            | Self::TagMismatch { .. }
            | Self::Refused { .. } => BundleErrorClass::Invalid,
            Self::AuthenticationFailed { .. } | Self::NotFound(_) => BundleErrorClass::Waiting,
            Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::DigestMismatch { .. }
            | Self::Protocol { .. } => BundleErrorClass::Transient,
            Self::Internal(_) => BundleErrorClass::Bug,
        }
    }

    /// Bounded name for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::SettingsInvalid(_) => "RegistrySettingsInvalid",
            Self::Unreachable { .. } => "RegistryUnreachable",
            Self::Unavailable { .. } => "RegistryUnavailable",
            Self::AuthenticationFailed { .. } => "AuthenticationFailed",
            Self::NotFound(_) => "NotFound",
            Self::ManifestInvalid { .. } => "ManifestInvalid",
            Self::DigestMismatch { .. } => "DigestMismatch",
            Self::ContentInvalid { source, .. } => source.reason(),
            Self::VersionExists { .. } => "VersionExists",
            Self::TagMismatch { .. } => "TagMismatch",
            Self::Protocol { .. } => "RegistryProtocol",
            Self::Refused { .. } => "RegistryRefused",
            Self::Internal(_) => "Internal",
        }
    }

    /// Whether trying again at once, with backoff, may help.
    pub(super) fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unavailable { .. })
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Where an error happened, to say so in its message.
pub(super) struct ErrorContext<'a> {
    pub(super) repository: &'a Repository,
    /// What was asked for, for "was not found".
    pub(super) reference: &'a str,
    pub(super) anonymous: bool,
}

impl ErrorContext<'_> {
    fn host(&self) -> String {
        self.repository.host().to_owned()
    }

    pub(super) fn authentication_failed(&self) -> RegistryError {
        let what = if self.anonymous { "request without credentials" } else { "credentials" };
        RegistryError::AuthenticationFailed { host: self.host(), what }
    }

    pub(super) fn protocol(&self, problem: &str) -> RegistryError {
        RegistryError::Protocol { host: self.host(), problem: one_line(problem) }
    }

    pub(super) fn manifest_invalid(&self, source: ArtifactError) -> RegistryError {
        RegistryError::ManifestInvalid { reference: self.reference.to_owned(), source }
    }

    pub(super) fn unreachable(&self, problem: &str) -> RegistryError {
        RegistryError::Unreachable { host: self.host(), problem: one_line(problem) }
    }

    pub(super) fn status(&self, status: u16, body: &str, retry_after: Option<Duration>) -> RegistryError {
        let envelope = serde_json::from_str::<OciEnvelope>(body).ok();
        let detail = envelope.as_ref().and_then(|e| e.errors.first()).map(|error| one_line(&error.message));
        let detail = detail.filter(|message| !message.is_empty()).map(|message| format!(" ({})", cut(&message)));
        let problem = format!("HTTP status {status}{}", detail.unwrap_or_default());
        match status {
            401 | 403 => self.authentication_failed(),
            404 => RegistryError::NotFound(self.reference.to_owned()),
            408 | 429 | 500..=599 => RegistryError::Unavailable { host: self.host(), problem, retry_after },
            _ => RegistryError::Refused { host: self.host(), problem },
        }
    }

    pub(super) fn request(&self, error: &reqwest::Error) -> RegistryError {
        if error.is_timeout() {
            self.unreachable("it did not answer in time")
        } else {
            self.unreachable(&root_cause(error))
        }
    }

    pub(super) fn client(&self, error: OciDistributionError) -> RegistryError {
        use OciDistributionError as E;
        match error {
            E::AuthenticationFailure(_) | E::UnauthorizedError { .. } => self.authentication_failed(),
            E::RequestError(error) => match error.status() {
                Some(status) => self.status(status.as_u16(), "", None),
                None => self.request(&error),
            },
            E::ServerError { code, message, .. } => self.status(code, &message, None),
            E::RegistryError { envelope, .. } => self.envelope(&envelope),
            E::ImageManifestNotFoundError(_) => RegistryError::NotFound(self.reference.to_owned()),
            E::IoError(error) => self.unreachable(&root_cause(&error)),
            error => self.protocol(&error.to_string()),
        }
    }

    fn envelope(&self, envelope: &OciEnvelope) -> RegistryError {
        let Some(error) = envelope.errors.first() else { return self.protocol("error without a code") };
        match error.code {
            OciErrorCode::Unauthorized | OciErrorCode::Denied => self.authentication_failed(),
            OciErrorCode::BlobUnknown
            | OciErrorCode::ManifestUnknown
            | OciErrorCode::NameUnknown
            | OciErrorCode::NotFound => RegistryError::NotFound(self.reference.to_owned()),
            OciErrorCode::Toomanyrequests => RegistryError::Unavailable {
                host: self.host(),
                problem: "too many requests".to_owned(),
                retry_after: None,
            },
            _ => RegistryError::Refused { host: self.host(), problem: cut(&one_line(&error.message)) },
        }
    }
}

/// The innermost error says what happened; the outer ones only that something did.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cut(&one_line(&cause.to_string()))
}

/// What a registry says is quoted, but not at any length.
fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}
