//! What is to be done about a run's Jobs. Pure: the journal's state, the Jobs and pods seen, and the time in; steps out.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use ntro_crds::labels;
use ntro_journal::RunState;
use ntro_journal::machine::SegmentState;

use crate::error::Next;

/// A pod that has handed the run over ends by itself within its linger and grace; this long after, its Job is ended for it.
const LEAVE: SignedDuration = SignedDuration::from_secs(60);

/// A Job of the run, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The segment it executes.
    pub segment: u32,
    /// UID of the WorkflowRun that owns it.
    pub owner: String,
    /// Hash of the template it was made from.
    pub template_hash: String,
    /// It is Complete or Failed.
    pub finished: bool,
    /// It is being deleted.
    pub deleting: bool,
}

/// A pod of the run, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its UID.
    pub uid: String,
    /// UID of its Job.
    pub job_uid: String,
    /// It is neither Succeeded nor Failed.
    pub alive: bool,
}

/// Everything the plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The journal.
    pub state: &'a RunState,
    /// UID of the WorkflowRun.
    pub run_uid: &'a str,
    /// The name of the Job that the wanted segment would have, and its template's hash.
    pub wanted_job: Option<(&'a str, &'a str)>,
    /// The Jobs seen.
    pub jobs: &'a [JobView],
    /// The pods seen.
    pub pods: &'a [PodView],
    /// The time.
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Tell the journal that the Job of the current segment and its pods are gone.
    JobGone {
        /// The segment.
        segment: u32,
    },
    /// Make the Job of a segment.
    CreateJob {
        /// The segment.
        segment: u32,
    },
    /// Tell the journal that this Job is the one of the wanted segment.
    RecordJob {
        /// The segment.
        segment: u32,
        /// Name of the Job.
        name: String,
        /// UID of the Job.
        uid: String,
        /// Hash of its template.
        template_hash: String,
    },
    /// Delete a Job and its pods.
    DeleteJob {
        /// Name of the Job.
        name: String,
        /// UID of the Job.
        uid: String,
    },
    /// A Job that is not ours has the name of the wanted one.
    NameTaken {
        /// The name.
        name: String,
    },
}

/// The steps, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// When to look again at the latest.
    pub next: Next,
}

/// Reads a Job.
pub fn job_view(job: &Job) -> Option<JobView> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ended = |c: &&k8s_openapi::api::batch::v1::JobCondition| {
        c.status == "True" && (c.type_ == "Complete" || c.type_ == "Failed")
    };
    let owner =
        job.owner_references().iter().find(|owner| owner.kind == "WorkflowRun" && owner.controller == Some(true));
    Some(JobView {
        name: job.name_any(),
        uid: job.uid()?,
        segment: job.labels().get(labels::SEGMENT)?.parse().ok()?,
        owner: owner.map(|owner| owner.uid.clone()).unwrap_or_default(),
        template_hash: job.annotations().get(labels::TEMPLATE_HASH).cloned().unwrap_or_default(),
        finished: conditions.iter().any(|c| ended(&c)),
        deleting: job.metadata.deletion_timestamp.is_some(),
    })
}

/// Reads a pod.
pub fn pod_view(pod: &Pod) -> Option<PodView> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let job = pod.owner_references().iter().find(|owner| owner.kind == "Job" && owner.controller == Some(true))?;
    Some(PodView { uid: pod.uid()?, job_uid: job.uid.clone(), alive: !matches!(phase, Some("Succeeded" | "Failed")) })
}

/// What is to be done.
pub fn plan(view: &View<'_>) -> Plan {
    let mut plan = Plan { steps: Vec::new(), next: Next::OnChange };
    match &view.state.segment_state {
        SegmentState::Queued => queued(view, &mut plan),
        SegmentState::Held(holder) => {
            let here = view.pods.iter().any(|pod| pod.uid == holder.pod_uid && pod.alive);
            if !here {
                plan.steps.push(Step::JobGone { segment: holder.segment });
            }
        }
        SegmentState::Wanted(wanted) => match view.wanted_job {
            Some(job) => self::wanted(view, wanted.segment, wanted.not_before, job, &mut plan),
            None => {
                end_older(view, &mut plan);
            }
        },
        SegmentState::Over => {
            end_older(view, &mut plan);
        }
    }
    prune(view, &mut plan);
    plan
}

