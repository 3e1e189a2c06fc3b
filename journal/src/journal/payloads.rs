//! Payloads and the blobs of a run, in the accounts of the run and its tenant.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use uuid::Uuid;

use super::Journal;
use crate::blobs::{BlobBytes, BlobError, BlobOf};
use crate::error::JournalError;
use crate::machine::{Refusal, RunState};
use crate::protocol::{ErrorCode, INLINE_MAX, Payload, RunTenant, Session, Sha256Digest};
use crate::store::BLOB_BLOCK;

/// The longest payload that is read whole, in bytes: what people are shown, and arguments of the operator's own.
const WHOLE_MAX: u64 = 16 << 20;

/// What a blob of this size takes.
pub(super) fn cost(size: u64) -> u64 {
    size.div_ceil(BLOB_BLOCK) * BLOB_BLOCK
}

/// What a blob takes more than it was counted with before.
fn grown(before: Option<u64>, size: u64) -> u64 {
    cost(size).saturating_sub(before.map_or(0, cost))
}

/// Takes what is sent, and forgets it.
async fn drain<E>(bytes: impl Stream<Item = Result<Bytes, E>>) {
    let mut bytes = std::pin::pin!(bytes);
    while bytes.next().await.is_some_and(|piece| piece.is_ok()) {}
}

impl<'a> BlobOf<'a> {
    /// A blob of this run.
    pub(super) fn run(state: &'a RunState, digest: Sha256Digest) -> Self {
        Self { namespace: &state.namespace, run_id: state.run_id, digest }
    }
}

