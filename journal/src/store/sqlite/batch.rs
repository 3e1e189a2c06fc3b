//! Writes that wait at the same time share one transaction, and so one sync of the disk: a month's end commits hundreds
//! of journals a second. Each write is all or nothing within it, and nobody hears of one before the commit is durable.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::rows::{append_log, count_blob, insert_claims, insert_entries, owner, run_row, signed};
use super::writer::Writer;
use crate::protocol::{Entry, LogLine, RunTenant, Sha256Digest};
use crate::store::{Commit, DatabaseError, Inserted, RunInsert, RunRow, StoreError, ViewKey};

/// Writes in a transaction at most.
const MAX: usize = 128;
/// Writes that wait at most; more writers wait before they may.
const QUEUE: usize = 1024;

/// A write with everything it needs.
pub(super) enum Write {
    /// Create a run.
    Create {
        namespace: String,
        tenant: RunTenant,
        name: String,
        slot: Option<(String, String)>,
        row: Box<RunRow>,
        entries: Vec<Entry>,
    },
    /// Append entries.
    Commit {
        run_id: Uuid,
        expected: u64,
        entries: Vec<Entry>,
        entry_bytes: u64,
        ended_at: Option<Timestamp>,
        view: Option<ViewKey>,
        drafts: Vec<String>,
    },
    /// Add lines to a log.
    Log { run_id: Uuid, epoch: u64, lines: Vec<LogLine> },
    /// Count a blob to its run.
    CountBlob { namespace_uid: String, run_id: Uuid, blob: Sha256Digest, size: u64 },
}

/// What came of a write.
pub(super) enum Wrote {
    /// What became of the run.
    Inserted(Inserted),
    /// The entries are there.
    Appended,
    /// The lines are there; those that were not take this many bytes.
    Logged(u64),
    /// The blob is counted; before, it was with this size.
    Counted(Option<u64>),
}

struct QueuedWrite {
    write: Write,
    reply: oneshot::Sender<Result<Wrote, StoreError>>,
}

/// The way to the one who writes.
pub(super) struct Batches {
    queue: mpsc::Sender<QueuedWrite>,
}

impl Write {
    pub(super) fn create(run: &RunInsert<'_>) -> Self {
        Self::Create {
            namespace: run.namespace.to_owned(),
            tenant: run.tenant.clone(),
            name: run.name.to_owned(),
            slot: run.slot.map(|(uid, slot)| (uid.to_owned(), slot.to_owned())),
            row: Box::new(run.row.clone()),
            entries: run.entries.to_vec(),
        }
    }

    /// `None` if there is nothing to append.
    pub(super) fn commit(commit: &Commit<'_>) -> Option<Self> {
        (!commit.entries.is_empty()).then(|| Self::Commit {
            run_id: commit.run_id,
            expected: commit.expected,
            entries: commit.entries.to_vec(),
            entry_bytes: commit.entry_bytes,
            ended_at: commit.ended_at,
            view: commit.view.cloned(),
            drafts: commit.drafts.to_vec(),
        })
    }
}

