//! An entry, sealed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::canonical;
use super::digest::{ChainHash, Sha256Digest};
use super::entries::EntryBody;
use super::time;

/// One entry, sealed: numbered, stamped and chained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place, from 0 without gaps.
    pub seq: u64,
    /// When the operator wrote it; never earlier than the entry before.
    #[serde(with = "time")]
    pub time: Timestamp,
    /// `SHA-256(hash before || canonical text without this field)`.
    pub hash: ChainHash,
    /// What it says.
    #[serde(flatten)]
    pub body: EntryBody,
}

/// The JSON value of a type of this crate. Their keys are strings and nothing in them can fail to serialise.
pub(crate) fn value_of(it: &impl Serialize) -> Value {
    serde_json::to_value(it).unwrap_or_default()
}

/// What the hash adds to the canonical text of an entry, in bytes: `"hash":"<64 digits>",`.
const HASH_BYTES: u64 = 74;

impl Entry {
    /// Seals `body` as the entry `seq` after the one with hash `previous`. With it comes its size, in bytes of its canonical
    /// text.
    pub fn seal(previous: ChainHash, seq: u64, time: Timestamp, body: EntryBody) -> (Self, u64) {
        let mut entry = Self { seq, time: time::micros(time), hash: ChainHash::ZERO, body };
        let text = entry.unsealed_text();
        entry.hash = previous.next(&text);
        (entry, text.len() as u64 + HASH_BYTES)
    }

    /// Its size in bytes of its canonical text, if its hash is the right one after `previous`.
    pub fn follows(&self, previous: ChainHash) -> Option<u64> {
        let text = self.unsealed_text();
        (self.hash == previous.next(&text)).then_some(text.len() as u64 + HASH_BYTES)
    }

    /// The canonical text, hash included.
    pub fn text(&self) -> String {
        canonical(&value_of(self))
    }

    fn unsealed_text(&self) -> String {
        unsealed_text(value_of(self))
    }
}

/// The canonical text of an entry without its hash.
pub(crate) fn unsealed_text(mut entry: Value) -> String {
    if let Some(fields) = entry.as_object_mut() {
        fields.remove("hash");
    }
    canonical(&entry)
}

/// What sealing adds to every entry.
const SEAL: [&str; 3] = ["seq", "time", "hash"];
/// What the operator stamps on entries of a pod. A test (`reference.rs`) compares this with the types: a field that is
/// missing here would make a command whose acknowledgement was lost look like another one.
pub(crate) const STAMPED: [&str; 6] = ["due", "effect", "firesAt", "gateId", "requires", "revision"];

/// The plain digest of what a pod said in a command or record, whether it comes from the request or from the sealed
/// entry: what the operator stamped is left out. Two entries with the same digest are the same thing said twice.
pub(crate) fn said_digest(mut said: Value) -> Sha256Digest {
    if let Some(fields) = said.as_object_mut() {
        for field in SEAL.into_iter().chain(STAMPED) {
            fields.remove(field);
        }
    }
    Sha256Digest::of(canonical(&said).as_bytes())
}
