//! Rows and what they say.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, SqliteConnection};
use uuid::Uuid;

use crate::protocol::{ChainHash, Entry, LogLine, RunSecret, Sha256Digest};
use crate::retention::PurgeRecord;
use crate::store::{ClaimKey, RunRow, StoreError};

/// Well below what a statement may bind.
const ENTRIES_PER_STATEMENT: usize = 64;

/// Numbers of ours never reach the sign bit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(row: &SqliteRow, column: usize) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreError::Unreadable("a number"))
}

pub(super) fn run_id(row: &SqliteRow, column: usize) -> Result<Uuid, StoreError> {
    row.try_get::<String, _>(column)?.parse().map_err(|_| StoreError::Unreadable("a run id"))
}

pub(super) fn bytes32(row: &SqliteRow, column: usize) -> Result<[u8; 32], StoreError> {
    row.try_get::<Vec<u8>, _>(column)?.try_into().map_err(|_| StoreError::Unreadable("a key"))
}

pub(super) fn instant(row: &SqliteRow, column: usize) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(row.try_get(column)?).map_err(|_| StoreError::Unreadable("a time"))
}

pub(super) fn ended_at(row: &SqliteRow, column: usize) -> Result<Option<Timestamp>, StoreError> {
    let ended = row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_microsecond).transpose();
    ended.map_err(|_| StoreError::Unreadable("a time"))
}

/// What stands as a JSON text in a column that may be empty.
pub(super) fn json<T: DeserializeOwned>(row: &SqliteRow, column: usize) -> Result<Option<T>, StoreError> {
    let text = row.try_get::<Option<&str>, _>(column)?;
    text.map(serde_json::from_str).transpose().map_err(|_| StoreError::Unreadable("a record of a purge or a hold"))
}

pub(super) fn slot_key(workflow_uid: &str, slot: &str) -> String {
    format!("{workflow_uid}/{slot}")
}

pub(super) async fn claim_row(
    connection: &mut SqliteConnection,
    namespace_uid: &str,
    key: ClaimKey<'_>,
) -> Result<Option<Uuid>, StoreError> {
    let (kind, key) = match key {
        ClaimKey::Name(name) => ("name", name.to_owned()),
        ClaimKey::Slot { workflow_uid, slot } => ("slot", slot_key(workflow_uid, slot)),
    };
    let row = sqlx::query("SELECT run_id FROM claims WHERE namespace_uid = ? AND kind = ? AND key = ?")
        .bind(namespace_uid)
        .bind(kind)
        .bind(key)
        .fetch_optional(connection)
        .await?;
    row.map(|row| run_id(&row, 0)).transpose()
}

/// Whose the name and slot are: the run of either, the name first.
pub(super) async fn owner(
    connection: &mut SqliteConnection,
    namespace_uid: &str,
    name: &str,
    slot: Option<(&str, &str)>,
) -> Result<Option<Uuid>, StoreError> {
    let row = sqlx::query(
        "SELECT owner FROM (SELECT coalesce((SELECT run_id FROM claims WHERE namespace_uid = ?1 AND kind = 'name' AND key = ?2), \
         (SELECT run_id FROM claims WHERE namespace_uid = ?1 AND kind = 'slot' AND key = ?3)) AS owner) \
         WHERE owner IS NOT NULL",
    )
    .bind(namespace_uid)
    .bind(name)
    .bind(slot.map(|(uid, slot)| slot_key(uid, slot)))
    .fetch_optional(connection)
    .await?;
    row.map(|row| run_id(&row, 0)).transpose()
}

pub(super) async fn insert_claims(
    connection: &mut SqliteConnection,
    namespace_uid: &str,
    name: &str,
    slot: Option<(&str, &str)>,
    run: Uuid,
) -> Result<(), StoreError> {
    let slot = slot.map(|(uid, slot)| ("slot", slot_key(uid, slot)));
    let mut query = QueryBuilder::new("INSERT INTO claims (namespace_uid, kind, key, run_id) ");
    query.push_values([("name", name.to_owned())].into_iter().chain(slot), |mut row, (kind, key)| {
        row.push_bind(namespace_uid).push_bind(kind).push_bind(key).push_bind(run.to_string());
    });
    query.build().execute(connection).await?;
    Ok(())
}

