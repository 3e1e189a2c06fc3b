//! What is done about a run whose object and journal do not, or not yet, belong together.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Preconditions, PropagationPolicy};
use ntro_crds::WorkflowRun;
use ntro_crds::workflow_run::WorkflowRunStatus;
use ntro_crds::{Reason, UserActionReason};
use ntro_journal::PurgedRun;
use ntro_journal::protocol::BlockCode;
use uuid::Uuid;

use super::observe::{JournalSeen, Observed};
use super::validate::{Mismatch, Refusal};
use super::{Runs, status, user_actions};
use crate::cache::RunRef;
use crate::error::{Class, Problem, Requeue};
use crate::k8s::{Created, create_once, delete_exactly};
use crate::launch::{Admitted, run_object};

/// When an object is looked at again that the watch shows too late.
const SOON: Requeue = Requeue::After(Duration::from_secs(1));
/// When a run that cannot be admitted is tried again, whatever happens.
const RETRY: Requeue = Requeue::After(Duration::from_mins(1));

impl Runs {
    pub(super) async fn resolve_mismatch(&self, observed: &Observed, mismatch: Mismatch) -> Result<Requeue, Problem> {
        match (mismatch, &observed.object, &observed.journal) {
            (Mismatch::Missing, ..) => {
                let (actions, reason) = (&observed.user_actions, UserActionReason::RunMissing);
                user_actions::refuse_all(&self.context, actions, reason, user_actions::ANSWERED).await?;
                Ok(Requeue::OnChange)
            }
            (Mismatch::Purged, object, JournalSeen::Purged(purged)) => {
                self.show_purged(observed, object.as_deref(), purged).await
            }
            (Mismatch::Recreate, _, JournalSeen::Begun(state)) => {
                let Some(request) = run_object::request_of(state) else { return Ok(Requeue::OnChange) };
                let object = run_object::build(&observed.run, &request, &state.workflow.uid, state.run_id);
                if let Created::New(_) = create_once(&self.context.kube.client, &object).await? {
                    let RunRef { namespace, name } = &observed.run;
                    tracing::info!(namespace, run = name, "recreated the WorkflowRun of an unfinished run");
                }
                Ok(Requeue::OnChange)
            }
            (Mismatch::Admit, Some(object), _) => self.admit(&observed.run, object).await,
            (Mismatch::DeleteDuplicate, Some(object), _) => self.delete_duplicate(&observed.run, object).await,
            (Mismatch::ReconcileSoon, ..) => Ok(SOON),
            (Mismatch::Refuse(refusal), Some(object), journal) => {
                if let (Refusal::Behind, JournalSeen::Begun(state)) = (refusal, journal)
                    && state.terminal.is_none()
                {
                    self.context.journal.block(state.run_id, BlockCode::JournalBehind).await?;
                }
                self.refuse(object, refusal).await
            }
            (Mismatch::Ignore | Mismatch::Recreate | Mismatch::Purged, ..) | (_, None, _) => Ok(Requeue::OnChange),
        }
    }

    async fn admit(&self, run: &RunRef, object: &WorkflowRun) -> Result<Requeue, Problem> {
        let request = &object.spec.request;
        let name = &request.workflow_ref.name;
        let Some(workflow) = self.cache.workflow(&run.namespace, name) else {
            let missing = Problem::new(
                Class::Waiting { after: Duration::from_mins(1) },
                Reason::WorkflowMissing,
                format!("Workflow {name} does not exist"),
            );
            self.write_not_started(object, &missing).await?;
            return Ok(RETRY);
        };
        match self.launcher.admit(run, &workflow, request, Uuid::new_v4()).await {
            // It has a journal now: its first Job need not stand in the queue behind the admission of others.
            Ok(Admitted::Journaled(id)) if self.is_claimed_by(run, id).await? => {
                Box::pin(self.reconcile_one(run)).await
            }
            Ok(Admitted::AlreadyRan(_)) => self.refuse(object, Refusal::AlreadyRan).await,
            Ok(Admitted::NameTaken(_) | Admitted::Journaled(_)) => self.refuse(object, Refusal::NameTaken).await,
            Err(problem) => {
                self.write_not_started(object, &problem).await?;
                Err(problem)
            }
        }
    }

    /// Whether this is the run of that name: the same request may have been admitted under another.
    async fn is_claimed_by(&self, run: &RunRef, id: Uuid) -> Result<bool, Problem> {
        Ok(self.context.run_by_name(&run.namespace, &run.name).await? == Some(id))
    }

    async fn delete_duplicate(&self, run: &RunRef, object: &WorkflowRun) -> Result<Requeue, Problem> {
        let api = self.context.kube.namespaced::<WorkflowRun>(&run.namespace);
        let preconditions = Preconditions { uid: object.uid(), resource_version: None };
        delete_exactly(&api, &run.name, preconditions, PropagationPolicy::Background).await?;
        tracing::info!(
            namespace = run.namespace,
            run = run.name,
            "deleted duplicate WorkflowRun: the schedule already started this slot"
        );
        Ok(SOON)
    }

    async fn refuse(&self, object: &WorkflowRun, refusal: Refusal) -> Result<Requeue, Problem> {
        let now = self.context.clock.now();
        let (code, message) = (refusal.code(), refusal.message());
        let next = status::refused(object.status.as_ref(), object.metadata.generation, code, message, now);
        self.write_status(object, &next).await?;
        user_actions::refuse_all(
            &self.context,
            &self.cache.user_actions.of(&RunRef::of(object)),
            refusal.of_user_action(),
            user_actions::ANSWERED,
        )
        .await?;
        Ok(Requeue::OnChange)
    }

    /// Says of a run that its journal was purged, when and by which setting.
    async fn show_purged(
        &self,
        observed: &Observed,
        object: Option<&WorkflowRun>,
        purged: &PurgedRun,
    ) -> Result<Requeue, Problem> {
        if let Some(object) = object {
            let now = self.context.clock.now();
            let next = status::purged(object.status.as_ref(), object.metadata.generation, purged, now);
            self.write_status(object, &next).await?;
        }
        let (actions, message) = (&observed.user_actions, purged.record.to_string());
        user_actions::refuse_all(&self.context, actions, UserActionReason::Purged, &message).await?;
        Ok(Requeue::OnChange)
    }

    async fn write_not_started(&self, object: &WorkflowRun, problem: &Problem) -> Result<(), Problem> {
        let (before, now) = (object.status.as_ref(), self.context.clock.now());
        let next: WorkflowRunStatus = status::not_started(before, object.metadata.generation, problem, now);
        self.write_status(object, &next).await
    }
}
