//! The Jobs of a run, one for each of its segments: does what the plan says.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, Preconditions, PropagationPolicy};
use ntro_crds::workflow_run::{Pin, TriggerKind};
use ntro_crds::{WorkflowRun, labels};
use ntro_journal::RunState;

use super::job::{self, JobInput};
use super::plan::{self, JobView, Limits, PodView, Step, View};
use super::{RunKey, Runs};
use crate::controllers::act::problem;
use crate::controllers::workflow::validate::jitter_of;
use crate::error::{Class, Next, Problem};
use crate::failpoint;
use crate::kube_ext::{Created, create_once, delete_exactly};
use crate::metrics::Started;

/// Jobs and pods of a run.
struct Seen {
    jobs: Vec<JobView>,
    pods: Vec<PodView>,
}

impl Runs {
    /// Does what the plan says until it says nothing new.
    pub(super) async fn jobs(
        &self,
        key: &RunKey,
        object: &WorkflowRun,
        state: &RunState,
        pin: &Pin,
    ) -> Result<Next, Problem> {
        let mut state = Arc::new(state.clone());
        let mut next = Next::OnChange;
        // Each step changes what the next plan sees; three rounds are the longest chain (gone, create, record).
        for _ in 0..4 {
            let seen = self.seen(key);
            let mut plan = self.plan(key, object, &state, pin, &seen);
            // What the watches show may lag: before anything is given up or made anew, the API server itself is asked.
            if plan.steps.iter().any(Step::is_grave) {
                plan = self.plan(key, object, &state, pin, &self.look(key).await?);
            }
            next = plan.next;
            let mut again = false;
            for step in plan.steps {
                again |= self.apply(key, object, &state, pin, step).await?;
            }
            if !again {
                break;
            }
            state = self.journal.state(state.run_id).await.map_err(problem)?;
        }
        Ok(next)
    }

    fn plan(&self, key: &RunKey, object: &WorkflowRun, state: &RunState, pin: &Pin, seen: &Seen) -> plan::Plan {
        let run_uid = object.uid().unwrap_or_default();
        let wanted = state.wanted().map(|wanted| self.build(key, object, state, pin, wanted.segment));
        let wanted_job = wanted.as_ref().map(|job| {
            let hash = job.annotations().get(labels::TEMPLATE_HASH).map(String::as_str).unwrap_or_default();
            (job.metadata.name.as_deref().unwrap_or_default(), hash)
        });
        let workflow = self.workflow(&key.namespace, &state.workflow.name);
        plan::plan(&View {
            state,
            run_uid: &run_uid,
            wanted_job,
            jobs: &seen.jobs,
            pods: &seen.pods,
            limits: workflow.map(|workflow| Limits::of(&workflow.spec)).unwrap_or_default(),
            now: self.context.clock.now(),
        })
    }

    /// The Jobs and pods of a run as the watches show them.
    fn seen(&self, key: &RunKey) -> Seen {
        let now = self.context.clock.now();
        Seen {
            jobs: self.jobs.of(key).iter().filter_map(|job| plan::job_view(job)).collect(),
            pods: self.pods.of(key).iter().filter_map(|pod| plan::pod_view(pod, now)).collect(),
        }
    }

    /// The same, read from the API server.
    async fn look(&self, key: &RunKey) -> Result<Seen, Problem> {
        let (now, params) =
            (self.context.clock.now(), ListParams::default().labels(&format!("{}={}", labels::RUN, key.name)));
        let jobs = self.context.namespaced::<Job>(&key.namespace).list(&params).await?;
        let pods = self.context.namespaced::<Pod>(&key.namespace).list(&params).await?;
        Ok(Seen {
            jobs: jobs.iter().filter_map(plan::job_view).collect(),
            pods: pods.iter().filter_map(|pod| plan::pod_view(pod, now)).collect(),
        })
    }

    fn build(&self, key: &RunKey, object: &WorkflowRun, state: &RunState, pin: &Pin, segment: u32) -> Job {
        let settings = &self.context.settings;
        let (service, port) = (&settings.service_name, settings.service_port);
        job::build(&JobInput {
            namespace: &key.namespace,
            run: &key.name,
            run_uid: &object.uid().unwrap_or_default(),
            run_id: &state.run_id.to_string(),
            workflow: &state.workflow.name,
            segment,
            pin,
            api_url: &format!("https://{service}.{}.svc:{port}", settings.namespace),
            outage_wait: settings.outage_wait,
            allow_no_landlock: settings.allow_no_landlock,
        })
    }

    /// Does one step; says whether the journal has changed by it.
    async fn apply(
        &self,
        key: &RunKey,
        object: &WorkflowRun,
        state: &RunState,
        pin: &Pin,
        step: Step,
    ) -> Result<bool, Problem> {
        let api = self.context.namespaced::<Job>(&key.namespace);
        match step {
            Step::JobGone { segment } => {
                self.journal.job_gone(state.run_id, segment).await.map_err(problem)?;
                Ok(true)
            }
            Step::Evicted { segment } => {
                self.journal.evicted(state.run_id, segment).await.map_err(problem)?;
                Ok(true)
            }
            Step::CreateJob { segment } => {
                let job = self.build(key, object, state, pin, segment);
                failpoint::hit("job-create-before");
                let made = create_once(&self.context.client, &job).await?;
                failpoint::hit("job-create-after");
                let made = match made {
                    Created::New(made) => made,
                    // The next plan judges whose it is.
                    Created::Existing(found) => {
                        self.jobs.put(key.clone(), found);
                        return Ok(true);
                    }
                };
                self.jobs.put(key.clone(), made.clone());
                self.started(object, segment);
                let (name, uid) = (made.name_any(), made.uid().unwrap_or_default());
                let hash = made.annotations().get(labels::TEMPLATE_HASH).cloned().unwrap_or_default();
                self.journal.job_recorded(state.run_id, segment, &name, &uid, &hash).await.map_err(problem)?;
                Ok(true)
            }
            Step::RecordJob { segment, name, uid, template_hash } => {
                self.journal.job_recorded(state.run_id, segment, &name, &uid, &template_hash).await.map_err(problem)?;
                Ok(true)
            }
            Step::DeleteJob { name, uid } => {
                let preconditions = Preconditions { uid: Some(uid), resource_version: None };
                delete_exactly(&api, &name, preconditions, PropagationPolicy::Foreground).await?;
                Ok(false)
            }
            Step::Block { code } => {
                self.journal.block(state.run_id, code).await.map_err(problem)?;
                Ok(true)
            }
            Step::NameTaken { name } => Err(Problem {
                class: Class::Waiting { after: Duration::from_secs(30) },
                reason: "JobNameTaken",
                message: format!("Job {}/{name} is not ours: delete it, the run needs its name", key.namespace),
            }),
        }
    }

    /// Notes how much later than it was due the first Job of a scheduled run was made, unless it had to wait for its turn.
    fn started(&self, object: &WorkflowRun, segment: u32) {
        let trigger = &object.spec.request.trigger;
        let punctual =
            segment == 1 && trigger.kind == TriggerKind::Schedule && !object.annotations().contains_key(labels::WAITED);
        let slot = trigger.scheduled_time.as_ref().filter(|_| punctual);
        let namespace = object.namespace().unwrap_or_default();
        let workflow = self.workflow(&namespace, &object.spec.request.workflow_ref.name);
        if let (Some(slot), Some(workflow)) = (slot, workflow) {
            let due = slot.0.saturating_add(jitter_of(&workflow)).unwrap_or(slot.0);
            self.context.metrics.skew(Started::Job, self.context.clock.now().duration_since(due));
        }
    }
}
