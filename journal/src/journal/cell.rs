//! What is kept in memory about one run.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use tokio::sync::{MutexGuard, watch};
use uuid::Uuid;

use super::Shared;
use crate::error::JournalError;
use crate::machine::RunState;

/// The cached state of a run, its writer's turn, and when its holder was last heard of.
pub(super) struct Cell {
    pub(super) run_id: Uuid,
    writer: tokio::sync::Mutex<()>,
    latest: RwLock<Option<Arc<RunState>>>,
    length: watch::Sender<u64>,
    log: watch::Sender<u64>,
    seen: Mutex<Option<Timestamp>>,
    log_bytes: tokio::sync::Mutex<Option<u64>>,
}

impl Cell {
    pub(super) fn new(run_id: Uuid) -> Self {
        Self {
            run_id,
            writer: tokio::sync::Mutex::default(),
            latest: RwLock::default(),
            length: watch::Sender::new(0),
            log: watch::Sender::new(0),
            seen: Mutex::default(),
            log_bytes: tokio::sync::Mutex::default(),
        }
    }

    /// Waits for the turn to write.
    pub(super) async fn alone(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().await
    }

    pub(super) fn cached(&self) -> Option<Arc<RunState>> {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state, read from the store if it is not cached.
    pub(super) async fn state(&self, inner: &Shared) -> Result<Arc<RunState>, JournalError> {
        if let Some(state) = self.cached() {
            return Ok(state);
        }
        let _alone = self.alone().await;
        self.load(inner).await
    }

    /// The same for who has the turn already.
    pub(super) async fn load(&self, inner: &Shared) -> Result<Arc<RunState>, JournalError> {
        if let Some(state) = self.cached() {
            return Ok(state);
        }
        let run_id = self.run_id;
        let row = inner.store.run(run_id).await?;
        let Some(row) = row else {
            // Nothing is kept about runs that are not there, however many are asked for.
            inner.cells.lock().unwrap_or_else(PoisonError::into_inner).remove(&run_id);
            return Err(JournalError::UnknownRun(run_id));
        };
        let entries = inner.store.entries(run_id, 0).await?;
        let state =
            RunState::replay(row.secret, &entries).map_err(|source| JournalError::Corrupt { run_id, source })?;
        if state.length != row.length || state.head != row.head {
            let source = crate::machine::Corrupt::Gap { expected: row.length };
            return Err(JournalError::Corrupt { run_id, source });
        }
        // A holder is given its whole lease by an operator that has just come up.
        self.heard_of_holder(inner.clock.now());
        let state = Arc::new(state);
        self.publish(state.clone());
        Ok(state)
    }

    pub(super) fn publish(&self, state: Arc<RunState>) {
        let length = state.length;
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = Some(state);
        self.length.send_replace(length);
    }

    pub(super) fn forget(&self) {
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Tells when the journal grows.
    pub(super) fn growth(&self) -> watch::Receiver<u64> {
        self.length.subscribe()
    }

    /// Tells when the log grows.
    pub(super) fn log_growth(&self) -> watch::Receiver<u64> {
        self.log.subscribe()
    }

    pub(super) fn log_grew(&self) {
        self.log.send_modify(|count| *count += 1);
    }

    /// Bytes in the log, once known; held while lines are added.
    pub(super) async fn log_bytes(&self) -> MutexGuard<'_, Option<u64>> {
        self.log_bytes.lock().await
    }

    pub(super) fn heard_of_holder(&self, now: Timestamp) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    pub(super) fn holder_heard_at(&self) -> Option<Timestamp> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
