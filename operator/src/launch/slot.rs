//! Launches the runs of slots: the object a little before its slot or at it, claim and journal only when the slot is due.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{Preconditions, PropagationPolicy};
use ntro_crds::workflow_run::{Request, RunContext, Trigger, TriggerKind, WorkflowRef};
use ntro_crds::{Workflow, WorkflowRun, labels};
use ntro_journal::failpoint;
use ntro_manifests::admission::operator_user;
use ntro_schedule::spec::jitter_of;
use uuid::Uuid;

use super::run_object::{self, slot_run_ref};
use super::{Admitted, Launcher};
use crate::cache::{Lookup, RunRef, is_precreated};
use crate::error::{Problem, Requeue, chain};
use crate::k8s::{Created, create_once, delete_exactly};
use crate::metrics::Started;

/// When a deletion that failed is tried again.
const DELETE_RETRY: Duration = Duration::from_mins(1);

/// The run of a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotRun<'a> {
    pub workflow: &'a Workflow,
    pub slot: Timestamp,
    /// The accounting period it is for.
    pub period: &'a str,
    /// It waited for its turn: that it starts late says nothing about the cluster.
    pub waited: bool,
}

impl SlotRun<'_> {
    pub(crate) fn run_ref(&self) -> RunRef {
        slot_run_ref(&self.workflow.namespace().unwrap_or_default(), &self.workflow.name_any(), self.slot)
    }

    fn workflow_uid(&self) -> String {
        self.workflow.uid().unwrap_or_default()
    }
}

/// What came of a slot.
#[derive(Debug)]
pub(crate) enum SlotOutcome {
    /// Its run exists.
    Run(Box<WorkflowRun>),
    /// Its run ended earlier, and its object is gone.
    AlreadyRan,
    /// It gives no run: its name belongs to another one.
    NameTaken,
}

/// What came of the object of a run that was to be launched.
enum Outcome {
    Created(WorkflowRun),
    /// It was there, not by precreation: an earlier reconcile created it.
    Existing(WorkflowRun),
    Precreated(Arc<WorkflowRun>),
    /// There is to be none.
    NoObject(SlotOutcome),
}

impl Launcher {
    /// Creates the object of a slot to come. If it fails, the object is created at the slot.
    pub(crate) async fn precreate(&self, slot_run: &SlotRun<'_>) -> Result<(), Problem> {
        let run = slot_run.run_ref();
        let claimed = self.context.run_by_name(&run.namespace, &run.name).await?;
        if claimed.is_some() || !matches!(self.cache.runs.get(&run), Lookup::Missing) {
            return Ok(());
        }
        let request = self.build_request(slot_run);
        let mut object = run_object::build(&run, &request, &slot_run.workflow_uid(), Uuid::new_v4());
        object.annotations_mut().insert(labels::PRECREATED.to_owned(), "true".to_owned());
        if let Created::New(created) = create_once(&self.context.kube.client, &object).await? {
            failpoint::hit("run-precreated");
            tracing::debug!(namespace = run.namespace, run = run.name, slot = %slot_run.slot, "precreated a WorkflowRun");
            self.cache.runs.put(created);
        }
        Ok(())
    }

    /// Deletes precreated objects whose slots give no run. A failed delete is harmless, as a precreated object is never started
    /// on its own; it is retried.
    pub(crate) async fn delete_precreated(&self, namespace: &str, names: impl Iterator<Item = &str> + Send) -> Requeue {
        let api = self.context.kube.namespaced::<WorkflowRun>(namespace);
        let mut requeue = Requeue::OnChange;
        for name in names {
            let run = RunRef::new(namespace, name);
            let Lookup::Unfinished(object) = self.cache.runs.get(&run) else { continue };
            let preconditions = Preconditions { uid: object.uid(), resource_version: None };
            match delete_exactly(&api, name, preconditions, PropagationPolicy::Background).await {
                Ok(deleted) => {
                    self.cache.runs.forget(&run);
                    if deleted {
                        tracing::info!(
                            namespace,
                            run = name,
                            "deleted a precreated WorkflowRun: its slot will not be served"
                        );
                    }
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(namespace, run = name, error, "could not delete a precreated WorkflowRun");
                    requeue = Requeue::After(DELETE_RETRY);
                }
            }
        }
        requeue
    }

