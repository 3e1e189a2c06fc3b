//! Jobs and pods, as far as they matter to the plan. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use ntro_crds::labels;

use super::template::RUNNER;

/// A pod that should have been gone this long ago is on a node that does not answer. It is fenced, so the run goes on.
const OVERDUE: SignedDuration = SignedDuration::from_secs(60);

/// A Job of the run, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobView {
    pub name: String,
    pub uid: String,
    /// The segment it executes.
    pub segment: u32,
    /// UID of the `WorkflowRun` that owns it.
    pub owner: String,
    /// Hash of the template it was made from.
    pub template_hash: String,
    /// It is Complete or Failed.
    pub finished: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// A queue holds it back: it is suspended, since when.
    pub suspended: Option<Timestamp>,
    /// When it was made, or let go by a queue.
    pub since: Option<Timestamp>,
}

/// A pod of the run, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodView {
    pub uid: String,
    pub job_uid: String,
    /// It is neither Succeeded nor Failed, and not lost.
    pub alive: bool,
    /// It was deleted and its node never said that it is gone.
    pub lost: bool,
    /// It is being deleted.
    pub ending: bool,
    /// Its container runs, since when.
    pub running: Option<Timestamp>,
    /// What its container has ended with.
    pub exit: Option<i32>,
}

/// The runner's exit code after it could not reach the operator (docs/protocol.md, section 9).
const EXIT_OUTAGE: i32 = 75;

impl PodView {
    /// It has left because it could not reach the operator.
    pub(super) fn left_for_outage(&self) -> bool {
        self.exit == Some(EXIT_OUTAGE)
    }
}

/// Reads a Job.
pub(super) fn job_view(job: &Job) -> Option<JobView> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ended = |c: &&JobCondition| c.status == "True" && (c.type_ == "Complete" || c.type_ == "Failed");
    let held_back = job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
    let created = job.metadata.creation_timestamp.as_ref().map(|time| time.0);
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
        suspended: held_back.then(|| since(job, "Suspended").or(created)).flatten(),
        since: job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0).or(created),
    })
}

/// Since when a condition of a Job holds.
fn since(job: &Job, condition: &str) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    let found = conditions.iter().find(|c| c.type_ == condition && c.status == "True")?;
    found.last_transition_time.as_ref().map(|time| time.0)
}

/// Reads a pod.
pub(super) fn pod_view(pod: &Pod, now: Timestamp) -> Option<PodView> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let over = matches!(phase, Some("Succeeded" | "Failed"));
    // The API server writes here when the pod's grace is over, not when it was deleted.
    let gone_by = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let lost = !over && gone_by.is_some_and(|by| now.duration_since(by) > OVERDUE);
    let job = pod.owner_references().iter().find(|owner| owner.kind == "Job" && owner.controller == Some(true))?;
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let started = statuses.iter().filter_map(|status| status.state.as_ref()?.running.as_ref()?.started_at.as_ref());
    Some(PodView {
        uid: pod.uid()?,
        job_uid: job.uid.clone(),
        alive: !over && !lost,
        lost,
        ending: gone_by.is_some(),
        running: started.map(|time| time.0).min(),
        exit: statuses
            .iter()
            .filter(|status| status.name == RUNNER)
            .find_map(|status| Some(status.state.as_ref()?.terminated.as_ref()?.exit_code)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::runs::at;

    #[test]
    fn a_pod_that_should_have_been_gone_long_ago_is_lost() {
        let made = |phase: &str, gone_by: Option<i64>| -> Pod {
            serde_json::from_value(serde_json::json!({
                "metadata": {
                    "uid": "p", "deletionTimestamp": gone_by.map(|n| at(n).to_string()),
                    "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": true}],
                },
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        let view = |phase, gone_by| pod_view(&made(phase, gone_by), at(100)).map(|pod| (pod.alive, pod.lost)).unwrap();
        assert_eq!(view("Running", None), (true, false));
        assert_eq!(view("Running", Some(90)), (true, false));
        assert_eq!(view("Running", Some(10)), (false, true));
        assert_eq!(view("Failed", Some(10)), (false, false));
    }
}