impl Journal {
    /// Keeps `size` bytes of a pod as a blob of its run; they are on disk when this returns. A pod that is the holder no more
    /// is heard for as long as its last completions are. Whoever is refused has sent all it had: else it would not hear why.
    pub async fn put_blob<E: Into<io::Error>>(
        &self,
        session: &Session,
        digest: Sha256Digest,
        size: u64,
        bytes: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<(), JournalError> {
        let state = self.state(session.run_id).await?;
        let blob = BlobOf::run(&state, digest);
        let admitted = self.admit_blob(session, &state, digest, size).await;
        if admitted.is_err() || self.inner.blobs.size(blob).await? == Some(size) {
            drain(bytes).await;
            return admitted;
        }
        Ok(self.inner.blobs.put(blob, size, bytes).await?)
    }

    async fn admit_blob(
        &self,
        session: &Session,
        state: &RunState,
        digest: Sha256Digest,
        size: u64,
    ) -> Result<(), JournalError> {
        if !self.hears(state, session) {
            return Err(Refusal::new(ErrorCode::Fenced, "the segment is over").into());
        }
        let limits = self.limits(&state.tenant.namespace_uid);
        if size > limits.blob_max {
            return Err(BlobError::TooLarge(limits.blob_max).into());
        }
        self.count_blob(state, digest, size).await?;
        if self.free_bytes()? < limits.reserve.saturating_add(size) {
            // What is left is for entries: they are what must not be lost. There may be room again soon.
            return Err(BlobError::from(io::Error::from(io::ErrorKind::StorageFull)).into());
        }
        Ok(())
    }

    /// Counts a blob before it is written: what the account says is never less than what is there.
    async fn count_blob(&self, state: &RunState, digest: Sha256Digest, size: u64) -> Result<(), JournalError> {
        let (cell, uid) = (self.cell(state.run_id), &state.tenant.namespace_uid);
        let limits = self.limits(uid);
        let mut known = cell.blobs().await;
        if known.is_none() {
            *known = Some(self.inner.store.blobs(state.run_id).await?.into_iter().collect());
        }
        let Some(known) = known.as_mut() else { return Ok(()) };
        let counted = known.get(&digest).copied();
        if counted.is_some_and(|counted| counted >= size) {
            return Ok(());
        }
        let bytes: u64 = known.iter().filter(|(other, _)| **other != digest).map(|(_, size)| cost(*size)).sum();
        let full = self.is_full(uid);
        if bytes + cost(size) > limits.blobs_max || full {
            let message = if full {
                format!("tenant {} keeps all it may: {} bytes", state.tenant.slug, limits.tenant_max)
            } else {
                format!("the run's blobs have {bytes} bytes, and may have {} at most", limits.blobs_max)
            };
            return Err(Refusal::new(ErrorCode::TooLarge, message).into());
        }
        let before = self.inner.store.count_blob(uid, state.run_id, digest, size).await?;
        known.insert(digest, size);
        self.inner.accounts.add(uid, grown(before, size));
        Ok(())
    }

    /// A blob of the run, in pieces.
    pub async fn get_blob(&self, run_id: Uuid, digest: Sha256Digest) -> Result<BlobBytes, JournalError> {
        let state = self.state(run_id).await?;
        Ok(self.inner.blobs.get(BlobOf::run(&state, digest)).await?)
    }

    /// The text of a payload of a run, which must not be larger than people read.
    pub async fn payload_text(&self, run_id: Uuid, payload: &Payload) -> Result<String, JournalError> {
        match payload {
            Payload::Inline { inline } => Ok(inline.clone()),
            Payload::Blob { blob, .. } => {
                let state = self.state(run_id).await?;
                let bytes = self.inner.blobs.read(BlobOf::run(&state, *blob), WHOLE_MAX).await?;
                String::from_utf8(bytes.into()).map_err(|_| JournalError::invalid("payload is not valid UTF-8"))
            }
        }
    }

    /// Deletes the blob of a payload that nothing is to name.
    pub(super) async fn discard(
        &self,
        (namespace, tenant): (&str, &RunTenant),
        run_id: Uuid,
        payload: &Payload,
    ) -> Result<(), JournalError> {
        let Payload::Blob { blob, size } = payload else { return Ok(()) };
        self.inner.blobs.delete(BlobOf { namespace, run_id, digest: *blob }).await?;
        self.inner.store.forget_blobs(run_id, &[*blob]).await?;
        self.inner.accounts.take(&tenant.namespace_uid, cost(*size));
        Ok(())
    }

    /// A payload of this text: in the entry if it is short, else in a blob that is on disk when this returns.
    pub(super) async fn payload(
        &self,
        (namespace, tenant): (&str, &RunTenant),
        run_id: Uuid,
        text: String,
    ) -> Result<Payload, JournalError> {
        if text.len() <= INLINE_MAX {
            return Ok(Payload::inline(text));
        }
        let (digest, size) = (Sha256Digest::of(text.as_bytes()), text.len() as u64);
        let blob = BlobOf { namespace, run_id, digest };
        let before = self.inner.store.count_blob(&tenant.namespace_uid, run_id, digest, size).await?;
        self.inner.accounts.add(&tenant.namespace_uid, grown(before, size));
        if self.inner.blobs.size(blob).await? != Some(size) {
            let whole = futures::stream::iter([Ok::<_, io::Error>(Bytes::from(text))]);
            self.inner.blobs.put(blob, size, whole).await?;
        }
        Ok(Payload::Blob { blob: digest, size })
    }

    /// Bytes of entries, logs, blobs and drafts that are kept of the tenant whose namespace has this UID.
    pub fn kept(&self, namespace_uid: &str) -> u64 {
        self.inner.accounts.total(namespace_uid)
    }

    /// Bytes that are free on the volume of the store and the blobs.
    pub fn free_bytes(&self) -> Result<u64, JournalError> {
        let stat = rustix::fs::statvfs(&self.inner.settings.dir).map_err(io::Error::from).map_err(BlobError::from)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Whether the tenant whose namespace has this UID keeps all that it may.
    pub fn is_full(&self, namespace_uid: &str) -> bool {
        self.kept(namespace_uid) >= self.limits(namespace_uid).tenant_max
    }
}
