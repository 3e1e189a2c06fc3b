//! What workflow code and people say: never shown outside the journal, not even in a debug print.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::digest::{RunSecret, Sha256Digest};

/// The largest payload that stands in an entry, in bytes.
pub const INLINE_MAX: usize = 4096;

/// A JSON text, either in the entry itself or in a blob uploaded before it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Payload {
    /// The text itself, up to [`INLINE_MAX`] bytes.
    Inline {
        /// A JSON text.
        inline: String,
    },
    /// The text lies in a blob of the run.
    Blob {
        /// Digest of the text.
        #[schemars(with = "String")]
        blob: Sha256Digest,
        /// Its length in bytes.
        size: u64,
    },
}

impl Payload {
    /// A payload of this JSON text in the entry itself; the caller keeps it below [`INLINE_MAX`].
    pub fn inline(text: impl Into<String>) -> Self {
        Self::Inline { inline: text.into() }
    }

    /// The bytes its keyed digest is taken over: the text, or for a blob the text of the blob's digest.
    pub fn digest_bytes(&self) -> Vec<u8> {
        match self {
            Self::Inline { inline } => inline.as_bytes().to_vec(),
            Self::Blob { blob, .. } => blob.to_string().into_bytes(),
        }
    }

    /// The digest by which this payload may be named outside the journal.
    pub fn keyed_digest(&self, secret: &RunSecret) -> String {
        secret.keyed(&self.digest_bytes())
    }

    /// Bytes of its text.
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline { inline } => inline.len() as u64,
            Self::Blob { size, .. } => *size,
        }
    }

    /// The blob it lies in.
    pub fn blob(&self) -> Option<Sha256Digest> {
        match self {
            Self::Inline { .. } => None,
            Self::Blob { blob, .. } => Some(*blob),
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline { inline } => write!(f, "Payload(inline, {} bytes)", inline.len()),
            Self::Blob { size, .. } => write!(f, "Payload(blob, {size} bytes)"),
        }
    }
}
