//! What the operator sees: Jobs, silence and time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::Journal;
use super::cell::{Cell, Known};
use crate::error::JournalError;
use crate::machine::{self, RunState};
use crate::protocol::{BlockCode, RunTenant};

/// The longest time between two looks at timers that are due and may not fire yet: the clock may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What became of the timers of a run that are due.
enum Timers {
    /// There are none left.
    Fired,
    /// Too few user actions are known for the next one: it has to wait so long.
    Early(Duration),
    /// It is not known which user actions there are.
    Unknown,
}

impl Timers {
    /// `due` is left, and user actions are known until `upto`.
    fn left(due: Timestamp, upto: Timestamp) -> Self {
        // Nobody was asked about user actions: that is its turn at once.
        if upto == Timestamp::MIN {
            return Self::Fired;
        }
        let wait = Duration::try_from(due.duration_since(upto)).unwrap_or_default();
        Self::Early(wait.min(LOOK_AGAIN))
    }
}

impl Journal {
    /// Records the Job of the wanted segment, made or adopted. Recording the same Job again changes nothing.
    pub async fn job_recorded(
        &self,
        run_id: Uuid,
        segment: u32,
        job_name: &str,
        job_uid: &str,
        template_hash: &str,
    ) -> Result<(), JournalError> {
        let job = (job_name.to_owned(), job_uid.to_owned(), template_hash.to_owned());
        self.changed(run_id, move |state, now| machine::job_recorded(state, segment, (&job.0, &job.1, &job.2), now))
            .await
    }

    /// The Job of `segment` is finished, deleted or replaced, and none of its pods lives. Says nothing about a segment
    /// that is over.
    pub async fn job_gone(&self, run_id: Uuid, segment: u32) -> Result<(), JournalError> {
        self.changed(run_id, move |state, now| machine::job_gone(state, segment, now)).await
    }

    /// The Job of `segment` was suspended under its pod, and none of its pods lives. Says nothing about a segment that
    /// is over.
    pub async fn evicted(&self, run_id: Uuid, segment: u32) -> Result<(), JournalError> {
        self.changed(run_id, move |state, now| machine::evicted(state, segment, now)).await
    }

    /// The pod of `segment` left because it could not reach the operator. Says nothing about a segment that is over.
    pub async fn outage(&self, run_id: Uuid, segment: u32) -> Result<(), JournalError> {
        self.changed(run_id, move |state, now| machine::outage(state, segment, now)).await
    }

    /// Blocks the run for a reason only the operator sees.
    pub async fn block(&self, run_id: Uuid, code: BlockCode) -> Result<(), JournalError> {
        self.changed(run_id, move |state, now| machine::block(state, code, now)).await
    }

    /// When [`Journal::tick`] next has something to do, as far as is known now.
    pub fn next_due(&self) -> Option<Timestamp> {
        let now = self.now();
        self.cells().iter().filter_map(|cell| cell.held_off(now).or_else(|| self.due(cell))).min()
    }

    /// When time next has a part in a run.
    fn due(&self, cell: &Cell) -> Option<Timestamp> {
        match cell.known() {
            Known::Unread => None,
            Known::Lost => Some(Timestamp::MIN),
            Known::State(state) => [state.next_timer(), self.lease_end(&state, cell), self.grace_end(&state, cell)]
                .into_iter()
                .flatten()
                .min(),
        }
    }

    /// The runs in memory with a timer that is due.
    pub fn timers_due(&self, now: Timestamp) -> Vec<Arc<RunState>> {
        self.in_memory().into_iter().filter(|state| state.next_timer().is_some_and(|due| due <= now)).collect()
    }

    /// Forgets drafts and view keys whose time was over by `actions_known_upto`: every user action made until then has been
    /// applied, so none can name them any more.
    pub async fn expire(&self, actions_known_upto: Timestamp) -> Result<(), JournalError> {
        if self.inner.store.expire(actions_known_upto.min(self.now())).await? {
            self.inner.accounts.set(self.inner.store.usage().await?);
        }
        Ok(())
    }

    /// Does what time asks for: fires the timers that are due, releases silent holders and those whose grace after a
    /// cancellation is over.
    ///
    /// `actions_known_upto` gives, for a run, the time until which every user action on it has been applied: only timers due
    /// by then fire, because an action in time comes before a timer that is due; the others are looked at again when that
    /// may be so. `None` if it is not known: no timer of the run fires; `Timestamp::MIN` if nobody was asked. A run that fails
    /// keeps no other one waiting; it is tried again after a while, and given back.
    pub async fn tick(
        &self,
        actions_known_upto: impl Fn(&RunState) -> Option<Timestamp> + Send + Sync,
    ) -> Vec<(Uuid, JournalError)> {
        let (now, mut failed) = (self.now(), Vec::new());
        for cell in self.cells() {
            if self.due(&cell).is_none_or(|due| due > now) || cell.held_off(now).is_some() {
                continue;
            }
            match self.tick_run(&cell, now, &actions_known_upto).await {
                Ok(Timers::Fired) => cell.well(),
                Ok(Timers::Early(wait)) => cell.wait(now, wait),
                Ok(Timers::Unknown) => cell.hold_off(now),
                Err(error) => {
                    cell.hold_off(now);
                    failed.push((cell.run_id, error));
                }
            }
        }
        self.forget_ended();
        failed
    }