    /// Launches the run of a slot: claim and journal first, then the object, unless that was precreated. Asked again, it finds
    /// what it created. The first Job follows when the burst releases it.
    pub(crate) async fn launch(&self, slot_run: &SlotRun<'_>) -> Result<SlotOutcome, Problem> {
        let run = slot_run.run_ref();
        let launch = self.burst.begin(&run);
        let outcome = self.begin(&run, slot_run).await;
        match &outcome {
            Ok(Outcome::Created(_) | Outcome::Existing(_)) => launch.created(),
            Ok(Outcome::Precreated(_)) => launch.adopted(),
            Ok(Outcome::NoObject(_)) | Err(_) => launch.cancelled(),
        }
        let (object, new) = match outcome? {
            Outcome::Created(object) => (object, true),
            Outcome::Existing(object) => (object, false),
            Outcome::Precreated(object) => (object.as_ref().clone(), true),
            Outcome::NoObject(served) => return Ok(served),
        };
        failpoint::hit("slot-run-created");
        if new && !slot_run.waited {
            let late = self.context.clock.now().duration_since(slot_run.slot);
            self.context.metrics.skew(Started::Run, late.saturating_sub(jitter_of(slot_run.workflow)));
        }
        if new {
            tracing::info!(namespace = run.namespace, run = run.name, slot = %slot_run.slot, "launched run");
        } else {
            tracing::debug!(namespace = run.namespace, run = run.name, slot = %slot_run.slot, "run already launched");
        }
        Ok(SlotOutcome::Run(Box::new(object)))
    }

    /// Begins the journal of a run and creates its object.
    async fn begin(&self, run: &RunRef, slot_run: &SlotRun<'_>) -> Result<Outcome, Problem> {
        let precreated = match self.cache.runs.get(run) {
            Lookup::Unfinished(object) if is_precreated(&object) => Some(object),
            _ => None,
        };
        let request = self.build_request(slot_run);
        let named = precreated.as_ref().and_then(|object| object.labels().get(labels::RUN_ID)?.parse().ok());
        let run_id = named.unwrap_or_else(Uuid::new_v4);
        let run_id = match self.admit(run, slot_run.workflow, &request, run_id).await? {
            Admitted::Journaled(run_id) => run_id,
            Admitted::AlreadyRan(_) => return Ok(Outcome::NoObject(SlotOutcome::AlreadyRan)),
            Admitted::NameTaken(_) => return Ok(Outcome::NoObject(SlotOutcome::NameTaken)),
        };
        if let Some(object) = precreated {
            return Ok(Outcome::Precreated(object));
        }
        let mut object = run_object::build(run, &request, &slot_run.workflow_uid(), run_id);
        if slot_run.waited {
            object.annotations_mut().insert(labels::WAITED.to_owned(), "true".to_owned());
        }
        let created = create_once(&self.context.kube.client, &object).await?;
        let (Created::New(object) | Created::Existing(object)) = &created;
        // The watch will show it; the first Job need not wait for that.
        self.cache.runs.put(object.clone());
        Ok(match created {
            Created::New(object) => Outcome::Created(object),
            Created::Existing(object) => Outcome::Existing(object),
        })
    }

    fn build_request(&self, slot_run: &SlotRun<'_>) -> Request {
        Request {
            workflow_ref: WorkflowRef { name: slot_run.workflow.name_any() },
            context: Some(RunContext { period: Some(slot_run.period.to_owned()) }),
            trigger: Trigger {
                kind: TriggerKind::Schedule,
                initiator: operator_user(&self.context.settings.namespace),
                scheduled_time: Some(Time(slot_run.slot)),
                parent: None,
            },
        }
    }
}
