//! What can go wrong, by what the caller can do about it.

use uuid::Uuid;

use crate::blobs::BlobError;
use crate::machine::{Corrupt, Refusal};
use crate::protocol::{Entry, ErrorCode, WireError};
use crate::retention::PurgeRecord;
use crate::store::StoreError;

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The request is wrong; asking again is of no use.
    Invalid,
    /// Not now.
    Waiting,
    /// Something outside failed; asking again may help.
    Transient,
    /// This must not happen.
    Bug,
}

/// Why the journal did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The protocol refuses it.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// With `Unread`: everything after the request's `head`.
        entries: Vec<Entry>,
    },
    /// There is no such run.
    #[error("there is no run {0}")]
    UnknownRun(Uuid),
    /// What was asked for was purged, as its tenant's retention wants it.
    #[error("run {run_id}: {record}")]
    Purged {
        /// The run.
        run_id: Uuid,
        /// What was purged, when, and by which setting.
        record: Box<PurgeRecord>,
    },
    /// What is stored about a run is no journal.
    #[error("the journal of run {run_id} is corrupt: {source}")]
    Corrupt {
        /// The run.
        run_id: Uuid,
        /// What is wrong with it.
        source: Corrupt,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blobs failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A task of the journal itself ended early.
    #[error("the journal is shutting down")]
    Stopped,
}

impl From<Refusal> for JournalError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { refusal, entries: Vec::new() }
    }
}

impl JournalError {
    pub(crate) fn invalid(message: &str) -> Self {
        Refusal::new(ErrorCode::Invalid, message).into()
    }

    /// What the caller can do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Refused { refusal, .. } if refusal.code == ErrorCode::NotYet => ErrorClass::Waiting,
            Self::Refused { .. }
            | Self::UnknownRun(_)
            | Self::Purged { .. }
            | Self::Blob(BlobError::Mismatch(_) | BlobError::Missing(_) | BlobError::TooLarge(_))
            | Self::Store(
                StoreError::NetworkFileSystem { .. }
                | StoreError::FormatTooOld { .. }
                | StoreError::FormatTooNew { .. },
            ) => ErrorClass::Invalid,
            Self::Store(StoreError::InUse(_)) => ErrorClass::Waiting,
            Self::Store(StoreError::Unreadable(_)) | Self::Corrupt { .. } => ErrorClass::Bug,
            Self::Store(_) | Self::Blob(_) | Self::Stopped => ErrorClass::Transient,
        }
    }

    /// A bounded word for metrics and conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused { refusal, .. } => refusal.code.as_str(),
            Self::UnknownRun(_) => "UnknownRun",
            Self::Purged { .. } => ErrorCode::Purged.as_str(),
            Self::Corrupt { .. } => "JournalCorrupt",
            Self::Store(StoreError::InUse(_)) => "StoreInUse",
            Self::Store(StoreError::Raced(_)) => "StoreRaced",
            Self::Store(StoreError::FormatTooOld { .. }) => "FormatTooOld",
            Self::Store(StoreError::FormatTooNew { .. }) => "FormatTooNew",
            Self::Store(_) => "StoreFailed",
            Self::Blob(BlobError::Missing(_)) => "BlobMissing",
            Self::Blob(BlobError::Mismatch(_)) => "BlobMismatch",
            Self::Blob(BlobError::TooLarge(_)) => "TooLarge",
            Self::Blob(_) => "BlobsFailed",
            Self::Stopped => "Stopped",
        }
    }

    /// The answer to a pod, with its HTTP status; `None` if the journal itself failed and the pod is to ask again (503,
    /// no body).
    pub fn wire(&self) -> Option<(u16, WireError)> {
        let (code, retry_after_ms, entries) = match self {
            Self::Refused { refusal, entries } => (refusal.code, refusal.retry_after_ms, entries.clone()),
            Self::UnknownRun(_) => (ErrorCode::Forbidden, None, Vec::new()),
            Self::Purged { .. } => (ErrorCode::Purged, None, Vec::new()),
            Self::Blob(BlobError::Missing(_)) => (ErrorCode::BlobMissing, None, Vec::new()),
            Self::Blob(BlobError::Mismatch(_)) => (ErrorCode::Invalid, None, Vec::new()),
            Self::Blob(BlobError::TooLarge(_)) => (ErrorCode::TooLarge, None, Vec::new()),
            Self::Corrupt { .. } | Self::Store(_) | Self::Blob(_) | Self::Stopped => return None,
        };
        let message = match self {
            Self::Refused { refusal, .. } => refusal.message.clone(),
            Self::UnknownRun(_) => "forbidden".to_owned(),
            other => other.to_string(),
        };
        Some((code.status(), WireError { code, message, retry_after_ms, entries }))
    }
}
