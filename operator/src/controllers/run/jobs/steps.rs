//! Does the steps of a plan.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::{Preconditions, PropagationPolicy};
use ntro_crds::Reason;
use ntro_crds::labels;
use ntro_crds::workflow_run::TriggerKind;
use ntro_journal::RunState;
use ntro_journal::failpoint;
use ntro_schedule::spec::jitter_of;

use super::plan::Step;
use crate::controllers::run::Runs;
use crate::controllers::run::validate::Open;
use crate::error::{Class, Problem};
use crate::k8s::{Created, create_once, delete_exactly};
use crate::metrics::Started;

impl Runs {
    /// Does one step; says whether the journal, or what is known of the Jobs, has changed by it.
    pub(super) async fn apply_step(&self, open: &Open, state: &RunState, step: Step) -> Result<bool, Problem> {
        let (journal, run_id) = (&self.context.journal, state.run_id);
        match step {
            Step::JobLost { segment } => {
                journal.job_gone(run_id, segment).await?;
                Ok(true)
            }
            Step::Evicted { segment } => {
                journal.evicted(run_id, segment).await?;
                Ok(true)
            }
            Step::Outage { segment } => {
                journal.outage(run_id, segment).await?;
                Ok(true)
            }
            Step::CreateJob { segment } => {
                self.create_job(open, state, segment).await?;
                Ok(true)
            }
            Step::RecordJob { segment, name, uid, template_hash } => {
                journal.job_recorded(run_id, segment, &name, &uid, &template_hash).await?;
                Ok(true)
            }
            Step::DeleteJob { name, uid } => {
                let api = self.context.kube.namespaced::<Job>(&open.run.namespace);
                let preconditions = Preconditions { uid: Some(uid), resource_version: None };
                delete_exactly(&api, &name, preconditions, PropagationPolicy::Foreground).await?;
                Ok(false)
            }
            Step::Block { code } => {
                journal.block(run_id, code).await?;
                Ok(true)
            }
            Step::NameTaken { name } => Err(Problem::new(
                Class::Waiting { after: Duration::from_secs(30) },
                Reason::JobNameTaken,
                format!(
                    "Job {}/{name} already exists and is not controlled by this run; delete it to continue",
                    open.run.namespace
                ),
            )),
        }
    }

    async fn create_job(&self, open: &Open, state: &RunState, segment: u32) -> Result<(), Problem> {
        let job = self.build_job(open, state, segment);
        failpoint::hit("job-create-before");
        let created = create_once(&self.context.kube.client, &job).await?;
        failpoint::hit("job-create-after");
        let created = match created {
            Created::New(created) => created,
            // The next plan decides whose it is.
            Created::Existing(found) => {
                self.cache.jobs.put(open.run.clone(), found);
                return Ok(());
            }
        };
        self.cache.jobs.put(open.run.clone(), created.clone());
        self.observe_skew(open, segment);
        let (name, uid) = (created.name_any(), created.uid().unwrap_or_default());
        let hash = created.annotations().get(labels::TEMPLATE_HASH).cloned().unwrap_or_default();
        self.context.journal.job_recorded(state.run_id, segment, &name, &uid, &hash).await?;
        Ok(())
    }

    /// Notes how much later than it was due the first Job of a scheduled run was created, unless it had to wait for its turn.
    fn observe_skew(&self, open: &Open, segment: u32) {
        let object = &open.object;
        let trigger = &object.spec.request.trigger;
        let punctual =
            segment == 1 && trigger.kind == TriggerKind::Schedule && !object.annotations().contains_key(labels::WAITED);
        let slot = trigger.scheduled_time.as_ref().filter(|_| punctual);
        let workflow = self.cache.workflow(&open.run.namespace, &object.spec.request.workflow_ref.name);
        if let (Some(slot), Some(workflow)) = (slot, workflow) {
            let due = slot.0.saturating_add(jitter_of(&workflow)).unwrap_or(slot.0);
            self.context.metrics.skew(Started::Job, self.context.clock.now().duration_since(due));
        }
    }
}
