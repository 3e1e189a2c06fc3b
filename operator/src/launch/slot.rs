//! Makes the runs of slots: the object a little before its slot or at it, ledger and journal only when the slot is due.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{Preconditions, PropagationPolicy};
use ntro_crds::admission::operator_user;
use ntro_crds::workflow_run::{Context as RunContext, Request, Trigger, TriggerKind, WorkflowRef};
use ntro_crds::{Workflow, WorkflowRun, labels};
use uuid::Uuid;

use super::decide::Due;
use super::facts::{RunFact, is_ahead};
use super::{Key, Workflows, validate};
use crate::controllers::act::problem;
use crate::controllers::run::RunKey;
use crate::controllers::run::admit::Admitted;
use crate::controllers::run::object::{run_object, slot_key};
use crate::controllers::run::objects::Known;
use crate::error::{Next, Problem, chain};
use crate::failpoint;
use crate::kube_ext::{Created, create_once, delete_exactly};
use crate::metrics::Started;

/// When a deletion that failed is tried again.
const DELETE_AGAIN: Duration = Duration::from_mins(1);

/// What came of a slot.
pub(super) enum Served {
    /// Its run exists.
    Run(Box<WorkflowRun>),
    /// Its run ended earlier, and its object is gone.
    Before,
    /// It gives no run.
    Taken,
}

/// What came of making a run.
enum Made {
    /// Its object was made just now.
    Object(Box<Created<WorkflowRun>>),
    /// Its object was there: it was made before the slot.
    Ahead(Arc<WorkflowRun>),
    /// It was not to be made.
    Not(Served),
}

impl Workflows {
    /// The runs of a Workflow: those that have begun, or are anybody's to begin, and those whose objects were made ahead.
    pub(super) async fn runs_of(&self, key: &Key, uid: &str) -> Result<(Vec<RunFact>, Vec<RunFact>), Problem> {
        let (mut runs, mut ahead) = (Vec::new(), Vec::new());
        for mut fact in self.runs.objects.facts(&key.0, &key.1, uid) {
            // A status may be long in coming: the ledger knows at once what has begun.
            if fact.ahead || !fact.begun {
                fact.begun = self.runs.journal.run_by_name(&key.0, &fact.name).await.map_err(problem)?.is_some();
                fact.ahead &= !fact.begun;
            }
            if fact.ahead { ahead.push(fact) } else { runs.push(fact) }
        }
        Ok((runs, ahead))
    }

    /// Makes the object of a slot to come. It is done again at the slot if it fails.
    pub(super) async fn make_ahead(
        &self,
        key: &Key,
        workflow: &Workflow,
        slot: Timestamp,
        period: &str,
    ) -> Result<(), Problem> {
        let run = slot_key(&key.0, &key.1, slot);
        let known = self.runs.journal.run_by_name(&run.namespace, &run.name).await.map_err(problem)?;
        if known.is_some() || !matches!(self.runs.objects.get(&run), Known::Missing) {
            return Ok(());
        }
        let request = self.request(key, slot, period);
        let mut object = run_object(&run, &request, &workflow.uid().unwrap_or_default(), Uuid::new_v4());
        object.annotations_mut().insert(labels::MADE_AHEAD.to_owned(), "true".to_owned());
        if let Created::New(made) = create_once(&self.runs.context.client, &object).await? {
            failpoint::hit("run-made-ahead");
            tracing::debug!(namespace = run.namespace, run = run.name, %slot, "made the object of a slot to come");
            self.runs.objects.put(made);
        }
        Ok(())
    }

