//! Bytes of a run, by their digest, in a directory (or any other object store later). They are never held whole: they go to
//! a staging file piece by piece, and become a blob when their digest is the right one.

use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::failpoint;
use crate::protocol::Sha256Digest;

/// Why a blob was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes have another digest, or there are more or fewer than was said.
    #[error("the bytes do not have digest {0}")]
    Mismatch(Sha256Digest),
    /// There is no such blob.
    #[error("blob {0} is not there")]
    Missing(Sha256Digest),
    /// Larger than allowed.
    #[error("a blob may have at most {0} bytes")]
    TooLarge(u64),
    /// Who sends the bytes stopped, or the disk failed.
    #[error("the blobs cannot be used: {0}")]
    Io(#[from] std::io::Error),
    /// The object store failed.
    #[error("the blobs cannot be used: {0}")]
    Store(#[from] object_store::Error),
}

/// Where a blob belongs.
#[derive(Debug, Clone, Copy)]
pub struct BlobOf<'a> {
    /// The run's namespace.
    pub namespace: &'a str,
    /// The run.
    pub run_id: Uuid,
    /// The blob.
    pub digest: Sha256Digest,
}

impl BlobOf<'_> {
    fn path(&self) -> object_store::path::Path {
        let Self { namespace, run_id, digest } = self;
        object_store::path::Path::from_iter([*namespace, &run_id.to_string(), "sha256", &digest.hex()])
    }
}

/// A blob's bytes, in pieces. They end with an error if they do not have the blob's digest.
pub struct BlobBytes {
    /// How many there are.
    pub size: u64,
    /// The pieces.
    pub pieces: BoxStream<'static, Result<Bytes, BlobError>>,
}

/// The blobs of all runs. What is written is on disk when the write returns.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
}

impl Blobs {
    /// Blobs in `dir`, which is made if it is not there.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        std::fs::create_dir_all(dir)?;
        let store = LocalFileSystem::new_with_prefix(dir)?.with_fsync(true);
        Ok(Self { store: Arc::new(store) })
    }

    /// Writes `size` bytes that must have this digest. Writing them again changes nothing.
    pub async fn put<E: Into<std::io::Error>>(
        &self,
        blob: BlobOf<'_>,
        size: u64,
        bytes: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<(), BlobError> {
        let mut upload = self.store.put_multipart(&blob.path()).await?;
        match receive(upload.as_mut(), blob.digest, size, bytes).await {
            Ok(()) => upload.complete().await.map(|_| ())?,
            Err(error) => {
                // What is left of it is no blob, and is found when the run's blobs are collected.
                let _ = upload.abort().await;
                return Err(error);
            }
        }
        failpoint::hit(failpoint::AFTER_BLOB);
        Ok(())
    }

    /// A blob's bytes.
    pub async fn get(&self, blob: BlobOf<'_>) -> Result<BlobBytes, BlobError> {
        let found = match self.store.get(&blob.path()).await {
            Err(object_store::Error::NotFound { .. }) => return Err(BlobError::Missing(blob.digest)),
            found => found?,
        };
        let (size, wanted) = (found.meta.size, blob.digest);
        let start = (found.into_stream(), Some(Sha256::new()));
        let pieces = futures::stream::try_unfold(start, move |(mut pieces, hash)| async move {
            let Some(mut hash) = hash else { return Ok(None) };
            match pieces.try_next().await? {
                Some(piece) => {
                    hash.update(&piece);
                    Ok(Some((piece, (pieces, Some(hash)))))
                }
                None if Sha256Digest::of_hash(hash) == wanted => Ok(None),
                None => Err(BlobError::Mismatch(wanted)),
            }
        });
        Ok(BlobBytes { size, pieces: pieces.boxed() })
    }

    /// A blob of at most `max` bytes, whole.
    pub async fn read(&self, blob: BlobOf<'_>, max: u64) -> Result<Bytes, BlobError> {
        let BlobBytes { size, mut pieces } = self.get(blob).await?;
        if size > max {
            return Err(BlobError::TooLarge(max));
        }
        let mut whole = BytesMut::with_capacity(usize::try_from(size).unwrap_or_default());
        while let Some(piece) = pieces.try_next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The size of a blob in bytes, if it is there.
    pub async fn size(&self, blob: BlobOf<'_>) -> Result<Option<u64>, BlobError> {
        match self.store.head(&blob.path()).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a blob, if it is there.
    pub async fn delete(&self, blob: BlobOf<'_>) -> Result<(), BlobError> {
        match self.store.delete(&blob.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes what comes to the staging file. It becomes a blob only if it is what was announced.
async fn receive<E: Into<std::io::Error>>(
    upload: &mut dyn MultipartUpload,
    digest: Sha256Digest,
    size: u64,
    bytes: impl Stream<Item = Result<Bytes, E>>,
) -> Result<(), BlobError> {
    let (mut hash, mut left) = (Sha256::new(), size);
    let mut bytes = std::pin::pin!(bytes);
    while let Some(piece) = bytes.next().await {
        let piece = piece.map_err(Into::into)?;
        left = left.checked_sub(piece.len() as u64).ok_or(BlobError::Mismatch(digest))?;
        hash.update(&piece);
        upload.put_part(PutPayload::from_bytes(piece)).await?;
    }
    if left > 0 || Sha256Digest::of_hash(hash) != digest {
        return Err(BlobError::Mismatch(digest));
    }
    Ok(())
}
