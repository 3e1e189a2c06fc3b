//! The Jobs of a run, one for each of its segments.

#[cfg(test)]
mod model;
mod plan;
mod steps;
mod template;
mod views;

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use ntro_crds::labels;
use ntro_journal::RunState;

use super::Runs;
use super::validate::Open;
use crate::cache::RunRef;
use crate::error::{Problem, Requeue};
use plan::{Deadlines, Plan, Step, View};
use template::JobInput;
use views::{JobView, PodView};

/// Each step changes what the next plan sees; three rounds are the longest chain (lost, create, record).
const ROUNDS: usize = 4;

/// Jobs and pods of a run.
struct Seen {
    jobs: Vec<JobView>,
    pods: Vec<PodView>,
}

impl Runs {
    /// Does what the plan says until it says nothing new.
    pub(super) async fn follow_jobs(&self, open: &Open) -> Result<Requeue, Problem> {
        let mut state = Arc::clone(&open.state);
        let mut requeue = Requeue::OnChange;
        for _ in 0..ROUNDS {
            let mut plan = self.plan(open, &state, &self.list_cached(&open.run));
            // The watches may lag: before anything is given up or made anew, the API server itself is asked. It costs two
            // lists, and only where something ends.
            if plan.steps.iter().any(Step::is_destructive) {
                plan = self.plan(open, &state, &self.list_live(&open.run).await?);
            }
            requeue = plan.requeue;
            let mut journal_changed = false;
            for step in plan.steps {
                journal_changed |= self.apply_step(open, &state, step).await?;
            }
            if !journal_changed {
                break;
            }
            state = self.context.journal.state(state.run_id).await?;
        }
        Ok(requeue)
    }

    /// Whether anything of the run is alive, as the watch shows it.
    pub(super) fn has_live_pods(&self, run: &RunRef) -> bool {
        self.list_cached(run).pods.iter().any(|pod| pod.alive)
    }

    fn plan(&self, open: &Open, state: &RunState, seen: &Seen) -> Plan {
        let run_uid = open.object.uid().unwrap_or_default();
        let wanted = state.wanted().map(|wanted| self.build_job(open, state, wanted.segment));
        let wanted_job = wanted.as_ref().map(|job| {
            let hash = job.annotations().get(labels::TEMPLATE_HASH).map(String::as_str).unwrap_or_default();
            (job.metadata.name.as_deref().unwrap_or_default(), hash)
        });
        let workflow = self.cache.workflow(&open.run.namespace, &state.workflow.name);
        plan::plan(&View {
            state,
            run_uid: &run_uid,
            wanted_job,
            jobs: &seen.jobs,
            pods: &seen.pods,
            deadlines: workflow.map(|workflow| Deadlines::of(&workflow.spec)).unwrap_or_default(),
            now: self.context.clock.now(),
        })
    }

    /// As the watches show them.
    fn list_cached(&self, run: &RunRef) -> Seen {
        let now = self.context.clock.now();
        Seen {
            jobs: self.cache.jobs.of(run).iter().filter_map(|job| views::job_view(job)).collect(),
            pods: self.cache.pods.of(run).iter().filter_map(|pod| views::pod_view(pod, now)).collect(),
        }
    }

    /// As the API server has them.
    async fn list_live(&self, run: &RunRef) -> Result<Seen, Problem> {
        let now = self.context.clock.now();
        let params = ListParams::default().labels(&format!("{}={}", labels::RUN, run.name));
        let jobs = self.context.kube.namespaced::<Job>(&run.namespace).list(&params).await?;
        let pods = self.context.kube.namespaced::<Pod>(&run.namespace).list(&params).await?;
        Ok(Seen {
            jobs: jobs.iter().filter_map(views::job_view).collect(),
            pods: pods.iter().filter_map(|pod| views::pod_view(pod, now)).collect(),
        })
    }

    fn build_job(&self, open: &Open, state: &RunState, segment: u32) -> Job {
        let settings = &self.context.settings;
        let (service, port) = (&settings.service_name, settings.service_port);
        template::build(&JobInput {
            namespace: &open.run.namespace,
            run: &open.run.name,
            run_uid: &open.object.uid().unwrap_or_default(),
            run_id: &state.run_id.to_string(),
            workflow: &state.workflow.name,
            segment,
            pin: &open.pin,
            api_url: &format!("https://{service}.{}.svc:{port}", settings.namespace),
            outage_wait: settings.outage_wait,
            allow_no_landlock: settings.allow_no_landlock,
        })
    }
}