impl Batches {
    /// Starts the one who writes. It ends when this is dropped.
    pub(super) fn start(writer: Arc<Writer>) -> Self {
        let (queue, mut waiting) = mpsc::channel::<QueuedWrite>(QUEUE);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, MAX).await > 0 {
                write_all(&writer, std::mem::take(&mut batch)).await;
            }
        });
        Self { queue }
    }

    /// Whether the one who writes is still there.
    pub(super) fn is_alive(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Writes, and waits until it is durable.
    pub(super) async fn write(&self, write: Write) -> Result<Wrote, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(QueuedWrite { write, reply }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

async fn write_all(database: &Writer, batch: Vec<QueuedWrite>) {
    let mut done = Vec::with_capacity(batch.len());
    let mut replies = Vec::with_capacity(batch.len());
    let mut writes = Vec::with_capacity(batch.len());
    for QueuedWrite { write, reply } in batch {
        replies.push(reply);
        writes.push(write);
    }
    let committed = in_turn(database, writes, &mut done).await;
    let committed = committed.map_err(|error| Arc::new(error) as DatabaseError);
    let mut done = done.into_iter();
    for reply in replies {
        let answer = match (&committed, done.next()) {
            (Ok(()), Some(answer)) => answer,
            // What the transaction refused, it refused whether or not the others were committed.
            (Err(_), Some(Err(refused))) => Err(refused),
            (Err(error), _) => Err(StoreError::Database(Arc::clone(error))),
            (Ok(()), None) => Err(StoreError::Closed),
        };
        // Who went away does not want to know.
        let _ = reply.send(answer);
    }
}

async fn in_turn(
    database: &Writer,
    writes: Vec<Write>,
    done: &mut Vec<Result<Wrote, StoreError>>,
) -> Result<(), sqlx::Error> {
    let mut turn = database.turn().await?;
    transaction(&mut turn, writes, done).await?;
    turn.done();
    Ok(())
}

async fn transaction(
    connection: &mut SqliteConnection,
    writes: Vec<Write>,
    done: &mut Vec<Result<Wrote, StoreError>>,
) -> Result<(), sqlx::Error> {
    if let Some(all) = together(connection, &writes).await? {
        done.extend(all.into_iter().map(Ok));
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    for write in &writes {
        // A savepoint each: one that fails leaves nothing behind, and the others stay.
        let mut savepoint = transaction.begin().await?;
        let wrote = one(&mut savepoint, write).await;
        if wrote.is_ok() {
            savepoint.commit().await?;
        } else {
            savepoint.rollback().await?;
        }
        done.push(wrote);
    }
    transaction.commit().await
}

/// Does all writes without savepoints. `None` if one of them failed: then nothing is done, and they are to be done
/// apart.
async fn together(connection: &mut SqliteConnection, writes: &[Write]) -> Result<Option<Vec<Wrote>>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let mut done = Vec::with_capacity(writes.len());
    for write in writes {
        let Ok(wrote) = one(&mut transaction, write).await else {
            transaction.rollback().await?;
            return Ok(None);
        };
        done.push(wrote);
    }
    transaction.commit().await?;
    Ok(Some(done))
}

async fn one(connection: &mut SqliteConnection, write: &Write) -> Result<Wrote, StoreError> {
    match write {
        Write::Create { namespace, tenant, name, slot, row, entries } => {
            let slot = slot.as_ref().map(|(uid, slot)| (uid.as_str(), slot.as_str()));
            create(connection, (namespace, tenant, name), slot, row, entries).await.map(Wrote::Inserted)
        }
        Write::Commit { run_id, expected, entries, entry_bytes, ended_at, view, drafts } => {
            append(connection, *run_id, *expected, entries, (*entry_bytes, *ended_at)).await?;
            write_beside(connection, *run_id, view.as_ref(), drafts).await?;
            Ok(Wrote::Appended)
        }
        Write::Log { run_id, epoch, lines } => append_log(connection, *run_id, *epoch, lines).await.map(Wrote::Logged),
        Write::CountBlob { namespace_uid, run_id, blob, size } => {
            count_blob(connection, namespace_uid, *run_id, (*blob, *size)).await.map(Wrote::Counted)
        }
    }
}

async fn create(
    connection: &mut SqliteConnection,
    (namespace, tenant, name): (&str, &RunTenant, &str),
    slot: Option<(&str, &str)>,
    run: &RunRow,
    entries: &[Entry],
) -> Result<Inserted, StoreError> {
    if let Some(owner) = owner(connection, &tenant.namespace_uid, name, slot).await? {
        return Ok(match run_row(connection, owner).await? {
            Some(row) if row.request_hash != run.request_hash => {
                Inserted::Conflict { run_id: owner, terminal: row.ended_at.is_some() }
            }
            Some(row) if row.ended_at.is_none() => Inserted::Existing(owner),
            // What the claims remember and nobody else was executed once.
            Some(_) | None => Inserted::AlreadyRan(owner),
        });
    }
    insert_claims(connection, &tenant.namespace_uid, name, slot, run.run_id).await?;
    sqlx::query(
        "INSERT INTO runs (run_id, namespace, namespace_uid, tenant, name, request_hash, key, length, head, ended_at, \
         entry_bytes, log_bytes, collected, purge) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0)",
    )
    .bind(run.run_id.to_string())
    .bind(namespace)
    .bind(&tenant.namespace_uid)
    .bind(&tenant.slug)
    .bind(name)
    .bind(&run.request_hash)
    .bind(run.secret.map(|secret| secret.to_bytes().to_vec()))
    .bind(signed(run.length))
    .bind(run.head.0.as_slice())
    .bind(run.ended_at.map(Timestamp::as_microsecond))
    .bind(signed(run.entry_bytes))
    .execute(&mut *connection)
    .await?;
    insert_entries(connection, run.run_id, entries).await?;
    Ok(Inserted::Created(run.run_id))
}

async fn append(
    connection: &mut SqliteConnection,
    run_id: Uuid,
    expected: u64,
    entries: &[Entry],
    (entry_bytes, ended_at): (u64, Option<Timestamp>),
) -> Result<(), StoreError> {
    let Some(last) = entries.last() else { return Ok(()) };
    let changed = sqlx::query(
        "UPDATE runs SET length = ?, head = ?, ended_at = ?, entry_bytes = ? \
         WHERE run_id = ? AND length = ? AND purge < 3",
    )
    .bind(signed(last.seq + 1))
    .bind(last.hash.0.as_slice())
    .bind(ended_at.map(Timestamp::as_microsecond))
    .bind(signed(entry_bytes))
    .bind(run_id.to_string())
    .bind(signed(expected))
    .execute(&mut *connection)
    .await?;
    if changed.rows_affected() != 1 {
        return Err(StoreError::Raced(run_id));
    }
    insert_entries(connection, run_id, entries).await
}

/// What goes with an append: a view that is opened, drafts that are used up.
async fn write_beside(
    connection: &mut SqliteConnection,
    run_id: Uuid,
    view: Option<&ViewKey>,
    drafts: &[String],
) -> Result<(), StoreError> {
    if let Some(view) = view {
        sqlx::query(
            "INSERT OR REPLACE INTO view_keys (namespace_uid, key_hash, run_id, actor, until) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&view.namespace_uid)
        .bind(&view.key_hash)
        .bind(view.run_id.to_string())
        .bind(&view.actor)
        .bind(view.until.as_microsecond())
        .execute(&mut *connection)
        .await?;
    }
    for digest in drafts {
        sqlx::query("DELETE FROM drafts WHERE run_id = ? AND digest = ?")
            .bind(run_id.to_string())
            .bind(digest)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_writer_that_has_ended_is_noticed() {
        let (queue, waiting) = mpsc::channel(1);
        let batches = Batches { queue };
        assert!(batches.is_alive());
        drop(waiting);
        assert!(!batches.is_alive());
        let write = Write::CountBlob {
            namespace_uid: String::new(),
            run_id: Uuid::nil(),
            blob: Sha256Digest::of(b""),
            size: 0,
        };
        assert!(matches!(batches.write(write).await, Err(StoreError::Closed)));
    }
}