    /// Deletes objects that were made ahead and will not be begun. One that cannot be deleted hinders nothing, as nobody begins
    /// it: it is tried again.
    pub(super) async fn delete_ahead(&self, key: &Key, names: impl Iterator<Item = &str> + Send) -> Next {
        let api = self.runs.context.namespaced::<WorkflowRun>(&key.0);
        let mut next = Next::OnChange;
        for name in names {
            let run = RunKey::new(&key.0, name);
            let Known::Open(object) = self.runs.objects.get(&run) else { continue };
            let preconditions = Preconditions { uid: object.uid(), resource_version: None };
            match delete_exactly(&api, name, preconditions, PropagationPolicy::Background).await {
                Ok(deleted) => {
                    self.runs.objects.forget(&run);
                    if deleted {
                        tracing::info!(
                            namespace = key.0,
                            run = name,
                            "deleted the object of a slot that will not be served"
                        );
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        namespace = key.0, run = name, error = %chain(&error),
                        "could not delete the object of a slot that will not be served"
                    );
                    next = Next::After(DELETE_AGAIN);
                }
            }
        }
        next
    }

    fn request(&self, key: &Key, slot: Timestamp, period: &str) -> Request {
        Request {
            workflow_ref: WorkflowRef { name: key.1.clone() },
            context: Some(RunContext { period: Some(period.to_owned()) }),
            trigger: Trigger {
                kind: TriggerKind::Schedule,
                initiator: operator_user(&self.runs.context.settings.namespace),
                scheduled_time: Some(Time(slot)),
                parent: None,
            },
        }
    }

    /// Starts the run of a slot: ledger and journal first, then the object, unless that was made ahead. Asked again, it finds what it made.
    pub(super) async fn start(
        &self,
        key: &Key,
        workflow: &Workflow,
        due: &Due,
        runs: &[RunFact],
    ) -> Result<Served, Problem> {
        let context = &self.runs.context;
        let run = slot_key(&key.0, &key.1, due.slot);
        if runs.iter().any(|fact| fact.name == run.name) {
            return Ok(Served::Taken);
        }
        let request = self.request(key, due.slot, &due.period);
        self.runs.about_to_make(&run);
        let made = self.make(&run, workflow, &request, due.waited).await;
        match &made {
            Ok(Made::Object(_)) => self.runs.just_made(run.clone()),
            Ok(Made::Ahead(_)) => self.runs.made_ahead(run.clone()),
            Ok(Made::Not(_)) | Err(_) => self.runs.not_made(run.clone()),
        }
        let (object, new) = match made? {
            Made::Object(made) => match *made {
                Created::New(object) => (object, true),
                Created::Existing(object) => (object, false),
            },
            Made::Ahead(object) => (object.as_ref().clone(), true),
            Made::Not(served) => return Ok(served),
        };
        failpoint::hit("slot-run-created");
        if new && !due.waited {
            let late = context.clock.now().duration_since(due.slot).saturating_sub(validate::jitter_of(workflow));
            context.metrics.skew(Started::Run, late);
        }
        tracing::info!(namespace = key.0, run = run.name, slot = %due.slot, "started the run of a slot");
        Ok(Served::Run(Box::new(object)))
    }

    /// Begins the journal of a run and makes its object.
    async fn make(&self, run: &RunKey, workflow: &Workflow, request: &Request, waited: bool) -> Result<Made, Problem> {
        let ahead = match self.runs.objects.get(run) {
            Known::Open(object) if is_ahead(&object) => Some(object),
            _ => None,
        };
        let named = ahead.as_ref().and_then(|object| object.labels().get(labels::RUN_ID)?.parse().ok());
        let run_id = match self.runs.admit(run, workflow, request, named.unwrap_or_else(Uuid::new_v4)).await? {
            Admitted::Open(run_id) => run_id,
            Admitted::AlreadyRan(_) => return Ok(Made::Not(Served::Before)),
            Admitted::Taken(_) => return Ok(Made::Not(Served::Taken)),
        };
        if let Some(object) = ahead {
            return Ok(Made::Ahead(object));
        }
        let mut object = run_object(run, request, &workflow.uid().unwrap_or_default(), run_id);
        if waited {
            object.annotations_mut().insert(labels::WAITED.to_owned(), "true".to_owned());
        }
        let made = create_once(&self.runs.context.client, &object).await?;
        let (Created::New(object) | Created::Existing(object)) = &made;
        // The watch will show it; the first Job need not wait for that.
        self.runs.objects.put(object.clone());
        Ok(Made::Object(Box::new(made)))
    }
}
