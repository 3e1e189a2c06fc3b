//! New runs.

use std::sync::Arc;

use serde_json::Value;

use super::Journal;
use crate::error::JournalError;
use crate::failpoint;
use crate::machine;
use crate::protocol::{Payload, RunSecret, canonical, check_plain, entries};
use crate::store::{Inserted, RunInsert, RunRow};

/// A run to be created.
#[derive(Debug, Clone)]
pub struct CreateRun {
    /// Entry 0, its input inline however long: what is too long for an entry is moved to a blob. The caller draws the
    /// identity, because the input names it. If a claim has the name or slot, the run turns out to be another one.
    pub run: entries::RunCreated,
    /// Hash of what was asked for, to tell the same wish from another under the same name.
    pub request_hash: String,
}

impl Journal {
    /// Creates a run: claims, entry 0 and the wish for its first segment, in one transaction. Asked again it says what
    /// is there: a claim to a name or a slot is never given up.
    pub async fn create_run(&self, run: CreateRun) -> Result<Inserted, JournalError> {
        let journal = self.clone();
        tokio::spawn(async move { journal.create(run).await }).await.map_err(|_| JournalError::Stopped)?
    }

    async fn create(&self, CreateRun { mut run, request_hash }: CreateRun) -> Result<Inserted, JournalError> {
        let pin = Value::Object(run.pin.0.clone());
        if check_plain(&pin).is_err() || canonical(&pin).len() > self.inner.settings.limits.entry_max {
            return Err(JournalError::invalid("the pin may hold no null and no fraction, and must be small"));
        }
        if let Payload::Inline { inline } = run.input {
            run.input = self.payload((&run.namespace, &run.tenant), run.run_id, inline).await?;
        }
        let (run_id, slot, secret) = (run.run_id, run.slot.clone(), RunSecret::random());
        let input = run.input.clone();
        let outcome =
            machine::create(run, secret, self.now()).map_err(|source| JournalError::Corrupt { run_id, source })?;
        let state = outcome.state;
        failpoint::hit(failpoint::BEFORE_COMMIT);
        let inserted = self
            .inner
            .store
            .create(RunInsert {
                namespace: &state.namespace,
                tenant: &state.tenant,
                name: &state.name,
                slot: slot.as_deref().map(|slot| (state.workflow.uid.as_str(), slot)),
                row: RunRow {
                    run_id,
                    secret: Some(secret),
                    request_hash,
                    length: state.length,
                    head: state.head,
                    ended_at: None,
                    entry_bytes: state.bytes,
                    hold: None,
                    purged: Vec::new(),
                },
                entries: &outcome.entries,
            })
            .await?;
        failpoint::hit(failpoint::AFTER_COMMIT);
        if inserted != Inserted::Created(run_id) {
            self.discard((&state.namespace, &state.tenant), run_id, &input).await?;
        }
        if let Inserted::Created(run_id) = inserted {
            self.name(&state);
            self.inner.accounts.add(&state.tenant.namespace_uid, state.bytes);
            self.cell(run_id).publish(Arc::new(state));
            let _ = self.inner.feed.send(run_id);
        }
        Ok(inserted)
    }
}
