//! Purges what is kept of ended runs when their tenant's retention is over. A run's claims and its row in the ledger stay for
//! ever, so that nothing is executed twice because its journal was purged; so do the hashes of its entries.
//!
//! A purge is decided and recorded in one write, and from then on what it is about cannot be read. What is left to delete
//! is deleted in steps, by whoever comes first after a crash.

use std::io;

use uuid::Uuid;

use super::Journal;
use super::payloads::cost;
use crate::blobs::{BlobError, BlobOf};
use crate::error::JournalError;
use crate::failpoint;
use crate::protocol::Sha256Digest;
use crate::retention::{Hold, PurgeRecord, PurgedRun, Retention, RunPart, Skeleton, due_for_purge};
use crate::store::{BegunPurge, EndedRun};

/// Runs that are looked at in one statement.
const AT_ONCE: u32 = 64;
/// Rows that are deleted in one transaction.
const ROWS: u32 = 256;
/// Skeletons that are read at once.
const SKELETONS: u32 = 4096;

impl Journal {
    /// Ended runs of the tenant whose namespace has this UID, of which this part has been kept for longer than it is to be, the
    /// oldest first, after this one: a page, empty at the end. Held ones are among them.
    pub async fn expired(
        &self,
        namespace_uid: &str,
        part: RunPart,
        retention: &Retention,
        after: Option<&EndedRun>,
    ) -> Result<Vec<EndedRun>, JournalError> {
        let after = after.map(|run| (run.ended_at, run.run_id));
        let cutoff = retention.cutoff(part, self.now());
        Ok(self.inner.store.expired(namespace_uid, part, cutoff, after, AT_ONCE).await?)
    }

    /// What keeps a run from being purged. The run need not have a journal any more.
    pub async fn hold(&self, run_id: Uuid) -> Result<Option<Hold>, JournalError> {
        Ok(self.inner.store.run(run_id).await?.and_then(|run| run.hold))
    }

    /// Keeps a run from being purged, or no longer. It stays held until it is said otherwise, whatever becomes of its object.
    pub async fn set_hold(&self, run_id: Uuid, hold: Option<&Hold>) -> Result<(), JournalError> {
        Ok(self.inner.store.set_hold(run_id, hold).await?)
    }

    /// What is left of a run whose journal was purged; `None` if it was not, or there is no such run.
    pub async fn purged(&self, run_id: Uuid) -> Result<Option<PurgedRun>, JournalError> {
        Ok(self.inner.store.purged(run_id).await?)
    }

    /// What is left of a purged run's entries from `from` on: a page, empty at the end.
    pub async fn skeletons(&self, run_id: Uuid, from: u64) -> Result<Vec<Skeleton>, JournalError> {
        Ok(self.inner.store.skeletons(run_id, from, SKELETONS).await?)
    }

    /// Purges what is due of a run, and says what that was. Nothing of one that has a holder, whose last pod may yet be heard, or
    /// that is held.
    pub async fn purge(&self, run_id: Uuid, retention: &Retention) -> Result<Option<RunPart>, JournalError> {
        let (journal, retention) = (self.clone(), *retention);
        // It goes on to its end even if the caller goes away.
        let work = async move {
            let Some(begun) = journal.begin_purge(run_id, retention).await? else { return Ok(None) };
            journal.carry_out(&begun).await?;
            Ok(Some(begun.part))
        };
        tokio::spawn(work).await.map_err(|_| JournalError::Stopped)?
    }

    /// Carries out some purges that were begun before the process ended or the store failed. Gives how many there were.
    pub async fn continue_purges(&self) -> Result<usize, JournalError> {
        let begun = self.inner.store.begun_purges(AT_ONCE).await?;
        let mut failed = None;
        for purge in &begun {
            if let Err(error) = self.carry_out(purge).await {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(begun.len()), Err)
    }

    /// Records that a part of the run is purged, in its writer's turn, if it is due.
    async fn begin_purge(&self, run_id: Uuid, retention: Retention) -> Result<Option<BegunPurge>, JournalError> {
        let cell = self.cell(run_id);
        let _alone = cell.alone().await;
        let row = self.inner.store.run(run_id).await?.ok_or(JournalError::UnknownRun(run_id))?;
        if row.secret.is_none() {
            return Ok(None);
        }
        let (state, now, held) = (cell.load(&self.inner).await?, self.now(), row.hold.is_some());
        let heard = state.holder().is_some() || (state.released_at.is_some() && state.hears_late(now));
        let Some(part) = due_for_purge(now, state.completed_at(), &retention, held).filter(|_| !heard) else {
            return Ok(None);
        };
        let record = PurgeRecord::of(&state, part, retention, now);
        failpoint::hit(failpoint::BEFORE_PURGE_STEP);
        let begun = self.inner.store.begin_purge(run_id, &record).await;
        failpoint::hit(failpoint::AFTER_PURGE_STEP);
        // Also if it failed, for it may have been done: who asks next reads what is there.
        cell.forget();
        let (namespace, namespace_uid) = (state.namespace.clone(), state.tenant.namespace_uid.clone());
        Ok(begun?.then_some(BegunPurge { run_id, namespace, namespace_uid, part }))
    }

    async fn carry_out(&self, purge: &BegunPurge) -> Result<(), JournalError> {
        if purge.part == RunPart::Journal {
            self.purge_blobs(purge).await?;
        }
        loop {
            failpoint::hit(failpoint::BEFORE_PURGE_STEP);
            let step = self.inner.store.purge_rows(purge.run_id, ROWS).await?;
            self.inner.accounts.take(&purge.namespace_uid, step.freed);
            failpoint::hit(failpoint::AFTER_PURGE_STEP);
            if !step.more {
                break;
            }
            // Who waits to commit comes first.
            tokio::task::yield_now().await;
        }
        self.inner.store.end_purge(purge.run_id).await?;
        if purge.part == RunPart::Journal {
            let _ = self.inner.feed.send(purge.run_id);
        }
        Ok(())
    }

    /// Deletes the blobs, which count no longer then, and with their directory the pieces of some that were never whole.
    async fn purge_blobs(&self, purge: &BegunPurge) -> Result<(), JournalError> {
        let BegunPurge { run_id, namespace, namespace_uid, .. } = purge;
        let blobs = self.inner.store.blobs(*run_id).await?;
        for some in blobs.chunks(ROWS as usize) {
            for (digest, _) in some {
                self.inner.blobs.delete(BlobOf { namespace, run_id: *run_id, digest: *digest }).await?;
            }
            failpoint::hit(failpoint::BEFORE_PURGE_STEP);
            let digests: Vec<Sha256Digest> = some.iter().map(|(digest, _)| *digest).collect();
            self.inner.store.forget_blobs(*run_id, &digests).await?;
            self.inner.accounts.take(namespace_uid, some.iter().map(|(_, size)| cost(*size)).sum());
        }
        let dir = self.inner.settings.dir.join("blobs").join(namespace).join(run_id.to_string());
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BlobError::from(error).into()),
            _ => Ok(()),
        }
    }

    /// Fails by name if this part of the run was purged.
    pub(super) async fn check_kept(&self, run_id: Uuid, part: RunPart) -> Result<(), JournalError> {
        let Some(run) = self.inner.store.run(run_id).await? else { return Ok(()) };
        match run.purged.into_iter().find(|record| record.part == part || record.part == RunPart::Journal) {
            Some(record) => Err(JournalError::Purged { run_id, record: Box::new(record) }),
            None => Ok(()),
        }
    }
}
