//! The one connection that writes. One on which anything failed is thrown away: `SQLite` ends some transactions by itself, a
//! commit for which the disk has no room among them, and a connection that is taken to be in another state than it is would
//! put every later write into a transaction that nobody ever commits.

use std::ops::{Deref, DerefMut};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

/// The connection, if there is one now, and how another one is made.
pub(super) struct Writer {
    options: SqliteConnectOptions,
    kept: Mutex<Option<SqliteConnection>>,
}

/// A turn to write. The connection is kept only if it is [`done`](Turn::done): whoever returns before, for an error or because
/// nobody waits any more, leaves none.
pub(super) struct Turn<'a> {
    connection: SqliteConnection,
    kept: MutexGuard<'a, Option<SqliteConnection>>,
}

impl Writer {
    pub(super) fn new(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        Self { options, kept: Mutex::new(Some(connection)) }
    }

    /// Waits for its turn, and connects anew if the one before threw the connection away.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, sqlx::Error> {
        let mut kept = self.kept.lock().await;
        let connection = match kept.take() {
            Some(connection) => connection,
            None => SqliteConnection::connect_with(&self.options).await?,
        };
        Ok(Turn { connection, kept })
    }
}

impl Turn<'_> {
    /// All went well.
    pub(super) fn done(mut self) {
        *self.kept = Some(self.connection);
    }
}

impl Deref for Turn<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}
