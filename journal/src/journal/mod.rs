//! The journal of all runs: the machine over a store, one writer at a time per run.

mod accounts;
mod audit;
mod cell;
mod collect;
mod create;
mod limits;
mod payloads;
mod pods;
mod purge;
mod settings;
mod user_actions;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::broadcast;
use uuid::Uuid;

pub use audit::{Export, VerifyError, verify};
pub use create::CreateRun;
pub use limits::TenantLimits;
pub use pods::{AttachPod, PublishedHead};
pub use settings::{JournalLimits, JournalSettings};
pub use user_actions::DraftRef;

use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::error::{ErrorClass, JournalError};
use crate::failpoint;
use crate::machine::{Consequence, Refusal, RunState};
use crate::protocol::{Entry, RunSecret, RunTenant, Session, SessionKey};
use crate::retention::RunPart;
use crate::store::{self, ClaimKey, Commit, Store, StoreError, ViewKey};
use accounts::Accounts;
use cell::Cell;
use limits::LimitsOfTenants;

/// Bytes of entries that are read at once: a journal is never held whole.
pub const PAGE_BYTES: u64 = 1 << 20;

/// How many changed runs a slow reader of the change feed may be behind.
const FEED: usize = 4096;

struct Shared {
    settings: JournalSettings,
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    blobs: Blobs,
    accounts: Accounts,
    limits: LimitsOfTenants,
    session_key: SessionKey,
    cells: Mutex<HashMap<Uuid, Arc<Cell>>>,
    /// The runs in `cells` by UID of the namespace and name: what is claimed never changes.
    names: Mutex<HashMap<(String, String), Uuid>>,
    feed: broadcast::Sender<Uuid>,
}

/// The journals of all runs of a store. Cheap to clone. Whatever it returns as done is on disk.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Shared>,
}

/// What goes into the transaction of a change besides its entries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beside {
    view: Option<ViewKey>,
    drafts: Vec<String>,
}

/// What came of a change.
struct Changed<R> {
    reply: Result<R, Refusal>,
    before: u64,
    entries: Vec<Entry>,
    state: Arc<RunState>,
}

impl Journal {
    /// Opens the store and the blobs in the settings' directory. Time stands still for its runs until they are
    /// [taken up](Journal::take_up).
    pub async fn open(settings: JournalSettings, clock: Arc<dyn Clock>) -> Result<Self, JournalError> {
        let store = store::open(&settings.dir).await?;
        Self::over(settings, clock, store).await
    }

