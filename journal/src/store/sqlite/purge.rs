//! What is purged of ended runs, and what stays of them. A purge is begun in one statement and carried out in steps of a few
//! rows, so that no commit waits long for it; how far it came is what is still there.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::rows::{bytes32, instant, json, run_id, signed, unsigned};
use crate::machine::ENTRY_COST;
use crate::protocol::{ChainHash, LOG_LINE_COST, RunTenant};
use crate::retention::{Hold, PurgeRecord, PurgedRun, RunPart, Skeleton};
use crate::store::{BegunPurge, EndedRun, PurgeStep, SKELETON_COST, StoreError};

/// `runs.purge` while the journal is being purged.
const JOURNAL_BEGUN: i64 = 3;

/// A record as it is kept.
fn text(record: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|_| StoreError::Unreadable("a record of a purge or a hold"))
}

pub(super) async fn expired(
    readers: &SqlitePool,
    namespace_uid: &str,
    (part, until): (RunPart, Timestamp),
    after: Option<(Timestamp, Uuid)>,
    limit: u32,
) -> Result<Vec<EndedRun>, StoreError> {
    // Spelled as the indexes are.
    let sql = match part {
        RunPart::Journal => {
            "SELECT run_id, namespace, name, ended_at, hold IS NOT NULL FROM runs INDEXED BY kept_journals \
             WHERE ended_at IS NOT NULL AND purge < 3 AND collected = 1 AND namespace_uid = ? AND ended_at <= ? \
             AND (ended_at, run_id) > (?, ?) ORDER BY ended_at, run_id LIMIT ?"
        }
        RunPart::Log => {
            "SELECT run_id, namespace, name, ended_at, hold IS NOT NULL FROM runs INDEXED BY kept_logs \
             WHERE ended_at IS NOT NULL AND purge = 0 AND collected = 1 AND namespace_uid = ? AND ended_at <= ? \
             AND (ended_at, run_id) > (?, ?) ORDER BY ended_at, run_id LIMIT ?"
        }
    };
    let (time, id) = after.map_or((i64::MIN, String::new()), |(time, id)| (time.as_microsecond(), id.to_string()));
    let rows = sqlx::query(sql)
        .bind(namespace_uid)
        .bind(until.as_microsecond())
        .bind(time)
        .bind(id)
        .bind(i64::from(limit))
        .fetch_all(readers)
        .await?;
    let parse = |row: &SqliteRow| {
        Ok(EndedRun {
            run_id: run_id(row, 0)?,
            namespace: row.try_get(1)?,
            name: row.try_get(2)?,
            ended_at: instant(row, 3)?,
            held: row.try_get::<i64, _>(4)? != 0,
        })
    };
    rows.iter().map(parse).collect()
}

