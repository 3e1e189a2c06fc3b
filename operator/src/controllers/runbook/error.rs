//! What can keep a Runbook from being served.

use std::time::Duration;

use ntro_bundle::reference::{Digest, ReferenceError, Repository};
use ntro_bundle::version::VersionError;
use ntro_crds::Reason;
use ntro_crds::duration::BadDuration;
use semver::Version;
use thiserror::Error;

use crate::bundles::{self, BundleError};
use crate::error::{Class, Classified};

/// Time until something that others have to provide is looked for again.
const RETRY: Duration = Duration::from_secs(30);

/// Why a pass over a Runbook failed.
#[derive(Debug, Error)]
pub(super) enum RunbookError {
    /// The namespace is not labelled as a tenant.
    #[error("namespace `{0}` is not a tenant: it has no label `ntro.dev/tenant`")]
    NotATenant(String),
    /// The operator has no rights in the namespace.
    #[error("namespace `{0}` is not prepared for a tenant: install the tenant chart or run `ntro tenant create`")]
    TenantNotPrepared(String),
    /// The address or digest cannot be read.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The version cannot be read, or is not there.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The interval cannot be read.
    #[error(transparent)]
    Interval(#[from] BadDuration),
    /// The bundle could not be fetched or is not valid.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle is of another runbook.
    #[error("the bundle of {repository} is of runbook `{found}`, but this Runbook is named `{wanted}`")]
    SlugMismatch {
        /// Where it is.
        repository: Repository,
        /// The Runbook's name.
        wanted: String,
        /// The slug in the bundle's `runbook.md`.
        found: String,
    },
    /// The bundle is of another version than its tag or the spec says.
    #[error("the bundle {digest} says it is version {found}, not {wanted}")]
    VersionMismatch {
        /// Which bundle.
        digest: Digest,
        /// What was asked for.
        wanted: Version,
        /// The version in the bundle's `runbook.md`.
        found: Version,
    },
    /// The bundle declares more activities than a run can be pinned to.
    #[error("the bundle {digest} declares {found} activities; at most 64 are possible")]
    TooManyActivities {
        /// Which bundle.
        digest: Digest,
        /// How many.
        found: usize,
    },
    /// The Kubernetes API.
    #[error("Kubernetes API")]
    Kube(#[from] kube::Error),
}

impl RunbookError {
    /// Whether the spec itself is at fault, so that no attempt can succeed before it changes.
    pub(super) fn is_of_spec(&self) -> bool {
        matches!(self, Self::Reference(_) | Self::Interval(_) | Self::Version(VersionError::Selector(_)))
    }
}

impl Classified for RunbookError {
    fn class(&self) -> Class {
        match self {
            Self::NotATenant(_)
            | Self::Reference(_)
            | Self::Interval(_)
            | Self::SlugMismatch { .. }
            | Self::VersionMismatch { .. }
            | Self::TooManyActivities { .. } => Class::Invalid,
            Self::TenantNotPrepared(_) => Class::Waiting { after: RETRY },
            Self::Version(error) => bundles::class(error.class()),
            Self::Bundle(error) => error.class(),
            Self::Kube(error) => error.class(),
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::NotATenant(_) => Reason::NotATenant,
            Self::TenantNotPrepared(_) => Reason::TenantNotPrepared,
            Self::Reference(error) => Reason::named(error.reason()),
            Self::Version(error) => Reason::named(error.reason()),
            Self::Interval(_) => Reason::IntervalInvalid,
            Self::Bundle(error) => error.reason(),
            Self::SlugMismatch { .. } => Reason::SlugMismatch,
            Self::VersionMismatch { .. } => Reason::VersionMismatch,
            Self::TooManyActivities { .. } => Reason::TooManyActivities,
            Self::Kube(error) => error.reason(),
        }
    }
}
