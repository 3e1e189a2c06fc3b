//! What is kept in memory about one run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{MutexGuard, watch};
use uuid::Uuid;

use super::{PAGE_BYTES, Shared};
use crate::error::JournalError;
use crate::machine::{Corrupt, RunState};
use crate::protocol::{RunSecret, Sha256Digest};
use crate::retention::RunPart;
use crate::store::{Store, StoreError};

/// How long a run is left alone by time after it could not be read or changed, at first and at most.
const HOLD_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// What is in memory of a run's journal.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// Nobody has asked for it.
    Unread,
    /// A commit failed, and whether it was made is not known: it is read again, and until then everything may be due.
    Lost,
    /// The state after the last commit.
    State(Arc<RunState>),
}

/// A run that time could not do its part for.
#[derive(Debug, Clone, Copy, Default)]
struct Trouble {
    failures: u32,
    until: Option<Timestamp>,
}

/// The cached state of a run, its writer's turn, and when its holder was last heard of.
pub(super) struct Cell {
    pub(super) run_id: Uuid,
    writer: tokio::sync::Mutex<()>,
    latest: RwLock<Known>,
    length: watch::Sender<u64>,
    log: watch::Sender<u64>,
    /// When its holder was last heard of, by [`Clock::listened`](crate::Clock::listened).
    heard: Mutex<Duration>,
    /// The epoch whose run is cancelled, and when that was first seen, by the same clock.
    grace: Mutex<Option<(u64, Duration)>>,
    log_bytes: tokio::sync::Mutex<Option<u64>>,
    blobs: tokio::sync::Mutex<Option<HashMap<Sha256Digest, u64>>>,
    trouble: Mutex<Trouble>,
}

/// The fold of a run's entries, read page by page: never are all of them in memory.
async fn read(store: &dyn Store, (run_id, length): (Uuid, u64), secret: RunSecret) -> Result<RunState, JournalError> {
    let corrupt = |source| JournalError::Corrupt { run_id, source };
    let page = store.entries(run_id, 0, PAGE_BYTES).await?;
    let (first, mut rest) = page.split_first().ok_or(Corrupt::NoBeginning).map_err(corrupt)?;
    let mut state = RunState::first(secret, first).map_err(corrupt)?;
    let mut page;
    loop {
        rest.iter().try_for_each(|entry| state.next(entry)).map_err(corrupt)?;
        // Most journals are one page: that there is no other one need not be asked.
        if state.length >= length {
            return Ok(state);
        }
        page = store.entries(run_id, state.length, PAGE_BYTES).await?;
        if page.is_empty() {
            return Ok(state);
        }
        rest = &page;
    }
}

impl Cell {
    pub(super) fn new(run_id: Uuid) -> Self {
        Self {
            run_id,
            writer: tokio::sync::Mutex::default(),
            latest: RwLock::new(Known::Unread),
            length: watch::Sender::new(0),
            log: watch::Sender::new(0),
            heard: Mutex::default(),
            grace: Mutex::default(),
            log_bytes: tokio::sync::Mutex::default(),
            blobs: tokio::sync::Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// Waits for the turn to write.
    pub(super) async fn alone(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().await
    }

    pub(super) fn cached(&self) -> Option<Arc<RunState>> {
        match self.known() {
            Known::State(state) => Some(state),
            Known::Unread | Known::Lost => None,
        }
    }

    pub(super) fn known(&self) -> Known {
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
        let Some(secret) = row.secret else {
            // Nothing happens to it any more: it needs no cell, however many ask.
            inner.cells.lock().unwrap_or_else(PoisonError::into_inner).remove(&run_id);
            let record = row.purged.into_iter().find(|record| record.part == RunPart::Journal);
            let record = Box::new(record.ok_or(StoreError::Unreadable("a run without a key"))?);
            return Err(JournalError::Purged { run_id, record });
        };
        let state = read(inner.store.as_ref(), (run_id, row.length), secret).await?;
        if state.length != row.length || state.head != row.head {
            let source = crate::machine::Corrupt::Gap { expected: row.length };
            return Err(JournalError::Corrupt { run_id, source });
        }
        // A holder is given its whole lease by an operator that has just come up.
        self.heard_of_holder(inner.clock.listened());
        let state = Arc::new(state);
        self.publish(state.clone());
        Ok(state)
    }

    pub(super) fn publish(&self, state: Arc<RunState>) {
        let length = state.length;
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = Known::State(state);
        self.length.send_replace(length);
    }

    /// Forgets a state of which it is not known whether it is still the last.
    pub(super) fn lose(&self) {
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = Known::Lost;
    }

    /// Forgets a state that is to be read again by who asks for it.
    pub(super) fn forget(&self) {
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = Known::Unread;
    }

    /// Until when time leaves the run alone, after it failed to do its part. A clock that was set back does not make that
    /// longer.
    pub(super) fn held_off(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.trouble().until?;
        let longest = now.checked_add(HOLD_OFF.1).unwrap_or(Timestamp::MAX);
        (now < until && until <= longest).then_some(until)
    }

    /// Time could not do its part: the run is left alone for a while, twice as long each time.
    pub(super) fn hold_off(&self, now: Timestamp) {
        let mut trouble = self.trouble();
        let wait = HOLD_OFF.0.saturating_mul(1 << trouble.failures.min(6)).min(HOLD_OFF.1);
        trouble.failures = trouble.failures.saturating_add(1);
        trouble.until = now.checked_add(wait).ok();
    }

    /// Its timers have to wait so long, and nothing is wrong.
    pub(super) fn wait(&self, now: Timestamp, wait: Duration) {
        *self.trouble() = Trouble { failures: 0, until: now.checked_add(wait).ok() };
    }

    /// Time has done its part.
    pub(super) fn well(&self) {
        *self.trouble() = Trouble::default();
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The blobs and their sizes, once known; held while one is counted.
    pub(super) async fn blobs(&self) -> MutexGuard<'_, Option<HashMap<Sha256Digest, u64>>> {
        self.blobs.lock().await
    }

    pub(super) fn heard_of_holder(&self, listened: Duration) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = listened;
    }

    /// When the grace of this epoch began: the first time that this is asked.
    pub(super) fn grace_began(&self, epoch: u64, listened: Duration) -> Duration {
        let mut grace = self.grace.lock().unwrap_or_else(PoisonError::into_inner);
        match *grace {
            Some((known, began)) if known == epoch => began,
            _ => grace.insert((epoch, listened)).1,
        }
    }

    pub(super) fn holder_heard_at(&self) -> Duration {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
