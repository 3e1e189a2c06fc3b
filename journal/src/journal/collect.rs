//! Blobs that nothing names: what a pod uploaded and did not live to say, and pieces of uploads that were cut off.

use std::collections::HashSet;
use std::io;

use serde_json::Value;
use uuid::Uuid;

use super::Journal;
use super::payloads::cost;
use crate::blobs::{BlobError, BlobOf};
use crate::error::JournalError;
use crate::machine::RunState;
use crate::protocol::{Sha256Digest, value_of};

/// Runs that are looked at in one statement.
const AT_ONCE: u32 = 64;

impl Journal {
    /// Deletes, of some runs after this one that have ended and whose pods are heard no more, the blobs that no entry names.
    /// Gives how many, and the last run it looked at; `None` if there is none after it. A run that fails is left for the next
    /// time.
    pub async fn collect_blobs(&self, after: Option<Uuid>) -> Result<(u64, Option<Uuid>), JournalError> {
        let runs = self.inner.store.uncollected(after, AT_ONCE).await?;
        let mut deleted = 0;
        for run_id in &runs {
            deleted += self.collect_run(*run_id).await.unwrap_or(0);
        }
        Ok((deleted, runs.last().copied()))
    }

    async fn collect_run(&self, run_id: Uuid) -> Result<u64, JournalError> {
        let state = self.state(run_id).await?;
        if state.holder().is_some() || state.hears_late(self.now()) && state.released_at.is_some() {
            return Ok(0);
        }
        let counted = self.inner.store.blobs(run_id).await?;
        let mut nameless = Vec::new();
        if !counted.is_empty() {
            let named = self.named_blobs(&state).await?;
            nameless.extend(counted.into_iter().filter(|(blob, _)| !named.contains(blob)));
        }
        for (digest, size) in &nameless {
            self.inner.blobs.delete(BlobOf::run(&state, *digest)).await?;
            self.inner.accounts.take(&state.tenant.namespace_uid, cost(*size));
        }
        let digests: Vec<Sha256Digest> = nameless.iter().map(|(digest, _)| *digest).collect();
        self.inner.store.forget_blobs(run_id, &digests).await?;
        self.delete_pieces(&state)?;
        self.inner.store.set_collected(run_id).await?;
        Ok(digests.len() as u64)
    }

    /// Every digest that stands anywhere in the run's entries.
    async fn named_blobs(&self, state: &RunState) -> Result<HashSet<Sha256Digest>, JournalError> {
        let (mut named, mut from) = (HashSet::new(), 0);
        loop {
            let page = self.entries(state.run_id, from).await?;
            let Some(last) = page.last() else { return Ok(named) };
            from = last.seq + 1;
            for entry in &page {
                digests(&value_of(entry), &mut named);
            }
        }
    }

    /// Deletes what is left of uploads that were cut off with the process.
    fn delete_pieces(&self, state: &RunState) -> Result<(), JournalError> {
        let blobs = self.inner.settings.dir.join("blobs");
        let dir = blobs.join(&state.namespace).join(state.run_id.to_string()).join("sha256");
        let files = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            files => files.map_err(BlobError::from)?,
        };
        for file in files {
            let file = file.map_err(BlobError::from)?;
            if file.file_name().to_string_lossy().contains('#') {
                std::fs::remove_file(file.path()).map_err(BlobError::from)?;
            }
        }
        Ok(())
    }
}

fn digests(value: &Value, found: &mut HashSet<Sha256Digest>) {
    match value {
        Value::String(text) => found.extend(text.parse::<Sha256Digest>()),
        Value::Array(items) => items.iter().for_each(|item| digests(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| digests(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
