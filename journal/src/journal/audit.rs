//! A journal to take along, and the check that it was not touched.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Journal;
use crate::error::JournalError;
use crate::protocol::{ChainHash, canonical, unsealed_text, value_of};

/// What an export ends with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// The run.
    pub run_id: Uuid,
    /// Number of entries.
    pub length: u64,
    /// Hash of the last one.
    pub hash: ChainHash,
    /// Its keyed digest, as published in the run's status.
    pub head: String,
}

/// Why an export is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A line is no JSON object, or lacks what every entry has.
    #[error("line {0} is not a journal entry")]
    NotAnEntry(usize),
    /// An entry is missing, repeated or out of order.
    #[error("line {0} is out of order")]
    OutOfOrder(usize),
    /// An entry or one before it was changed.
    #[error("the hash in line {0} does not follow from the lines before")]
    Broken(usize),
    /// Time runs backwards.
    #[error("line {0} is earlier than the one before")]
    Backwards(usize),
    /// The export does not end as it says it does.
    #[error("the export's last line does not fit its entries")]
    WrongEnd,
}

impl Journal {
    /// The run's whole journal as JSON lines, page by page: every entry in canonical form, then the head. It holds payload.
    pub async fn audit_export(
        &self,
        run_id: Uuid,
    ) -> Result<BoxStream<'static, Result<String, JournalError>>, JournalError> {
        let state = self.state(run_id).await?;
        let start = (self.clone(), state, Some(0));
        let pages = futures::stream::try_unfold(start, |(journal, state, next)| async move {
            let Some(from) = next else { return Ok(None) };
            if from == state.length {
                let end = Export { run_id: state.run_id, length: from, hash: state.head, head: state.head_digest() };
                return Ok(Some((canonical(&value_of(&end)) + "\n", (journal, state, None))));
            }
            let page = journal.entries(state.run_id, from).await?;
            // The state may be older than the entries by now; the export is of the state.
            let page = page.iter().take_while(|entry| entry.seq < state.length);
            let (text, count) =
                page.fold((String::new(), 0), |(text, count), entry| (text + &entry.text() + "\n", count + 1));
            if count == 0 {
                let source = crate::machine::Corrupt::Gap { expected: from };
                return Err(JournalError::Corrupt { run_id: state.run_id, source });
            }
            Ok(Some((text, (journal, state, Some(from + count)))))
        });
        Ok(pages.boxed())
    }
}

/// Checks the numbers, times and chain of an export and that it ends as it says. Whether its head is the one that was
/// published is for the reader to compare.
pub fn verify(export: &str) -> Result<Export, VerifyError> {
    let lines: Vec<&str> = export.lines().collect();
    let (end, entries) = lines.split_last().ok_or(VerifyError::WrongEnd)?;
    let end: Export = serde_json::from_str(end).map_err(|_| VerifyError::WrongEnd)?;
    let (mut hash, mut before) = (ChainHash::ZERO, Timestamp::MIN);
    for (index, line) in entries.iter().enumerate() {
        let number = index + 1;
        let entry: Value = serde_json::from_str(line).map_err(|_| VerifyError::NotAnEntry(number))?;
        let text = |field: &str| entry.get(field).and_then(Value::as_str).ok_or(VerifyError::NotAnEntry(number));
        let stated: ChainHash = text("hash")?.parse().map_err(|_| VerifyError::NotAnEntry(number))?;
        let time: Timestamp = text("time")?.parse().map_err(|_| VerifyError::NotAnEntry(number))?;
        if entry.get("seq").and_then(Value::as_u64) != Some(index as u64) {
            return Err(VerifyError::OutOfOrder(number));
        }
        if time < before {
            return Err(VerifyError::Backwards(number));
        }
        hash = hash.next(&unsealed_text(entry));
        if hash != stated {
            return Err(VerifyError::Broken(number));
        }
        before = time;
    }
    let run_id = entries.first().and_then(|line| serde_json::from_str::<Value>(line).ok());
    let run_id = run_id.as_ref().and_then(|entry| entry.get("runId")).and_then(Value::as_str);
    let complete = end.length == entries.len() as u64 && end.hash == hash;
    if !complete || run_id != Some(end.run_id.to_string().as_str()) {
        return Err(VerifyError::WrongEnd);
    }
    Ok(end)
}
