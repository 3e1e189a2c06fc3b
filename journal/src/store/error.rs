//! Why a store did not do what it was asked, in words that hold for any database.

use std::sync::Arc;

use uuid::Uuid;

/// An error of the database behind a store, which nobody outside the store looks into. Writes that shared a transaction
/// share it.
pub type DatabaseError = Arc<dyn std::error::Error + Send + Sync>;

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
    /// The database failed, or did not commit the transaction that held this write and others.
    #[error("the database failed: {0}")]
    Database(DatabaseError),
    /// The store is being closed.
    #[error("the store is being closed")]
    Closed,
}
