//! Bytes of a run, by their digest, in a directory (or any other object store later).

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use uuid::Uuid;

use crate::failpoint;
use crate::protocol::Sha256Digest;

/// Why a blob was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes have another digest.
    #[error("the bytes do not have digest {0}")]
    Mismatch(Sha256Digest),
    /// There is no such blob.
    #[error("blob {0} is not there")]
    Missing(Sha256Digest),
    /// Larger than allowed.
    #[error("a blob may have at most {0} bytes")]
    TooLarge(u64),
    /// Input or output failed.
    #[error("the blobs cannot be used: {0}")]
    Io(#[from] std::io::Error),
    /// The object store failed.
    #[error("the blobs cannot be used: {0}")]
    Store(#[from] object_store::Error),
}

/// The blobs of all runs. What is written is on disk when the write returns.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    max: u64,
}

impl Blobs {
    /// Blobs in `dir`, which is made if it is not there, of at most `max` bytes each.
    pub fn open(dir: &Path, max: u64) -> Result<Self, BlobError> {
        std::fs::create_dir_all(dir)?;
        let store = LocalFileSystem::new_with_prefix(dir)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), max })
    }

    fn path(namespace: &str, run_id: Uuid, digest: Sha256Digest) -> object_store::path::Path {
        object_store::path::Path::from_iter([namespace, &run_id.to_string(), "sha256", &digest.hex()])
    }

    /// Writes bytes that must have this digest. Writing them again changes nothing.
    pub async fn put(
        &self,
        namespace: &str,
        run_id: Uuid,
        digest: Sha256Digest,
        bytes: Bytes,
    ) -> Result<(), BlobError> {
        if bytes.len() as u64 > self.max {
            return Err(BlobError::TooLarge(self.max));
        }
        if Sha256Digest::of(&bytes) != digest {
            return Err(BlobError::Mismatch(digest));
        }
        if self.size(namespace, run_id, digest).await? != Some(bytes.len() as u64) {
            self.store.put(&Self::path(namespace, run_id, digest), PutPayload::from_bytes(bytes)).await?;
        }
        failpoint::hit(failpoint::AFTER_BLOB);
        Ok(())
    }

    /// Reads a blob; what does not have its digest any more is not given out.
    pub async fn get(&self, namespace: &str, run_id: Uuid, digest: Sha256Digest) -> Result<Bytes, BlobError> {
        let found = match self.store.get(&Self::path(namespace, run_id, digest)).await {
            Err(object_store::Error::NotFound { .. }) => return Err(BlobError::Missing(digest)),
            found => found?,
        };
        let bytes = found.bytes().await?;
        if Sha256Digest::of(&bytes) != digest {
            return Err(BlobError::Mismatch(digest));
        }
        Ok(bytes)
    }

    /// The size of a blob in bytes, if it is there.
    pub async fn size(&self, namespace: &str, run_id: Uuid, digest: Sha256Digest) -> Result<Option<u64>, BlobError> {
        match self.store.head(&Self::path(namespace, run_id, digest)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
