//! One pass over a run.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Preconditions, PropagationPolicy};
use ntro_crds::WorkflowRun;
use ntro_crds::workflow_run::WorkflowRunStatus;
use ntro_journal::machine::SegmentState;
use ntro_journal::{JournalError, PublishedHead, RunState};
use uuid::Uuid;

use super::admit::Admitted;
use super::object::{asks_for_same_slot, is_same, key_of, request_of, run_object};
use super::objects::Known;
use super::plan;
use super::{RunKey, Runs, pin, status};
use crate::controllers::act::{self, problem};
use crate::controllers::workflow::facts::is_ahead;
use crate::error::{Class, Next, Problem};
use crate::kube_ext::{Created, create_once, delete_exactly};
use crate::pace;

impl Runs {
    /// Brings everything about a run in line, and says when to look again.
    pub async fn pass(&self, key: RunKey) -> Result<Next, Problem> {
        if self.context.tenants.get(&key.namespace).is_none_or(|tenant| tenant.terminating) {
            // Nothing starts here any more.
            drop(self.starts.take(&key));
            return Ok(Next::OnChange);
        }
        if self.starts.is_held(&key) {
            // Its journal has begun; who began it makes the object, and wakes it when its Job may follow.
            return Ok(Next::OnChange);
        }
        let starting = self.starts.take(&key);
        if starting.is_none() && self.put_off(&key).await? {
            return Ok(Next::After(pace::LONGEST));
        }
        let object = match self.objects.get(&key) {
            Known::Open(object) => Some(object),
            Known::Ended => {
                self.context.namespaced::<WorkflowRun>(&key.namespace).get_opt(&key.name).await?.map(Arc::new)
            }
            Known::Missing => None,
        };
        let object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
        let known = self.journal.run_by_name(&key.namespace, &key.name).await.map_err(problem)?;
        match (object, known) {
            (None, None) => {
                act::refuse_all(&self.context, &self.acts.of(&key), "RunMissing").await?;
                Ok(Next::OnChange)
            }
            (None, Some(id)) => self.orphan(&key, id).await,
            (Some(object), None) => self.newcomer(&key, &object).await,
            (Some(object), Some(id)) => self.known(&key, &object, id).await,
        }
    }

    /// Puts a run off whose first Job waits for its pod while other runs of the namespace are being started: there is
    /// nothing to do about it but to say so.
    async fn put_off(&self, key: &RunKey) -> Result<bool, Problem> {
        if !self.context.pace.is_busy(&key.namespace) || !self.acts.of(key).is_empty() {
            return Ok(false);
        }
        let Some(id) = self.journal.run_by_name(&key.namespace, &key.name).await.map_err(problem)? else {
            return Ok(false);
        };
        let Some(state) = self.begun(id).await? else { return Ok(false) };
        let idle =
            state.segment == 1 && state.segment_state == SegmentState::Queued && state.cancel_requested.is_none();
        let (queue, again) = (self.queue.clone(), key.clone());
        let later = move |turn| queue.push_after(again, turn);
        Ok(idle && self.context.pace.defer(&key.namespace, ("run", key.name.clone()), later))
    }

    /// A run without an object: made again unless it has ended. Deleting is not cancelling.
    async fn orphan(&self, key: &RunKey, id: Uuid) -> Result<Next, Problem> {
        // A name that is claimed without a journal: the slot's controller goes on with it.
        let Some(state) = self.begun(id).await? else { return Ok(Next::OnChange) };
        if state.terminal.is_some() {
            return Ok(Next::OnChange);
        }
        self.recreate(key, &state).await?;
        Ok(Next::OnChange)
    }

    /// The state of a run whose journal has begun.
    async fn begun(&self, id: Uuid) -> Result<Option<Arc<RunState>>, Problem> {
        match self.journal.state(id).await {
            Ok(state) => Ok(Some(state)),
            Err(JournalError::UnknownRun(_)) => Ok(None),
            Err(error) => Err(problem(error)),
        }
    }

    /// Makes the object of a run that has a journal.
    pub async fn recreate(&self, key: &RunKey, state: &RunState) -> Result<(), Problem> {
        let Some(request) = request_of(state) else { return Ok(()) };
        let object = run_object(key, &request, &state.workflow.uid, state.run_id);
        if let Created::New(_) = create_once(&self.context.client, &object).await? {
            tracing::info!(namespace = key.namespace, run = key.name, "made the WorkflowRun of an open journal");
        }
        Ok(())
    }

    /// An object nobody has taken up yet.
    async fn newcomer(&self, key: &RunKey, object: &WorkflowRun) -> Result<Next, Problem> {
        let before = object.status.as_ref();
        if before.is_some_and(|status| status.run_id.is_some()) {
            let message =
                "the store does not know this run: it is older than what was published; restore the newest copy";
            return self.refuse(object, "JournalBehind", message).await;
        }
        if is_ahead(object) {
            // Its Workflow begins it when the slot is due, or deletes it. Acts wait for that.
            return Ok(Next::OnChange);
        }
        let request = &object.spec.request;
        let name = &request.workflow_ref.name;
        let Some(workflow) = self.workflow(&key.namespace, name) else {
            let message = format!("Workflow {name} does not exist");
            return self.wait(object, "WorkflowMissing", &message, false).await;
        };
        match self.admit(key, &workflow, request, Uuid::new_v4()).await {
            Ok(Admitted::Open(id)) => self.known(key, object, id).await,
            Ok(Admitted::AlreadyRan(_) | Admitted::Taken(_)) => self.already_ran(object).await,
            Err(error) => {
                let stalled = error.class == Class::Invalid;
                self.wait(object, error.reason, &error.message, stalled).await?;
                Err(error)
            }
        }
    }