pub(super) async fn run_row(connection: &mut SqliteConnection, run: Uuid) -> Result<Option<RunRow>, StoreError> {
    let row = sqlx::query(
        "SELECT request_hash, key, length, head, ended_at, entry_bytes, hold, log_purged, purged FROM runs WHERE run_id = ?",
    )
        .bind(run.to_string())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let secret = row.try_get::<Option<Vec<u8>>, _>(1)?.map(TryInto::try_into).transpose();
    let secret = secret.map_err(|_| StoreError::Unreadable("a key"))?;
    let purged: [Option<PurgeRecord>; 2] = [json(&row, 7)?, json(&row, 8)?];
    Ok(Some(RunRow {
        run_id: run,
        request_hash: row.try_get(0)?,
        secret: secret.map(RunSecret::from_bytes),
        length: unsigned(&row, 2)?,
        head: ChainHash(bytes32(&row, 3)?),
        ended_at: ended_at(&row, 4)?,
        entry_bytes: unsigned(&row, 5)?,
        hold: json(&row, 6)?,
        purged: purged.into_iter().flatten().collect(),
    }))
}

pub(super) async fn insert_entries(
    connection: &mut SqliteConnection,
    run: Uuid,
    entries: &[Entry],
) -> Result<(), StoreError> {
    // One statement for all is one way to the database's thread and back.
    for some in entries.chunks(ENTRIES_PER_STATEMENT) {
        let mut query = QueryBuilder::new("INSERT INTO entries (run_id, seq, entry) ");
        query.push_values(some, |mut row, entry| {
            row.push_bind(run.to_string()).push_bind(signed(entry.seq)).push_bind(entry.text());
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Adds the lines that are not there, and counts them; gives what they take.
pub(super) async fn append_log(
    connection: &mut SqliteConnection,
    run: Uuid,
    epoch: u64,
    lines: &[LogLine],
) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for line in lines {
        let added = sqlx::query(
            "INSERT INTO log_lines (run_id, epoch, n, stream, time, text) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT DO NOTHING",
        )
        .bind(run.to_string())
        .bind(signed(epoch))
        .bind(signed(line.n))
        .bind(line.stream.as_str())
        .bind(&line.time)
        .bind(&line.text)
        .execute(&mut *connection)
        .await?;
        bytes += added.rows_affected() * line.cost();
    }
    sqlx::query("UPDATE runs SET log_bytes = log_bytes + ? WHERE run_id = ?")
        .bind(signed(bytes))
        .bind(run.to_string())
        .execute(&mut *connection)
        .await?;
    Ok(bytes)
}

/// Notes a blob and the largest size it was said to have. Gives the size noted before.
pub(super) async fn count_blob(
    connection: &mut SqliteConnection,
    namespace_uid: &str,
    run: Uuid,
    (blob, size): (Sha256Digest, u64),
) -> Result<Option<u64>, StoreError> {
    let before = sqlx::query("SELECT size FROM blobs WHERE run_id = ? AND digest = ?")
        .bind(run.to_string())
        .bind(blob.to_string())
        .fetch_optional(&mut *connection)
        .await?;
    let before = before.map(|row| unsigned(&row, 0)).transpose()?;
    sqlx::query(
        "INSERT INTO blobs (run_id, digest, namespace_uid, size) VALUES (?, ?, ?, ?) \
         ON CONFLICT (run_id, digest) DO UPDATE SET size = max(size, excluded.size)",
    )
    .bind(run.to_string())
    .bind(blob.to_string())
    .bind(namespace_uid)
    .bind(signed(size))
    .execute(connection)
    .await?;
    Ok(before)
}