    /// A journal over any store; the blobs lie in the settings' directory.
    pub async fn over(
        settings: JournalSettings,
        clock: Arc<dyn Clock>,
        store: Arc<dyn Store>,
    ) -> Result<Self, JournalError> {
        let blobs = Blobs::open(&settings.dir.join("blobs"))?;
        let accounts = Accounts::of(store.usage().await?);
        let key = RunSecret::random().to_bytes();
        let key = store.setting_or("session-key", &key).await?;
        let key = key.try_into().map_err(|_| StoreError::Unreadable("a key"))?;
        let inner = Shared {
            settings,
            clock,
            store,
            blobs,
            accounts,
            limits: LimitsOfTenants::default(),
            session_key: SessionKey::from_bytes(key),
            cells: Mutex::default(),
            names: Mutex::default(),
            feed: broadcast::channel(FEED).0,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &JournalSettings {
        &self.inner.settings
    }

    /// The time by its clock.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Whether its store can still write.
    pub fn is_alive(&self) -> bool {
        self.inner.store.is_alive()
    }

    /// Every run whose state changes, or may have changed, from now on. A reader that lags behind must look at all runs again.
    pub fn subscribe(&self) -> broadcast::Receiver<Uuid> {
        self.inner.feed.subscribe()
    }

    /// Reads the runs of the tenants that are `served` and have not ended, so that their timers run, and gives their
    /// states. A journal that cannot be read stops nobody else's: whoever asks for that run is told.
    pub async fn take_up(&self, served: impl Fn(&str, &RunTenant) -> bool) -> Result<Vec<Arc<RunState>>, JournalError> {
        let mut states = Vec::new();
        let open = self.inner.store.open_runs().await?;
        for run in open.into_iter().filter(|run| served(&run.namespace, &run.tenant)) {
            match self.state(run.run_id).await {
                Ok(state) => {
                    self.name(&state);
                    states.push(state);
                }
                Err(error) if error.class() == ErrorClass::Bug => {}
                Err(error) => return Err(error),
            }
        }
        Ok(states)
    }

    /// The runs in memory: those that were taken up, and those somebody asked for.
    pub fn in_memory(&self) -> Vec<Arc<RunState>> {
        self.cells().iter().filter_map(|cell| cell.cached()).collect()
    }

    /// The run with this name in the namespace with this UID, also after its resources are gone.
    pub async fn run_by_name(&self, namespace_uid: &str, name: &str) -> Result<Option<Uuid>, JournalError> {
        let known = {
            let names = self.inner.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.get(&(namespace_uid.to_owned(), name.to_owned())).copied()
        };
        match known {
            Some(run_id) => Ok(Some(run_id)),
            None => Ok(self.inner.store.claimed(namespace_uid, ClaimKey::Name(name)).await?),
        }
    }

    /// The state of a run.
    pub async fn state(&self, run_id: Uuid) -> Result<Arc<RunState>, JournalError> {
        self.cell(run_id).state(&self.inner).await
    }

    /// A page of a run's entries from `from` on: one if there is one, and more up to [`PAGE_BYTES`].
    pub async fn entries(&self, run_id: Uuid, from: u64) -> Result<Vec<Entry>, JournalError> {
        let page = self.inner.store.entries(run_id, from, PAGE_BYTES).await?;
        if page.first().is_none_or(|first| first.seq != from) {
            // Nothing is after the last entry; what is missing before it was purged since it was looked for.
            self.check_kept(run_id, RunPart::Journal).await?;
        }
        Ok(page)
    }

    /// One entry of a run.
    pub async fn entry(&self, run_id: Uuid, seq: u64) -> Result<Option<Entry>, JournalError> {
        Ok(self.inner.store.entries(run_id, seq, 0).await?.into_iter().next())
    }

    /// The session of a token this journal gave out.
    pub fn session(&self, token: &str) -> Option<Session> {
        self.inner.session_key.open(token)
    }

    fn cell(&self, run_id: Uuid) -> Arc<Cell> {
        let mut cells = self.inner.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.entry(run_id).or_insert_with(|| Arc::new(Cell::new(run_id))).clone()
    }

    /// Notes under which name a run is kept in memory.
    fn name(&self, state: &RunState) {
        let mut names = self.inner.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert((state.tenant.namespace_uid.clone(), state.name.clone()), state.run_id);
    }

    fn cells(&self) -> Vec<Arc<Cell>> {
        self.inner.cells.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Runs `decide` on the run's state, alone, and makes what follows from it durable before anybody hears of it. It
    /// goes on to its end even if the caller goes away.
    async fn change<R: Send + 'static>(
        &self,
        run_id: Uuid,
        beside: Beside,
        decide: impl FnOnce(&RunState, Timestamp) -> Consequence<R> + Send + 'static,
    ) -> Result<Changed<R>, JournalError> {
        let (journal, cell) = (self.clone(), self.cell(run_id));
        let work = async move {
            let _alone = cell.alone().await;
            let state = cell.load(&journal.inner).await?;
            let outcome = decide(&state, journal.now());
            if outcome.entries.is_empty() {
                return Ok(Changed { reply: outcome.reply, before: state.length, entries: Vec::new(), state });
            }
            let commit = Commit {
                run_id,
                expected: state.length,
                entries: &outcome.entries,
                entry_bytes: outcome.state.bytes,
                ended_at: outcome.state.completed_at(),
                view: beside.view.as_ref(),
                drafts: &beside.drafts,
            };
            failpoint::hit(failpoint::BEFORE_COMMIT);
            if let Err(error) = journal.inner.store.commit(commit).await {
                // Whether it was committed is not known: the next one reads what is there. Who waits for what time brings
                // computes it anew.
                cell.lose();
                let _ = journal.inner.feed.send(run_id);
                return Err(error.into());
            }
            failpoint::hit(failpoint::AFTER_COMMIT);
            journal.inner.accounts.add(&state.tenant.namespace_uid, outcome.state.bytes - state.bytes);
            let before = state.length;
            let state = Arc::new(outcome.state);
            if let Some(epoch) = state.cancel_grace_of() {
                cell.grace_began(epoch, journal.inner.clock.listened());
            }
            cell.publish(state.clone());
            let _ = journal.inner.feed.send(run_id);
            Ok(Changed { reply: outcome.reply, before, entries: outcome.entries, state })
        };
        let done = tokio::spawn(work).await;
        done.unwrap_or_else(|_| {
            // It panicked: whether its entries were committed is not known.
            self.cell(run_id).lose();
            Err(JournalError::Stopped)
        })
    }

    /// A change whose refusal is an error.
    async fn changed<R: Send + 'static>(
        &self,
        run_id: Uuid,
        decide: impl FnOnce(&RunState, Timestamp) -> Consequence<R> + Send + 'static,
    ) -> Result<R, JournalError> {
        Ok(self.change(run_id, Beside::default(), decide).await?.reply?)
    }
}