pub(super) async fn set_hold(
    connection: &mut SqliteConnection,
    run: Uuid,
    hold: Option<&Hold>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE runs SET hold = ? WHERE run_id = ?")
        .bind(hold.map(text).transpose()?)
        .bind(run.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn begin(
    connection: &mut SqliteConnection,
    run: Uuid,
    record: &PurgeRecord,
) -> Result<bool, StoreError> {
    let sql = match record.part {
        RunPart::Log => {
            "UPDATE runs SET purge = 1, log_purged = ? \
             WHERE run_id = ? AND ended_at IS NOT NULL AND hold IS NULL AND purge = 0"
        }
        RunPart::Journal => {
            "UPDATE runs SET purge = 3, purged = ?, key = NULL \
             WHERE run_id = ? AND ended_at IS NOT NULL AND hold IS NULL AND purge < 3"
        }
    };
    let done = sqlx::query(sql).bind(text(record)?).bind(run.to_string()).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn begun(readers: &SqlitePool, limit: u32) -> Result<Vec<BegunPurge>, StoreError> {
    let sql = "SELECT run_id, namespace, namespace_uid, purge FROM runs WHERE purge IN (1, 3) ORDER BY run_id LIMIT ?";
    let rows = sqlx::query(sql).bind(i64::from(limit)).fetch_all(readers).await?;
    let parse = |row: &SqliteRow| {
        let part = if row.try_get::<i64, _>(3)? == JOURNAL_BEGUN { RunPart::Journal } else { RunPart::Log };
        Ok(BegunPurge { run_id: run_id(row, 0)?, namespace: row.try_get(1)?, namespace_uid: row.try_get(2)?, part })
    };
    rows.iter().map(parse).collect()
}

pub(super) async fn end(connection: &mut SqliteConnection, run: Uuid) -> Result<(), StoreError> {
    sqlx::query("UPDATE runs SET purge = purge + 1 WHERE run_id = ? AND purge IN (1, 3)")
        .bind(run.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// One step, in the transaction of the caller.
pub(super) async fn step(connection: &mut SqliteConnection, run: Uuid, rows: u32) -> Result<PurgeStep, StoreError> {
    let purge = sqlx::query("SELECT purge FROM runs WHERE run_id = ?").bind(run.to_string());
    let purge = match purge.fetch_optional(&mut *connection).await? {
        Some(row) => row.try_get::<i64, _>(0)?,
        None => 0,
    };
    if purge != 1 && purge != JOURNAL_BEGUN {
        return Ok(PurgeStep { freed: 0, more: false });
    }
    let (mut freed, mut left) = log_lines(connection, run, rows).await?;
    if purge == JOURNAL_BEGUN {
        let drafts = drafts(connection, run, left).await?;
        let entries = entries(connection, run, drafts.1).await?;
        freed += drafts.0 + entries.0;
        left = entries.1;
    }
    Ok(PurgeStep { freed, more: left == 0 })
}

/// Deletes at most `rows` log lines. Gives the bytes they took, and how many rows may still go.
async fn log_lines(connection: &mut SqliteConnection, run: Uuid, rows: u32) -> Result<(u64, u32), StoreError> {
    let deleted = sqlx::query(
        "DELETE FROM log_lines WHERE run_id = ?1 AND (epoch, n) IN \
         (SELECT epoch, n FROM log_lines WHERE run_id = ?1 ORDER BY epoch, n LIMIT ?2) \
         RETURNING length(CAST(text AS BLOB)) + ?3",
    )
    .bind(run.to_string())
    .bind(i64::from(rows))
    .bind(signed(LOG_LINE_COST))
    .fetch_all(&mut *connection)
    .await?;
    let (bytes, left) = sum(&deleted, rows)?;
    sqlx::query("UPDATE runs SET log_bytes = max(log_bytes - ?, 0) WHERE run_id = ?")
        .bind(signed(bytes))
        .bind(run.to_string())
        .execute(connection)
        .await?;
    Ok((bytes, left))
}

async fn drafts(connection: &mut SqliteConnection, run: Uuid, rows: u32) -> Result<(u64, u32), StoreError> {
    let deleted = sqlx::query(
        "DELETE FROM drafts WHERE run_id = ?1 AND (key_hash, digest) IN \
         (SELECT key_hash, digest FROM drafts WHERE run_id = ?1 LIMIT ?2) RETURNING length(CAST(text AS BLOB))",
    )
    .bind(run.to_string())
    .bind(i64::from(rows))
    .fetch_all(connection)
    .await?;
    sum(&deleted, rows)
}

/// Leaves skeletons of the first entries there are.
async fn entries(connection: &mut SqliteConnection, run: Uuid, rows: u32) -> Result<(u64, u32), StoreError> {
    sqlx::query(
        "INSERT INTO skeletons (run_id, seq, time, type, hash) \
         SELECT run_id, seq, json_extract(entry, '$.time'), json_extract(entry, '$.type'), \
         unhex(json_extract(entry, '$.hash')) FROM entries WHERE run_id = ? ORDER BY seq LIMIT ?",
    )
    .bind(run.to_string())
    .bind(i64::from(rows))
    .execute(&mut *connection)
    .await?;
    let deleted = sqlx::query(
        "DELETE FROM entries WHERE run_id = ?1 AND seq IN (SELECT seq FROM entries WHERE run_id = ?1 ORDER BY seq LIMIT ?2) \
         RETURNING length(CAST(entry AS BLOB)) + ?3",
    )
    .bind(run.to_string())
    .bind(i64::from(rows))
    .bind(signed(ENTRY_COST))
    .fetch_all(&mut *connection)
    .await?;
    let (bytes, left) = sum(&deleted, rows)?;
    let freed = bytes.saturating_sub(deleted.len() as u64 * SKELETON_COST);
    sqlx::query("UPDATE runs SET entry_bytes = max(entry_bytes - ?, 0) WHERE run_id = ?")
        .bind(signed(freed))
        .bind(run.to_string())
        .execute(connection)
        .await?;
    Ok((freed, left))
}

/// The bytes of deleted rows, and how many of `rows` are left.
fn sum(deleted: &[SqliteRow], rows: u32) -> Result<(u64, u32), StoreError> {
    let bytes = deleted.iter().map(|row| unsigned(row, 0)).sum::<Result<u64, _>>()?;
    Ok((bytes, rows.saturating_sub(u32::try_from(deleted.len()).unwrap_or(u32::MAX))))
}

pub(super) async fn purged(readers: &SqlitePool, run: Uuid) -> Result<Option<PurgedRun>, StoreError> {
    let row = sqlx::query(
        "SELECT namespace, namespace_uid, tenant, name, ended_at, length, head, purged FROM runs \
         WHERE run_id = ? AND purge >= 3",
    )
    .bind(run.to_string())
    .fetch_optional(readers)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(PurgedRun {
        run_id: run,
        namespace: row.try_get(0)?,
        tenant: RunTenant { namespace_uid: row.try_get(1)?, slug: row.try_get(2)? },
        name: row.try_get(3)?,
        ended_at: instant(&row, 4)?,
        length: unsigned(&row, 5)?,
        hash: ChainHash(bytes32(&row, 6)?),
        record: json(&row, 7)?.ok_or(StoreError::Unreadable("a purge without its record"))?,
    }))
}

pub(super) async fn skeletons(
    readers: &SqlitePool,
    run: Uuid,
    from: u64,
    limit: u32,
) -> Result<Vec<Skeleton>, StoreError> {
    let rows =
        sqlx::query("SELECT seq, time, type, hash FROM skeletons WHERE run_id = ? AND seq >= ? ORDER BY seq LIMIT ?")
            .bind(run.to_string())
            .bind(signed(from))
            .bind(i64::from(limit))
            .fetch_all(readers)
            .await?;
    let parse = |row: &SqliteRow| {
        Ok(Skeleton {
            seq: unsigned(row, 0)?,
            time: row.try_get(1)?,
            kind: row.try_get(2)?,
            hash: ChainHash(bytes32(row, 3)?),
        })
    };
    rows.iter().map(parse).collect()
}
