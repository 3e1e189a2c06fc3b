//! What goes into a store and comes out of it.

use jiff::Timestamp;
use uuid::Uuid;

use crate::protocol::{ChainHash, Entry, LogLine, RunSecret, RunTenant};
use crate::retention::{Hold, PurgeRecord, RunPart};

/// A run as stored beside its entries.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// The run.
    pub run_id: Uuid,
    /// The key of its published digests, until it is purged.
    pub secret: Option<RunSecret>,
    /// Hash of the request it was created for.
    pub request_hash: String,
    /// Number of entries.
    pub length: u64,
    /// Hash of the last one.
    pub head: ChainHash,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
    /// What its entries take, in bytes.
    pub entry_bytes: u64,
    /// What keeps it from being purged.
    pub hold: Option<Hold>,
    /// What was purged of it: its log, its journal.
    pub purged: Vec<PurgeRecord>,
}

/// A run that has ended and of which something is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRun {
    /// The run.
    pub run_id: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it ended.
    pub ended_at: Timestamp,
    /// True if a hold keeps it from being purged.
    pub held: bool,
}

/// A purge that was begun and has to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunPurge {
    /// The run.
    pub run_id: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// UID of its tenant's namespace.
    pub namespace_uid: String,
    /// What is purged.
    pub part: RunPart,
}

/// What a step of a purge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeStep {
    /// Bytes by which the accounts of the run and its tenant fell.
    pub freed: u64,
    /// True if rows are left for a further step.
    pub more: bool,
}

/// A run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    /// The run.
    pub run_id: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Whose it is.
    pub tenant: RunTenant,
}

/// A name under which the claims remember a run, also after the run's resources are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimKey<'a> {
    /// The run's name.
    Name(&'a str),
    /// A slot of a Workflow.
    Slot {
        /// The Workflow's UID.
        workflow_uid: &'a str,
        /// The slot.
        slot: &'a str,
    },
}

/// A run to be created.
#[derive(Debug, Clone)]
pub struct RunInsert<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Whose it is: what is claimed is claimed within the tenant's namespace, by its UID.
    pub tenant: &'a RunTenant,
    /// Its name.
    pub name: &'a str,
    /// UID of its Workflow and its slot, if a schedule made it.
    pub slot: Option<(&'a str, &'a str)>,
    /// What is stored beside the entries.
    pub row: RunRow,
    /// The first entries.
    pub entries: &'a [Entry],
}

/// What became of a wish to create a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It was created.
    Created(Uuid),
    /// It is there already, created for the same request, and has not ended.
    Existing(Uuid),
    /// It is there already, created for the same request, and has ended.
    AlreadyRan(Uuid),
    /// The name or slot belongs to another request.
    Conflict {
        /// Whose it is.
        run_id: Uuid,
        /// True if that run has ended.
        terminal: bool,
    },
}

/// A key that opens a run's payload for reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewKey {
    /// Hash of the key.
    pub key_hash: String,
    /// UID of its tenant's namespace.
    pub namespace_uid: String,
    /// The run it opens.
    pub run_id: Uuid,
    /// Who reads.
    pub actor: String,
    /// Until when.
    pub until: Timestamp,
}

/// Something a person sent that no user action names yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Draft {
    /// UID of its tenant's namespace.
    pub namespace_uid: String,
    /// Its run.
    pub run_id: Uuid,
    /// Hash of the key it was sent under.
    pub key_hash: String,
    /// Its keyed digest.
    pub digest: String,
    /// A JSON text.
    pub text: String,
    /// When it is thrown away.
    pub expires: Timestamp,
}

/// An append to a journal and what belongs in the same transaction.
#[derive(Debug, Clone, Default)]
pub struct Commit<'a> {
    /// The run.
    pub run_id: Uuid,
    /// How many entries there must be.
    pub expected: u64,
    /// The new entries.
    pub entries: &'a [Entry],
    /// What all entries take with them, in bytes.
    pub entry_bytes: u64,
    /// When the run ended, if it has with them.
    pub ended_at: Option<Timestamp>,
    /// A view that is opened.
    pub view: Option<&'a ViewKey>,
    /// Keyed digests of the drafts that are used up.
    pub drafts: &'a [String],
}

/// A line of a run's log with its epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLine {
    /// The epoch that wrote it.
    pub epoch: u64,
    /// The line.
    pub line: LogLine,
}
