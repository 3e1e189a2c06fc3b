//! `SQLite`: one file, one process, every commit synced to disk. Writes that come together share a commit.

mod batch;
mod rows;

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteRow, SqliteSynchronous};
use sqlx::{Connection, Row, SqliteConnection};
use tokio::sync::Mutex;
use uuid::Uuid;

use batch::{Batches, Write, Wrote};
use rows::{claim_row, instant, run_id, run_row, signed, unsigned};

use super::{ClaimKey, Commit, Draft, Inserted, RunInsert, RunRow, Store, StoreError, StoredLine, ViewKey};
use crate::protocol::{Entry, LogLine, LogStream};

/// What `user_version` says of a store of this release. Another one is refused, never misread: nothing made before it
/// need be read, and a release that is to read it brings a migration.
const FORMAT: i64 = 3;
const SCHEMA: &str = include_str!("schema.sql");

/// What the database says stays in this module: callers see that it failed.
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// Pages kept in memory at most.
const CACHE_KIB: u32 = 8 * 1024;

/// A store in a directory of its own.
pub struct SqliteStore {
    connection: Arc<Mutex<SqliteConnection>>,
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
        let options = SqliteConnectOptions::new()
            .filename(dir.join("journal.sqlite"))
            .create_if_missing(true)
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // Run ids are random: with the 2 MiB of the default every append reads pages that were just thrown out.
            .pragma("cache_size", format!("-{CACHE_KIB}"));
        let mut connection = SqliteConnection::connect_with(&options).await?;
        prepare(&mut connection).await?;
        let connection = Arc::new(Mutex::new(connection));
        Ok(Self { batches: Batches::start(Arc::clone(&connection)), connection, _lock: lock })
    }
}

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

    async fn claimed(&self, namespace: &str, key: ClaimKey<'_>) -> Result<Option<Uuid>, StoreError> {
        claim_row(&mut *self.connection.lock().await, namespace, key).await
    }

    async fn create(&self, run: RunInsert<'_>) -> Result<Inserted, StoreError> {
        match self.batches.write(Write::create(&run)).await? {
            Wrote::Inserted(inserted) => Ok(inserted),
            Wrote::Appended => Err(StoreError::Unreadable("another answer than was asked for")),
        }
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        let Some(write) = Write::commit(&commit) else { return Ok(()) };
        self.batches.write(write).await.map(|_| ())
    }

    async fn run(&self, run_id: Uuid) -> Result<Option<RunRow>, StoreError> {
        run_row(&mut *self.connection.lock().await, run_id).await
    }

    async fn open_runs(&self) -> Result<Vec<(Uuid, String)>, StoreError> {
        let rows = sqlx::query("SELECT run_id, namespace FROM runs WHERE terminal = 0 ORDER BY run_id")
            .fetch_all(&mut *self.connection.lock().await)
            .await?;
        rows.iter().map(|row| Ok((run_id(row, 0)?, row.try_get(1)?))).collect()
    }

    async fn entries(&self, run_id: Uuid, from: u64) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query("SELECT entry FROM entries WHERE run_id = ? AND seq >= ? ORDER BY seq")
            .bind(run_id.to_string())
            .bind(signed(from))
            .fetch_all(&mut *self.connection.lock().await)
            .await?;
        let parse =
            |row: &SqliteRow| serde_json::from_str(row.try_get(0)?).map_err(|_| StoreError::Unreadable("an entry"));
        rows.iter().map(parse).collect()
    }

    async fn append_log(&self, run_id: Uuid, epoch: u64, lines: &[LogLine]) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        let mut transaction = connection.begin().await?;
        for line in lines {
            sqlx::query(
                "INSERT INTO log_lines (run_id, epoch, n, stream, time, text) VALUES (?, ?, ?, ?, ?, ?) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(run_id.to_string())
            .bind(signed(epoch))
            .bind(signed(line.n))
            .bind(line.stream.as_str())
            .bind(&line.time)
            .bind(&line.text)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
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
        .fetch_all(&mut *self.connection.lock().await)
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
        let row = sqlx::query("SELECT coalesce(sum(length(CAST(text AS BLOB))), 0) FROM log_lines WHERE run_id = ?")
            .bind(run_id.to_string())
            .fetch_one(&mut *self.connection.lock().await)
            .await?;
        unsigned(&row, 0)
    }

    async fn put_draft(&self, draft: &Draft) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT OR REPLACE INTO drafts (run_id, key_hash, digest, namespace, text, expires) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(draft.run_id.to_string())
        .bind(&draft.key_hash)
        .bind(&draft.digest)
        .bind(&draft.namespace)
        .bind(&draft.text)
        .bind(draft.expires.as_microsecond())
        .execute(&mut *self.connection.lock().await)
        .await?;
        Ok(())
    }

    async fn draft(&self, run_id: Uuid, key_hash: &str, digest: &str) -> Result<Option<Draft>, StoreError> {
        let row =
            sqlx::query("SELECT namespace, text, expires FROM drafts WHERE run_id = ? AND key_hash = ? AND digest = ?")
                .bind(run_id.to_string())
                .bind(key_hash)
                .bind(digest)
                .fetch_optional(&mut *self.connection.lock().await)
                .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Draft {
            namespace: row.try_get(0)?,
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
        .fetch_optional(&mut *self.connection.lock().await)
        .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn view_key(&self, namespace: &str, key_hash: &str) -> Result<Option<ViewKey>, StoreError> {
        let row = sqlx::query("SELECT run_id, actor, until FROM view_keys WHERE namespace = ? AND key_hash = ?")
            .bind(namespace)
            .bind(key_hash)
            .fetch_optional(&mut *self.connection.lock().await)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(ViewKey {
            key_hash: key_hash.to_owned(),
            namespace: namespace.to_owned(),
            run_id: run_id(&row, 0)?,
            actor: row.try_get(1)?,
            until: instant(&row, 2)?,
        }))
    }

    async fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        // A key that no longer opens anything still tells who sent the drafts under it.
        for sql in [
            "DELETE FROM drafts WHERE expires <= ?1",
            "DELETE FROM view_keys WHERE until <= ?1 AND key_hash NOT IN (SELECT key_hash FROM drafts)",
        ] {
            sqlx::query(sql).bind(now.as_microsecond()).execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn put_fact(&self, namespace: &str, key: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query("INSERT OR REPLACE INTO facts (namespace, key, value) VALUES (?, ?, ?)")
            .bind(namespace)
            .bind(key)
            .bind(value)
            .execute(&mut *self.connection.lock().await)
            .await?;
        Ok(())
    }

    async fn fact(&self, namespace: &str, key: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT value FROM facts WHERE namespace = ? AND key = ?")
            .bind(namespace)
            .bind(key)
            .fetch_optional(&mut *self.connection.lock().await)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn facts(&self, namespace: &str) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sqlx::query("SELECT key, value FROM facts WHERE namespace = ? ORDER BY key")
            .bind(namespace)
            .fetch_all(&mut *self.connection.lock().await)
            .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    async fn setting_or(&self, key: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut connection = self.connection.lock().await;
        sqlx::query("INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(value)
            .execute(&mut *connection)
            .await?;
        let row = sqlx::query("SELECT value FROM settings WHERE key = ?").bind(key).fetch_one(&mut *connection).await?;
        Ok(row.try_get(0)?)
    }
}
