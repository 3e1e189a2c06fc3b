//! `SQLite`: one file, one process, every commit synced to disk. Writes that come together share a commit; reads have
//! connections of their own and see every commit that was made before they began, so none waits for the other.

mod batch;
mod purge;
mod rows;
mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{Connection, Row, Sqlite, SqliteConnection, SqlitePool};
use uuid::Uuid;

use batch::{Batches, Write, Wrote};
use rows::{claim_row, instant, run_id, run_row, signed, unsigned};
use writer::Writer;

use super::{
    BLOB_BLOCK, BegunPurge, ClaimKey, Commit, Draft, EndedRun, Inserted, OpenRun, PurgeStep, RunInsert, RunRow, Store,
    StoreError, StoredLine, ViewKey,
};
use crate::protocol::{Entry, LogLine, LogStream, RunTenant, Sha256Digest};
use crate::retention::{Hold, PurgeRecord, PurgedRun, RunPart, Skeleton};

/// What `user_version` says of a store of this release. Another one is refused, never misread: nothing made before it
/// need be read, and a release that is to read it brings a migration.
const FORMAT: i64 = 4;
const SCHEMA: &str = include_str!("schema.sql");

/// What the database says stays in this module: callers see that it failed.
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// Pages the writer keeps in memory at most.
const CACHE_KIB: u32 = 8 * 1024;
/// Pages each reader keeps in memory at most.
const READER_CACHE_KIB: u32 = 1024;
/// Reads at the same time; further ones wait for each other.
const READERS: u32 = 4;
/// Rows that a reader is ahead of who uses them: an entry may have half a megabyte.
const ROWS_AHEAD: usize = 8;

/// A store in a directory of its own.
pub struct SqliteStore {
    writer: Arc<Writer>,
    readers: SqlitePool,
    batches: Batches,
    /// Held as long as the store: the lock of the directory goes with the process, however it ends.
    _lock: File,
}

impl SqliteStore {
    /// Opens the store in `dir`, making it if it is not there. A second process is refused, and so is a network file
    /// system.
    pub async fn open(dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir)?;
        local_file_system(dir)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("journal.lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(dir.display().to_string())),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let file = SqliteConnectOptions::new().filename(dir.join("journal.sqlite")).row_buffer_size(ROWS_AHEAD);
        let options = file
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // Run ids are random: with the 2 MiB of the default every append reads pages that were just thrown out.
            .pragma("cache_size", format!("-{CACHE_KIB}"))
            // What was purged must not be found in the file's free pages.
            .pragma("secure_delete", "ON");
        let mut connection = SqliteConnection::connect_with(&options).await?;
        prepare(&mut connection).await?;
        let writer = Arc::new(Writer::new(options, connection));
        let reader = file.read_only(true).pragma("cache_size", format!("-{READER_CACHE_KIB}"));
        let readers =
            SqlitePoolOptions::new().max_connections(READERS).test_before_acquire(false).connect_lazy_with(reader);
        Ok(Self { batches: Batches::start(Arc::clone(&writer)), readers, writer, _lock: lock })
    }
}

impl SqliteStore {
    async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        Ok(self.readers.acquire().await?)
    }
}

/// A write has the answer of its kind.
const OTHER_ANSWER: StoreError = StoreError::Unreadable("another answer than was asked for");

/// What [`Store::usage`] asks for; `?1` is the block that blobs are rounded up to.
const USAGE: &str = "SELECT namespace_uid, sum(bytes) FROM ( \
    SELECT namespace_uid, entry_bytes + log_bytes AS bytes FROM runs \
    UNION ALL SELECT namespace_uid, (size + ?1 - 1) / ?1 * ?1 FROM blobs \
    UNION ALL SELECT namespace_uid, length(CAST(text AS BLOB)) FROM drafts) GROUP BY namespace_uid ORDER BY namespace_uid";