/// A Job without a pod that attached: gone if it is finished or not there, and none of its pods lives.
fn queued(view: &View<'_>, plan: &mut Plan) {
    let Some(job) = view.state.current_job() else { return };
    let seen = view.jobs.iter().find(|j| j.uid == job.uid);
    let pods_live = view.pods.iter().any(|pod| pod.job_uid == job.uid && pod.alive);
    if !pods_live && seen.is_none_or(|j| j.finished || j.deleting) {
        plan.steps.push(Step::JobGone { segment: job.segment });
    }
}

/// Makes the wanted Job, or takes up the one made before a crash, once nothing of an earlier segment lives.
fn wanted(view: &View<'_>, segment: u32, not_before: Timestamp, (name, hash): (&str, &str), plan: &mut Plan) {
    if let Some(found) = view.jobs.iter().find(|job| job.name == name) {
        let ours = found.owner == view.run_uid && found.template_hash == hash;
        plan.steps.push(if found.deleting {
            plan.next = Next::After(Duration::from_secs(5));
            return;
        } else if ours {
            Step::RecordJob { segment, name: name.to_owned(), uid: found.uid.clone(), template_hash: hash.to_owned() }
        } else if found.owner == view.run_uid {
            // Made by an earlier release of the operator and never recorded: its pod was never let in.
            Step::DeleteJob { name: found.name.clone(), uid: found.uid.clone() }
        } else {
            Step::NameTaken { name: name.to_owned() }
        });
        return;
    }
    if end_older(view, plan) {
        return;
    }
    if not_before > view.now {
        plan.next = Next::After(until(view.now, not_before));
        return;
    }
    plan.steps.push(Step::CreateJob { segment });
}

/// Ends what still lives of earlier segments; says whether anything does.
fn end_older(view: &View<'_>, plan: &mut Plan) -> bool {
    let live_pod = |job: &JobView| view.pods.iter().any(|pod| pod.job_uid == job.uid && pod.alive);
    let alive: Vec<_> = view.jobs.iter().filter(|job| !job.finished || live_pod(job)).collect();
    let orphan = view.pods.iter().any(|pod| pod.alive && !view.jobs.iter().any(|job| job.uid == pod.job_uid));
    if alive.is_empty() {
        if orphan {
            plan.next = Next::After(Duration::from_secs(5));
        }
        return orphan;
    }
    // Who handed the run over leaves by itself; who lost it, or was asked to stop, is stopped.
    use ntro_journal::protocol::ReleaseCause::{Cancelled, LeaseExpired, PodGone};
    let lost = view.state.last_release.is_none_or(|cause| matches!(cause, Cancelled | LeaseExpired | PodGone))
        || view.state.cancel_requested.is_some();
    let since = view.now.duration_since(view.state.head_time);
    if lost || since > LEAVE {
        for job in alive.iter().filter(|job| !job.deleting) {
            plan.steps.push(Step::DeleteJob { name: job.name.clone(), uid: job.uid.clone() });
        }
        plan.next = Next::After(Duration::from_secs(5));
    } else {
        plan.next = Next::After(Duration::try_from(LEAVE - since).unwrap_or_default() + Duration::from_secs(1));
    }
    true
}

/// Finished Jobs of earlier segments go; the last one stays, for people to look at.
fn prune(view: &View<'_>, plan: &mut Plan) {
    let last = view.jobs.iter().map(|job| job.segment).max().unwrap_or_default();
    for job in view.jobs.iter().filter(|job| job.segment < last && job.finished && !job.deleting) {
        plan.steps.push(Step::DeleteJob { name: job.name.clone(), uid: job.uid.clone() });
    }
}

/// From `now` until `then`, at least a moment.
pub fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default().max(Duration::from_millis(10))
}