    async fn already_ran(&self, object: &WorkflowRun) -> Result<Next, Problem> {
        let message =
            "a run of this name has been executed already; nothing is executed again: start a run with another name";
        self.refuse(object, "AlreadyRan", message).await
    }

    async fn refuse(&self, object: &WorkflowRun, code: &'static str, message: &str) -> Result<Next, Problem> {
        let now = self.context.clock.now();
        let next = status::refused(object.status.as_ref(), object.metadata.generation, code, message, now);
        self.write_status(object, &next).await?;
        act::refuse_all(&self.context, &self.acts.of(&key_of(object)), code).await?;
        Ok(Next::OnChange)
    }

    async fn wait(&self, object: &WorkflowRun, reason: &str, message: &str, stalled: bool) -> Result<Next, Problem> {
        let now = self.context.clock.now();
        let next =
            status::not_started(object.status.as_ref(), object.metadata.generation, reason, message, stalled, now);
        self.write_status(object, &next).await?;
        Ok(Next::After(Duration::from_mins(1)))
    }

    /// A run with an object and a journal.
    async fn known(&self, key: &RunKey, object: &WorkflowRun, id: Uuid) -> Result<Next, Problem> {
        let before = object.status.as_ref();
        let published = before.and_then(|status| status.run_id.as_deref());
        let Some(state) = self.begun(id).await? else { return self.begin(key, object).await };
        match published {
            Some(published) if published != id.to_string() => {
                let message =
                    "the store knows another run under this name: it is not the one that published this status";
                return self.refuse(object, "JournalBehind", message).await;
            }
            None if state.terminal.is_some() || !is_same(object, &state) => {
                // What the watch shows may be older than what was published: the API server itself is asked.
                let api = self.context.namespaced::<WorkflowRun>(&key.namespace);
                let fresh = api.get_opt(&key.name).await?;
                if fresh.and_then(|object| object.status?.run_id).is_some() {
                    return Ok(Next::After(Duration::from_secs(1)));
                }
                if state.terminal.is_none() && asks_for_same_slot(object, &state) {
                    // Asked for just when the schedule had begun it: the slot has one run, and this name is its.
                    let preconditions = Preconditions { uid: object.uid(), resource_version: None };
                    delete_exactly(&api, &key.name, preconditions, PropagationPolicy::Background).await?;
                    tracing::info!(namespace = key.namespace, run = key.name, "the slot asked for has begun already");
                    return Ok(Next::After(Duration::from_secs(1)));
                }
                return self.already_ran(object).await;
            }
            _ => {}
        }
        if self.behind(before, id).await? {
            if state.terminal.is_none() {
                self.journal.block(id, ntro_journal::protocol::BlockCode::JournalBehind).await.map_err(problem)?;
            }
            let message = "the store is older than, or differs from, what was published; restore the newest copy";
            return self.refuse(object, "JournalBehind", message).await;
        }
        self.go_on(key, object, &state).await
    }

    /// The name is claimed but the journal has not begun: the operator died in between.
    async fn begin(&self, key: &RunKey, object: &WorkflowRun) -> Result<Next, Problem> {
        let request = &object.spec.request;
        let Some(workflow) = self.workflow(&key.namespace, &request.workflow_ref.name) else {
            return self.wait(object, "WorkflowMissing", "its Workflow does not exist", false).await;
        };
        match self.admit(key, &workflow, request, Uuid::new_v4()).await? {
            Admitted::Open(id) => {
                let state = self.journal.state(id).await.map_err(problem)?;
                self.go_on(key, object, &state).await
            }
            Admitted::AlreadyRan(_) | Admitted::Taken(_) => self.already_ran(object).await,
        }
    }

    async fn behind(&self, before: Option<&WorkflowRunStatus>, id: Uuid) -> Result<bool, Problem> {
        let Some(head) = before.and_then(|status| status.journal.as_ref()) else { return Ok(false) };
        let head = PublishedHead { length: u64::try_from(head.length).unwrap_or(0), head: head.head.clone() };
        self.journal.is_behind(id, &head).await.map_err(problem)
    }

    async fn go_on(&self, key: &RunKey, object: &WorkflowRun, state: &RunState) -> Result<Next, Problem> {
        let id = state.run_id;
        let pin = pin::from_journal(&state.pin).ok_or_else(|| {
            let message = format!("the journal of run {id} has a pin this release cannot read");
            Problem { class: Class::Bug, reason: "PinUnreadable", message }
        })?;
        let acts = self.acts.of(key);
        act::process(&self.context, &self.journal, state, &pin, &acts).await?;
        let state = self.journal.state(id).await.map_err(problem)?;
        let expiry = self.expire_gates(&state, &pin).await?;
        let state = self.journal.state(id).await.map_err(problem)?;
        let mut next = self.jobs(key, object, &state, &pin).await?.sooner(expiry);
        let state = self.journal.state(id).await.map_err(problem)?;
        // A Gate that the API server does not take must not hide how the run stands.
        let gates = self.gates(key, object, &state, &pin).await;
        next = next.sooner(self.publish(key, object, &state, &pin).await?);
        gates?;
        let now = self.context.clock.now();
        if let Some(due) = act::prune(&self.context, &acts, now).await? {
            next = next.sooner(Next::After(plan::until(now, due)));
        }
        Ok(next)
    }
}
