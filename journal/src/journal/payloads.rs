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

impl<'a> BlobOf<'a> {
    /// A blob of this run.
    pub(super) fn run(state: &'a RunState, digest: Sha256Digest) -> Self {
        Self { namespace: &state.namespace, run_id: state.run_id, digest }
    }
}

impl Journal {
    /// Keeps `size` bytes of a pod as a blob of its run; they are on disk when this returns. A pod that is the holder no more
    /// is heard for as long as its last completions are.
    pub async fn put_blob<E: Into<io::Error>>(
        &self,
        session: &Session,
        digest: Sha256Digest,
        size: u64,
        bytes: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<(), JournalError> {
        let state = self.state(session.run_id).await?;
        if !self.hears(&state, session) {
            return Err(Refusal::new(ErrorCode::Fenced, "the segment is over").into());
        }
        let limits = self.inner.settings.limits;
        if size > limits.blob_max {
            return Err(BlobError::TooLarge(limits.blob_max).into());
        }
        self.count_blob(&state, digest, size).await?;
        let blob = BlobOf::run(&state, digest);
        if self.inner.blobs.size(blob).await? == Some(size) {
            // Read all the same: who sends it waits until all was taken.
            let mut bytes = std::pin::pin!(bytes);
            while bytes.next().await.is_some() {}
            return Ok(());
        }
        Ok(self.inner.blobs.put(blob, size, bytes).await?)
    }

    /// Counts a blob before it is written: what the account says is never less than what is there.
    async fn count_blob(&self, state: &RunState, digest: Sha256Digest, size: u64) -> Result<(), JournalError> {
        let (limits, cell) = (self.inner.settings.limits, self.cell(state.run_id));
        let mut known = cell.blob_bytes().await;
        let before = match *known {
            Some(bytes) => bytes,
            None => self.inner.store.blobs(state.run_id).await?.iter().map(|(_, size)| cost(*size)).sum(),
        };
        *known = Some(before);
        let full = before + cost(size) > limits.blobs_max || self.is_full(&state.tenant.namespace_uid);
        if full && self.inner.blobs.size(BlobOf::run(state, digest)).await?.is_none() {
            let message = if self.is_full(&state.tenant.namespace_uid) {
                format!("tenant {} keeps all it may: {} bytes", state.tenant.slug, limits.tenant_max)
            } else {
                format!("the run's blobs have {before} bytes, and may have {} at most", limits.blobs_max)
            };
            return Err(Refusal::new(ErrorCode::TooLarge, message).into());
        }
        if self.inner.store.count_blob(&state.tenant.namespace_uid, state.run_id, digest, size).await? {
            *known = Some(before + cost(size));
            self.inner.accounts.add(&state.tenant.namespace_uid, cost(size));
        }
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
        if self.inner.store.count_blob(&tenant.namespace_uid, run_id, digest, size).await? {
            self.inner.accounts.add(&tenant.namespace_uid, cost(size));
        }
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
        self.kept(namespace_uid) >= self.inner.settings.limits.tenant_max
    }
}