    /// Does what time asks for in one run.
    async fn tick_run(
        &self,
        cell: &Cell,
        now: Timestamp,
        actions_known_upto: &(impl Fn(&RunState) -> Option<Timestamp> + Sync),
    ) -> Result<Timers, JournalError> {
        let state = self.state(cell.run_id).await?;
        let timer_due = state.next_timer().is_some_and(|due| due <= now);
        let upto = actions_known_upto(&state).map(|upto| upto.min(now));
        if let Some(upto) = upto.filter(|_| timer_due) {
            self.changed(cell.run_id, move |state: &RunState, _| machine::fire_timers(state, upto)).await?;
        }
        if let Some((epoch, left)) = self.grace_left(&state, cell)
            && left.is_zero()
        {
            self.changed(cell.run_id, move |state, now| machine::cancel_overdue(state, epoch, now)).await?;
        }
        if let Some(holder) = state.holder()
            && self.lease_left(cell).is_zero()
        {
            let epoch = holder.epoch;
            self.changed(cell.run_id, move |state, now| machine::lease_silent(state, epoch, now)).await?;
        }
        let left = self.state(cell.run_id).await?.next_timer().filter(|due| *due <= now);
        Ok(left.map_or(Timers::Fired, |due| upto.map_or(Timers::Unknown, |upto| Timers::left(due, upto))))
    }

    /// Runs that have ended are read from the store when somebody asks for them.
    fn forget_ended(&self) {
        self.forget(|state| state.terminal.is_some());
    }

    /// Forgets the runs of tenants that are not `served` until somebody asks for them: nothing happens to them, not
    /// even time. Who serves a tenant again [takes its runs up](Journal::take_up).
    pub fn set_aside(&self, served: impl Fn(&str, &RunTenant) -> bool) {
        self.forget(|state| !served(&state.namespace, &state.tenant));
    }

    /// Forgets the runs that nobody holds and `which` names. Their journals stay as they are.
    fn forget(&self, which: impl Fn(&RunState) -> bool) {
        let mut cells = self.inner.cells.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        cells.retain(|_, cell| {
            let forgotten = match cell.known() {
                Known::Unread => true,
                Known::Lost => false,
                Known::State(state) => state.holder().is_none() && which(&state),
            };
            // A cell somebody works with stays: there must never be two for one run.
            !forgotten || std::sync::Arc::strong_count(cell) > 1
        });
        let mut names = self.inner.names.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        names.retain(|_, run_id| cells.contains_key(run_id));
    }

    /// How much longer a holder may be silent.
    fn lease_left(&self, cell: &Cell) -> Duration {
        let silence = self.inner.clock.listened().saturating_sub(cell.holder_heard_at());
        (self.inner.settings.lease + self.inner.settings.grace).saturating_sub(silence)
    }

    /// When that is over if no clock is set until then.
    fn lease_end(&self, state: &RunState, cell: &Cell) -> Option<Timestamp> {
        state.holder()?;
        self.now().checked_add(self.lease_left(cell)).ok()
    }

    /// How much longer the holder of a cancelled run may take, and its epoch. It has a whole grace from when this process
    /// first saw it, by a clock that cannot be set.
    fn grace_left(&self, state: &RunState, cell: &Cell) -> Option<(u64, Duration)> {
        let (epoch, listened) = (state.cancel_grace_of()?, self.inner.clock.listened());
        let passed = listened.saturating_sub(cell.grace_began(epoch, listened));
        Some((epoch, (self.inner.settings.cancel_grace + self.inner.settings.grace).saturating_sub(passed)))
    }

    fn grace_end(&self, state: &RunState, cell: &Cell) -> Option<Timestamp> {
        let (_, left) = self.grace_left(state, cell)?;
        self.now().checked_add(left).ok()
    }

    /// Keeps a fact about the namespace with this UID, replacing the one before.
    pub async fn put_fact(&self, namespace_uid: &str, key: &str, value: &str) -> Result<(), JournalError> {
        Ok(self.inner.store.put_fact(namespace_uid, key, value).await?)
    }

    /// A fact about the namespace with this UID.
    pub async fn fact(&self, namespace_uid: &str, key: &str) -> Result<Option<String>, JournalError> {
        Ok(self.inner.store.fact(namespace_uid, key).await?)
    }

    /// All facts about the namespace with this UID, by key.
    pub async fn facts(&self, namespace_uid: &str) -> Result<Vec<(String, String)>, JournalError> {
        Ok(self.inner.store.facts(namespace_uid).await?)
    }
}
