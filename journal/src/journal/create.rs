//! New runs.

use std::sync::Arc;

use uuid::Uuid;

use super::Journal;
use crate::error::JournalError;
use crate::failpoint;
use crate::machine;
use crate::protocol::{Pin, RunSecret, Trigger, WorkflowRef, canonical, check_plain, entries};
use crate::store::{Inserted, RunInsert, RunRow};
use serde_json::Value;

/// A run to be created.
#[derive(Debug, Clone)]
pub struct CreateRun {
    /// Its identity, drawn by the caller because the input names it. If a claim has the name or slot, the run turns out to
    /// be another one.
    pub run_id: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its Workflow.
    pub workflow: WorkflowRef,
    /// Its slot, if a schedule made it.
    pub slot: Option<String>,
    /// What made it.
    pub trigger: Trigger,
    /// What it is fixed to.
    pub pin: Pin,
    /// The JSON text of the input envelope.
    pub input: String,
    /// Hash of what was asked for, to tell the same wish from another under the same name.
    pub request_hash: String,
}

impl Journal {
    /// Creates a run: claims, entry 0 and the wish for its first segment, in one transaction. Asked again it says what is there:
    /// a claim is never given up: a name or a slot.
    pub async fn create_run(&self, run: CreateRun) -> Result<Inserted, JournalError> {
        let journal = self.clone();
        tokio::spawn(async move { journal.create(run).await }).await.map_err(|_| JournalError::Stopped)?
    }

    async fn create(&self, run: CreateRun) -> Result<Inserted, JournalError> {
        let pin = Value::Object(run.pin.0.clone());
        if check_plain(&pin).is_err() || canonical(&pin).len() > self.inner.settings.limits.entry_max {
            return Err(JournalError::invalid("the pin may hold no null and no fraction, and must be small"));
        }
        let input = self.payload(&run.namespace, run.run_id, run.input).await?;
        let key = RunSecret::random();
        let slot = run.slot.clone();
        let created = entries::RunCreated {
            run_id: run.run_id,
            namespace: run.namespace,
            name: run.name,
            workflow: run.workflow,
            slot: run.slot,
            trigger: run.trigger,
            pin: run.pin,
            input,
        };
        let outcome = machine::create(created, key, self.now())
            .map_err(|source| JournalError::Corrupt { run_id: run.run_id, source })?;
        let state = outcome.state;
        failpoint::hit(failpoint::BEFORE_COMMIT);
        let inserted = self
            .inner
            .store
            .create(RunInsert {
                namespace: &state.namespace,
                name: &state.name,
                slot: slot.as_deref().map(|slot| (state.workflow.uid.as_str(), slot)),
                row: RunRow {
                    run_id: run.run_id,
                    key,
                    request_hash: run.request_hash,
                    length: state.length,
                    head: state.head,
                    terminal: false,
                },
                entries: &outcome.entries,
            })
            .await?;
        failpoint::hit(failpoint::AFTER_COMMIT);
        if let Inserted::Created(run_id) = inserted {
            self.name(&state);
            self.cell(run_id).publish(Arc::new(state));
            let _ = self.inner.feed.send(run_id);
        }
        Ok(inserted)
    }
}
