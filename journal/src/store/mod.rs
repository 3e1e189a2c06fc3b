//! What is kept: journals, claims, logs, drafts, view keys, facts. One trait, one conformance suite (`tests/store.rs`),
//! any database: a directory here and an arm in [`open`] per database.

mod error;
mod records;
mod sqlite;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

pub use error::{DatabaseError, StoreError};
pub use records::{
    BegunPurge, ClaimKey, Commit, Draft, EndedRun, Inserted, OpenRun, PurgeStep, RunInsert, RunRow, StoredLine, ViewKey,
};
pub use sqlite::SqliteStore;

use crate::protocol::{Entry, LogLine, Sha256Digest};
use crate::retention::{Hold, PurgeRecord, PurgedRun, RunPart, Skeleton};

/// What a blob takes at least, and its size is rounded up to: a block of the file system.
pub const BLOB_BLOCK: u64 = 4096;

/// What is left of an entry that was purged takes, in bytes.
pub const SKELETON_COST: u64 = 128;

/// Opens the store of this directory. Here it is chosen which database that is: there is one.
pub async fn open(dir: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(SqliteStore::open(dir).await?))
}

/// A durable store. Every write is durable when it returns; every write is one transaction.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Whether it can still write: false only after a defect that a restart repairs.
    fn is_alive(&self) -> bool {
        true
    }
    /// The run the claims remember under this key.
    async fn claimed(&self, namespace_uid: &str, key: ClaimKey<'_>) -> Result<Option<Uuid>, StoreError>;
    /// Creates a run with its claims and first entries, unless there is a claim to its name or slot.
    async fn create(&self, run: RunInsert<'_>) -> Result<Inserted, StoreError>;
    /// Appends entries; [`StoreError::Raced`] if the journal has another length than expected.
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError>;
    /// A run.
    async fn run(&self, run_id: Uuid) -> Result<Option<RunRow>, StoreError>;
    /// The runs that have not ended.
    async fn open_runs(&self) -> Result<Vec<OpenRun>, StoreError>;
    /// A page of a run's entries from `from` on, in order: one if there is one, and more as long as their texts have
    /// `bytes` bytes at most.
    async fn entries(&self, run_id: Uuid, from: u64, bytes: u64) -> Result<Vec<Entry>, StoreError>;
    /// Adds log lines; those already there are ignored. Gives what the others take.
    async fn append_log(&self, run_id: Uuid, epoch: u64, lines: &[LogLine]) -> Result<u64, StoreError>;
    /// Log lines after the one numbered `after` (epoch, n), in order, at most `limit`.
    async fn read_log(
        &self,
        run_id: Uuid,
        after: Option<(u64, u64)>,
        limit: u32,
    ) -> Result<Vec<StoredLine>, StoreError>;
    /// What a run's log takes: the texts of its lines, and [`LOG_LINE_COST`](crate::protocol::LOG_LINE_COST) each.
    async fn log_bytes(&self, run_id: Uuid) -> Result<u64, StoreError>;
    /// Counts a blob that is about to be written to its run's and its tenant's account, with the largest size it was ever said
    /// to have. Gives the size that it was counted with before.
    async fn count_blob(
        &self,
        namespace_uid: &str,
        run_id: Uuid,
        blob: Sha256Digest,
        size: u64,
    ) -> Result<Option<u64>, StoreError>;
    /// The blobs that are counted to a run, and their sizes in bytes.
    async fn blobs(&self, run_id: Uuid) -> Result<Vec<(Sha256Digest, u64)>, StoreError>;
    /// No longer counts blobs that are gone.
    async fn forget_blobs(&self, run_id: Uuid, blobs: &[Sha256Digest]) -> Result<(), StoreError>;
    /// Runs after this one that have ended and whose blobs were not collected, in order of their ids, at most `limit`.
    async fn uncollected(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>, StoreError>;
    /// The blobs of a run that has ended were collected.
    async fn set_collected(&self, run_id: Uuid) -> Result<(), StoreError>;
    /// Bytes of entries, logs, blobs and drafts by UID of the tenants' namespaces.
    async fn usage(&self) -> Result<Vec<(String, u64)>, StoreError>;
    /// Runs of a tenant that ended at `until` or before and of which this part is kept, in order of their end, after this one, at
    /// most `limit`. Those that are held are among them, and those whose blobs were not collected are not.
    async fn expired(
        &self,
        namespace_uid: &str,
        part: RunPart,
        until: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        limit: u32,
    ) -> Result<Vec<EndedRun>, StoreError>;
    /// Keeps a run from being purged, or no longer. A purge that was begun goes on.
    async fn set_hold(&self, run_id: Uuid, hold: Option<&Hold>) -> Result<(), StoreError>;
    /// Begins to purge a part of a run that has ended and is not held: with the journal its key is gone, and its entries count
    /// as gone. False if there was nothing to begin.
    async fn begin_purge(&self, run_id: Uuid, record: &PurgeRecord) -> Result<bool, StoreError>;
    /// Purges that were begun and not ended, at most `limit`.
    async fn begun_purges(&self, limit: u32) -> Result<Vec<BegunPurge>, StoreError>;
    /// Takes a purge that was begun further by at most `rows` rows: log lines, and with the journal drafts and entries, the first
    /// ones first. Of an entry its skeleton stays.
    async fn purge_rows(&self, run_id: Uuid, rows: u32) -> Result<PurgeStep, StoreError>;
    /// A purge that was begun has ended.
    async fn end_purge(&self, run_id: Uuid) -> Result<(), StoreError>;
    /// What is left of a run whose journal was purged.
    async fn purged(&self, run_id: Uuid) -> Result<Option<PurgedRun>, StoreError>;
    /// What is left of a run's purged entries from `from` on, in order, at most `limit`.
    async fn skeletons(&self, run_id: Uuid, from: u64, limit: u32) -> Result<Vec<Skeleton>, StoreError>;
    /// Keeps a draft; the same draft again keeps its new expiry.
    async fn put_draft(&self, draft: &Draft) -> Result<(), StoreError>;
    /// A draft of a run, sent under a key with this hash.
    async fn draft(&self, run_id: Uuid, key_hash: &str, digest: &str) -> Result<Option<Draft>, StoreError>;
    /// Hash of the key under which a person sent a draft to a run, if they did and it is still there.
    async fn draft_sent_by(&self, run_id: Uuid, actor: &str, digest: &str) -> Result<Option<String>, StoreError>;
    /// The view a key opens, or opened until its time passed.
    async fn view_key(&self, namespace_uid: &str, key_hash: &str) -> Result<Option<ViewKey>, StoreError>;
    /// Bytes of the drafts of a run.
    async fn draft_bytes(&self, run_id: Uuid) -> Result<u64, StoreError>;
    /// Throws away drafts whose time has passed, and such view keys under which no draft is left. Whether there were drafts.
    async fn expire(&self, now: Timestamp) -> Result<bool, StoreError>;
    /// Keeps a fact about a namespace, by its UID, replacing the one before.
    async fn put_fact(&self, namespace_uid: &str, key: &str, value: &str) -> Result<(), StoreError>;
    /// A fact about a namespace, by its UID.
    async fn fact(&self, namespace_uid: &str, key: &str) -> Result<Option<String>, StoreError>;
    /// All facts about a namespace, by its UID, by key.
    async fn facts(&self, namespace_uid: &str) -> Result<Vec<(String, String)>, StoreError>;
    /// Keeps a setting unless there is one, and gives the one kept.
    async fn setting_or(&self, key: &str, value: &[u8]) -> Result<Vec<u8>, StoreError>;
}