/// Refuses file systems whose locks and syncs hold only sometimes.
fn local_file_system(dir: &Path) -> Result<(), StoreError> {
    let kind = match rustix::fs::statfs(dir).map_err(std::io::Error::from)?.f_type {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x00c3_6400 => "CephFS",
        0x0102_1997 => "9P",
        0x6573_5546 => "FUSE",
        _ => return Ok(()),
    };
    Err(StoreError::NetworkFileSystem { dir: dir.display().to_string(), kind })
}

/// Makes the tables of a store that has none, and refuses one of another format.
async fn prepare(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let found: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *connection).await?.try_get(0)?;
    match found {
        FORMAT => Ok(()),
        0 => {
            let mut transaction = connection.begin().await?;
            sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
            // A pragma takes no parameters; the number is ours.
            let version = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {FORMAT}"));
            sqlx::raw_sql(version).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(())
        }
        1..FORMAT => Err(StoreError::FormatTooOld { found, known: FORMAT }),
        _ => Err(StoreError::FormatTooNew { found, known: FORMAT }),
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn is_alive(&self) -> bool {
        self.batches.is_alive()
    }

    async fn claimed(&self, namespace_uid: &str, key: ClaimKey<'_>) -> Result<Option<Uuid>, StoreError> {
        claim_row(&mut *self.reader().await?, namespace_uid, key).await
    }

    async fn create(&self, run: RunInsert<'_>) -> Result<Inserted, StoreError> {
        match self.batches.write(Write::create(&run)).await? {
            Wrote::Inserted(inserted) => Ok(inserted),
            _ => Err(OTHER_ANSWER),
        }
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        let Some(write) = Write::commit(&commit) else { return Ok(()) };
        self.batches.write(write).await.map(|_| ())
    }

    async fn run(&self, run_id: Uuid) -> Result<Option<RunRow>, StoreError> {
        run_row(&mut *self.reader().await?, run_id).await
    }

    async fn open_runs(&self) -> Result<Vec<OpenRun>, StoreError> {
        let sql = "SELECT run_id, namespace, namespace_uid, tenant FROM runs WHERE ended_at IS NULL ORDER BY run_id";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
        let parse = |row: &SqliteRow| {
            let tenant = RunTenant { namespace_uid: row.try_get(2)?, slug: row.try_get(3)? };
            Ok(OpenRun { run_id: run_id(row, 0)?, namespace: row.try_get(1)?, tenant })
        };
        rows.iter().map(parse).collect()
    }

    async fn entries(&self, run_id: Uuid, from: u64, bytes: u64) -> Result<Vec<Entry>, StoreError> {
        let mut reader = self.reader().await?;
        let mut rows = sqlx::query("SELECT entry FROM entries WHERE run_id = ? AND seq >= ? ORDER BY seq")
            .bind(run_id.to_string())
            .bind(signed(from))
            .fetch(&mut *reader);
        let (mut page, mut left) = (Vec::new(), bytes);
        while let Some(row) = rows.try_next().await? {
            let text: &str = row.try_get(0)?;
            if !page.is_empty() && text.len() as u64 > left {
                break;
            }
            left = left.saturating_sub(text.len() as u64);
            page.push(serde_json::from_str(text).map_err(|_| StoreError::Unreadable("an entry"))?);
        }
        Ok(page)
    }

    async fn append_log(&self, run_id: Uuid, epoch: u64, lines: &[LogLine]) -> Result<u64, StoreError> {
        if lines.is_empty() {
            return Ok(0);
        }
        match self.batches.write(Write::Log { run_id, epoch, lines: lines.to_vec() }).await? {
            Wrote::Logged(bytes) => Ok(bytes),
            _ => Err(OTHER_ANSWER),
        }
    }

    async fn read_log(
        &self,
        run_id: Uuid,
        after: Option<(u64, u64)>,
        limit: u32,
    ) -> Result<Vec<StoredLine>, StoreError> {
        let (epoch, n) = after.map_or((-1, -1), |(epoch, n)| (signed(epoch), signed(n)));
        let rows = sqlx::query(
            "SELECT epoch, n, stream, time, text FROM log_lines WHERE run_id = ? AND (epoch, n) > (?, ?) \
             ORDER BY epoch, n LIMIT ?",
        )
        .bind(run_id.to_string())
        .bind(epoch)
        .bind(n)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        let parse = |row: &SqliteRow| {
            let stream = match row.try_get(2)? {
                "stdout" => LogStream::Stdout,
                "stderr" => LogStream::Stderr,
                "logging" => LogStream::Logging,
                _ => return Err(StoreError::Unreadable("a log stream")),
            };
            let line = LogLine { n: unsigned(row, 1)?, stream, time: row.try_get(3)?, text: row.try_get(4)? };
            Ok(StoredLine { epoch: unsigned(row, 0)?, line })
        };
        rows.iter().map(parse).collect()
    }

    async fn log_bytes(&self, run_id: Uuid) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT coalesce(sum(log_bytes), 0) FROM runs WHERE run_id = ?")
            .bind(run_id.to_string())
            .fetch_one(&self.readers)
            .await?;
        unsigned(&row, 0)
    }

    async fn count_blob(
        &self,
        namespace_uid: &str,
        run_id: Uuid,
        blob: Sha256Digest,
        size: u64,
    ) -> Result<Option<u64>, StoreError> {
        let write = Write::CountBlob { namespace_uid: namespace_uid.to_owned(), run_id, blob, size };
        match self.batches.write(write).await? {
            Wrote::Counted(before) => Ok(before),
            _ => Err(OTHER_ANSWER),
        }
    }

    async fn blobs(&self, run_id: Uuid) -> Result<Vec<(Sha256Digest, u64)>, StoreError> {
        let rows = sqlx::query("SELECT digest, size FROM blobs WHERE run_id = ?")
            .bind(run_id.to_string())
            .fetch_all(&self.readers)
            .await?;
        let parse = |row: &SqliteRow| {
            let digest: &str = row.try_get(0)?;
            Ok((digest.parse().map_err(|_| StoreError::Unreadable("a digest"))?, unsigned(row, 1)?))
        };
        rows.iter().map(parse).collect()
    }

    async fn forget_blobs(&self, run_id: Uuid, blobs: &[Sha256Digest]) -> Result<(), StoreError> {
        let mut turn = self.writer.turn().await?;
        let mut transaction = turn.begin().await?;
        for blob in blobs {
            sqlx::query("DELETE FROM blobs WHERE run_id = ? AND digest = ?")
                .bind(run_id.to_string())
                .bind(blob.to_string())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        turn.done();
        Ok(())
    }

    async fn uncollected(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT run_id FROM runs WHERE ended_at IS NOT NULL AND collected = 0 AND run_id > ? \
                   ORDER BY run_id LIMIT ?";
        let after = after.map(|run| run.to_string()).unwrap_or_default();
        let rows = sqlx::query(sql).bind(after).bind(i64::from(limit)).fetch_all(&self.readers).await?;
        rows.iter().map(|row| run_id(row, 0)).collect()
    }

    async fn set_collected(&self, run_id: Uuid) -> Result<(), StoreError> {
        let mut turn = self.writer.turn().await?;
        sqlx::query("UPDATE runs SET collected = 1 WHERE run_id = ?")
            .bind(run_id.to_string())
            .execute(&mut *turn)
            .await?;
        turn.done();
        Ok(())
    }

    async fn usage(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let rows = sqlx::query(USAGE).bind(signed(BLOB_BLOCK)).fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, unsigned(row, 1)?))).collect()
    }

    async fn expired(
        &self,
        namespace_uid: &str,
        part: RunPart,
        until: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        limit: u32,
    ) -> Result<Vec<EndedRun>, StoreError> {
        purge::expired(&self.readers, namespace_uid, (part, until), after, limit).await
    }

    async fn set_hold(&self, run_id: Uuid, hold: Option<&Hold>) -> Result<(), StoreError> {
        let mut turn = self.writer.turn().await?;
        purge::set_hold(&mut turn, run_id, hold).await?;
        turn.done();
        Ok(())
    }

    async fn begin_purge(&self, run_id: Uuid, record: &PurgeRecord) -> Result<bool, StoreError> {
        let mut turn = self.writer.turn().await?;
        let begun = purge::begin(&mut turn, run_id, record).await?;
        turn.done();
        Ok(begun)
    }

    async fn begun_purges(&self, limit: u32) -> Result<Vec<BegunPurge>, StoreError> {
        purge::begun(&self.readers, limit).await
    }

    async fn purge_rows(&self, run_id: Uuid, rows: u32) -> Result<PurgeStep, StoreError> {
        let mut turn = self.writer.turn().await?;
        let mut transaction = turn.begin().await?;
        let step = purge::step(&mut transaction, run_id, rows).await?;
        transaction.commit().await?;
        turn.done();
        Ok(step)
    }

    async fn end_purge(&self, run_id: Uuid) -> Result<(), StoreError> {
        let mut turn = self.writer.turn().await?;
        purge::end(&mut turn, run_id).await?;
        turn.done();
        Ok(())
    }

    async fn purged(&self, run_id: Uuid) -> Result<Option<PurgedRun>, StoreError> {
        purge::purged(&self.readers, run_id).await
    }

    async fn skeletons(&self, run_id: Uuid, from: u64, limit: u32) -> Result<Vec<Skeleton>, StoreError> {
        purge::skeletons(&self.readers, run_id, from, limit).await
    }

    async fn put_draft(&self, draft: &Draft) -> Result<(), StoreError> {
        let mut turn = self.writer.turn().await?;
        sqlx::query(
            "INSERT OR REPLACE INTO drafts (run_id, key_hash, digest, namespace_uid, text, expires) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(draft.run_id.to_string())
        .bind(&draft.key_hash)
        .bind(&draft.digest)
        .bind(&draft.namespace_uid)
        .bind(&draft.text)
        .bind(draft.expires.as_microsecond())
        .execute(&mut *turn)
        .await?;
        turn.done();
        Ok(())
    }

    async fn draft(&self, run_id: Uuid, key_hash: &str, digest: &str) -> Result<Option<Draft>, StoreError> {
        let row = sqlx::query(
            "SELECT namespace_uid, text, expires FROM drafts WHERE run_id = ? AND key_hash = ? AND digest = ?",
        )
        .bind(run_id.to_string())
        .bind(key_hash)
        .bind(digest)
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Draft {
            namespace_uid: row.try_get(0)?,
            run_id,
            key_hash: key_hash.to_owned(),
            digest: digest.to_owned(),
            text: row.try_get(1)?,
            expires: instant(&row, 2)?,
        }))
    }

    async fn draft_sent_by(&self, run_id: Uuid, actor: &str, digest: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query(
            "SELECT drafts.key_hash FROM drafts JOIN view_keys ON view_keys.key_hash = drafts.key_hash \
             AND view_keys.run_id = drafts.run_id WHERE drafts.run_id = ? AND drafts.digest = ? AND view_keys.actor = ?",
        )
        .bind(run_id.to_string())
        .bind(digest)
        .bind(actor)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn view_key(&self, namespace_uid: &str, key_hash: &str) -> Result<Option<ViewKey>, StoreError> {
        let row = sqlx::query("SELECT run_id, actor, until FROM view_keys WHERE namespace_uid = ? AND key_hash = ?")
            .bind(namespace_uid)
            .bind(key_hash)
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(ViewKey {
            key_hash: key_hash.to_owned(),
            namespace_uid: namespace_uid.to_owned(),
            run_id: run_id(&row, 0)?,
            actor: row.try_get(1)?,
            until: instant(&row, 2)?,
        }))
    }

    async fn draft_bytes(&self, run_id: Uuid) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT coalesce(sum(length(CAST(text AS BLOB))), 0) FROM drafts WHERE run_id = ?")
            .bind(run_id.to_string())
            .fetch_one(&self.readers)
            .await?;
        unsigned(&row, 0)
    }

    async fn expire(&self, now: Timestamp) -> Result<bool, StoreError> {
        let mut turn = self.writer.turn().await?;
        let drafts = sqlx::query("DELETE FROM drafts WHERE expires <= ?1")
            .bind(now.as_microsecond())
            .execute(&mut *turn)
            .await?;
        // A key that no longer opens anything still tells who sent the drafts under it.
        sqlx::query("DELETE FROM view_keys WHERE until <= ?1 AND key_hash NOT IN (SELECT key_hash FROM drafts)")
            .bind(now.as_microsecond())
            .execute(&mut *turn)
            .await?;
        turn.done();
        Ok(drafts.rows_affected() > 0)
    }

    async fn put_fact(&self, namespace_uid: &str, key: &str, value: &str) -> Result<(), StoreError> {
        let mut turn = self.writer.turn().await?;
        sqlx::query("INSERT OR REPLACE INTO facts (namespace_uid, key, value) VALUES (?, ?, ?)")
            .bind(namespace_uid)
            .bind(key)
            .bind(value)
            .execute(&mut *turn)
            .await?;
        turn.done();
        Ok(())
    }

    async fn fact(&self, namespace_uid: &str, key: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT value FROM facts WHERE namespace_uid = ? AND key = ?")
            .bind(namespace_uid)
            .bind(key)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn facts(&self, namespace_uid: &str) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sqlx::query("SELECT key, value FROM facts WHERE namespace_uid = ? ORDER BY key")
            .bind(namespace_uid)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    async fn setting_or(&self, key: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut turn = self.writer.turn().await?;
        sqlx::query("INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(value)
            .execute(&mut *turn)
            .await?;
        let row = sqlx::query("SELECT value FROM settings WHERE key = ?").bind(key).fetch_one(&mut *turn).await?;
        turn.done();
        Ok(row.try_get(0)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn reads_and_writes_do_not_wait_for_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path()).await.unwrap();
        let run_id = Uuid::from_u128(7);
        let both = async {
            let mut reading = Vec::new();
            for _ in 0..READERS {
                reading.push(store.readers.acquire().await.unwrap());
            }
            store.count_blob("uid", run_id, Sha256Digest::of(b"a"), 1).await.unwrap();
            drop(reading);
            let writing = store.writer.turn().await.unwrap();
            assert_eq!(store.blobs(run_id).await.unwrap().len(), 1);
            writing.done();
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), both).await.expect("one waits for the other");
    }

    #[tokio::test]
    async fn what_is_acknowledged_is_committed_whatever_failed_before() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path()).await.unwrap();
        let left = AtomicU32::new(2);
        let mut turn = store.writer.turn().await.unwrap();
        // As when the disk is full: the commit fails, and the transaction is over.
        turn.lock_handle().await.unwrap().set_commit_hook(move || {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
        });
        turn.done();
        let run_id = Uuid::from_u128(7);
        let mut acknowledged = 0;
        for n in 0..4 {
            let blob = Sha256Digest::of(&[n]);
            acknowledged += usize::from(store.count_blob("uid", run_id, blob, 1).await.is_ok());
        }
        assert!((2..4).contains(&acknowledged), "one fails at least, and it gets well again: {acknowledged}");
        drop(store);
        let after = SqliteStore::open(dir.path()).await.unwrap();
        assert_eq!(after.blobs(run_id).await.unwrap().len(), acknowledged, "as after kill -9");
    }
}
