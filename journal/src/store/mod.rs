//! What is kept: journals, claims, logs, drafts, view keys, facts. One trait, one conformance suite, any database.

mod sqlite;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

pub use sqlite::SqliteStore;

use crate::protocol::{ChainHash, Entry, LogLine, RunSecret};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store.
    #[error("the store in {0} is in use by another process")]
    InUse(String),
    /// The directory cannot hold a durable store.
    #[error("{dir} is on {kind}: the store needs a local file system")]
    NetworkFileSystem {
        /// The directory.
        dir: String,
        /// The kind of file system.
        kind: &'static str,
    },
    /// The store was written by a release whose format this one does not read.
    #[error("the store has format {found}, this release reads {known} only: move the data directory away, or go back")]
    FormatTooOld {
        /// Its format.
        found: i64,
        /// The one this release reads.
        known: i64,
    },
    /// The store was written by a newer release.
    #[error("the store has format {found}, this release knows {known}: upgrade the operator")]
    FormatTooNew {
        /// Its format.
        found: i64,
        /// The one this release reads.
        known: i64,
    },
    /// The journal is not as long as the writer thought: somebody else wrote.
    #[error("the journal of run {0} was changed by another writer")]
    Raced(Uuid),
    /// What is stored is not what was written.
    #[error("the store holds {0} that cannot be read")]
    Unreadable(&'static str),
    /// Input or output failed.
    #[error("the store's directory cannot be used: {0}")]
    Io(#[from] std::io::Error),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The transaction that held this write and others was not committed.
    #[error("the database failed: {0}")]
    NotCommitted(std::sync::Arc<sqlx::Error>),
    /// The store is being closed.
    #[error("the store is being closed")]
    Closed,
}

/// A run as stored beside its entries.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// The run.
    pub run_id: Uuid,
    /// The key of its published digests.
    pub key: RunSecret,
    /// Hash of the request it was created for.
    pub request_hash: String,
    /// Number of entries.
    pub length: u64,
    /// Hash of the last one.
    pub head: ChainHash,
    /// True if it has ended.
    pub terminal: bool,
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
    /// Its namespace.
    pub namespace: String,
    /// The run it opens.
    pub run_id: Uuid,
    /// Who reads.
    pub actor: String,
    /// Until when.
    pub until: Timestamp,
}

/// Something a person sent that no act names yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its namespace.
    pub namespace: String,
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

/// An append to a journal and what belongs into the same transaction.
#[derive(Debug, Clone, Default)]
pub struct Commit<'a> {
    /// The run.
    pub run_id: Uuid,
    /// How many entries there must be.
    pub expected: u64,
    /// The new entries.
    pub entries: &'a [Entry],
    /// True if the run has ended with them.
    pub terminal: bool,
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

/// A durable store. Every write is durable when it returns; every write is one transaction.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The run the claims remember under this key.
    async fn claimed(&self, namespace: &str, key: ClaimKey<'_>) -> Result<Option<Uuid>, StoreError>;
    /// Creates a run with its claims and first entries, unless there is a claim to its name or slot.
    async fn create(&self, run: RunInsert<'_>) -> Result<Inserted, StoreError>;
    /// Appends entries; [`StoreError::Raced`] if the journal has another length than expected.
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError>;
    /// A run.
    async fn run(&self, run_id: Uuid) -> Result<Option<RunRow>, StoreError>;
    /// The runs that have not ended, and their namespaces.
    async fn open_runs(&self) -> Result<Vec<(Uuid, String)>, StoreError>;
    /// The entries of a run from `from` on, in order.
    async fn entries(&self, run_id: Uuid, from: u64) -> Result<Vec<Entry>, StoreError>;
    /// Adds log lines; those already there are ignored.
    async fn append_log(&self, run_id: Uuid, epoch: u64, lines: &[LogLine]) -> Result<(), StoreError>;
    /// Log lines after the one numbered `after` (epoch, n), in order, at most `limit`.
    async fn read_log(
        &self,
        run_id: Uuid,
        after: Option<(u64, u64)>,
        limit: u32,
    ) -> Result<Vec<StoredLine>, StoreError>;
    /// Bytes of text in a run's log.
    async fn log_bytes(&self, run_id: Uuid) -> Result<u64, StoreError>;
    /// Keeps a draft; the same draft again keeps its new expiry.
    async fn put_draft(&self, draft: &Draft) -> Result<(), StoreError>;
    /// A draft of a run, sent under a key with this hash.
    async fn draft(&self, run_id: Uuid, key_hash: &str, digest: &str) -> Result<Option<Draft>, StoreError>;
    /// Hash of the key under which a person sent a draft to a run, if they did and it is still there.
    async fn draft_sent_by(&self, run_id: Uuid, actor: &str, digest: &str) -> Result<Option<String>, StoreError>;
    /// The view a key opens, or opened until its time passed.
    async fn view_key(&self, namespace: &str, key_hash: &str) -> Result<Option<ViewKey>, StoreError>;
    /// Throws away drafts whose time has passed, and such view keys under which no draft is left.
    async fn expire(&self, now: Timestamp) -> Result<(), StoreError>;
    /// Keeps a fact about a namespace, replacing the one before.
    async fn put_fact(&self, namespace: &str, key: &str, value: &str) -> Result<(), StoreError>;
    /// A fact about a namespace.
    async fn fact(&self, namespace: &str, key: &str) -> Result<Option<String>, StoreError>;
    /// All facts about a namespace, by key.
    async fn facts(&self, namespace: &str) -> Result<Vec<(String, String)>, StoreError>;
    /// Keeps a setting unless there is one, and gives the one kept.
    async fn setting_or(&self, key: &str, value: &[u8]) -> Result<Vec<u8>, StoreError>;
}
