//! What is to be done about a run's Jobs. Pure: the journal's state, the Jobs and pods seen, and the time in; steps out.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ntro_crds::workflow::WorkflowSpec;
use ntro_journal::RunState;
use ntro_journal::machine::SegmentState;
use ntro_journal::protocol::{BlockCode, ReleaseCause};

use super::views::{JobView, PodView};
use crate::error::Requeue;

/// A pod that has handed the run over ends by itself within its linger and grace; this long after, its Job is ended for it.
const LEAVE: SignedDuration = SignedDuration::from_secs(60);
/// How long the Job controller is given to see that the pods of a Job are over, so that its verdict and their logs stay.
const VERDICT: SignedDuration = SignedDuration::from_secs(10);

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadlines {
    /// A Job in a queue.
    pub queue: Option<SignedDuration>,
    /// A pod on its way.
    pub pending: SignedDuration,
    /// A pod at work.
    pub run: Option<SignedDuration>,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { queue: None, pending: SignedDuration::from_mins(15), run: None }
    }
}

impl Deadlines {
    /// The deadlines a Workflow sets. They hold for runs under way as well.
    pub(super) fn of(spec: &WorkflowSpec) -> Self {
        let seconds = |said: Option<i64>| said.map(SignedDuration::from_secs);
        Self {
            queue: seconds(spec.queue_deadline_seconds),
            pending: seconds(spec.pending_deadline_seconds).unwrap_or(Self::default().pending),
            run: seconds(spec.run_deadline_seconds),
        }
    }
}

/// Everything the plan depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// The journal.
    pub state: &'a RunState,
    /// UID of the `WorkflowRun`.
    pub run_uid: &'a str,
    /// The name of the Job that the wanted segment would have, and its template's hash.
    pub wanted_job: Option<(&'a str, &'a str)>,
    /// The Jobs seen.
    pub jobs: &'a [JobView],
    /// The pods seen.
    pub pods: &'a [PodView],
    /// How long things may take.
    pub deadlines: Deadlines,
    /// The time.
    pub now: Timestamp,
}

impl View<'_> {
    fn has_pod(&self, job_uid: &str, which: impl Fn(&PodView) -> bool) -> bool {
        self.pods.iter().any(|pod| pod.job_uid == job_uid && which(pod))
    }

    /// Whether anything of a Job may still execute. What is left of a deleted one on a lost node may, but is fenced.
    fn lives(&self, job: &JobView) -> bool {
        let lost = job.deleting && self.has_pod(&job.uid, |pod| pod.lost);
        self.has_pod(&job.uid, |pod| pod.alive) || !(job.finished || lost)
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Tell the journal that the Job of the current segment and its pods are gone.
    JobLost { segment: u32 },
    /// Tell the journal that the queue of the current segment's Job took its pod away.
    Evicted { segment: u32 },
    /// Tell the journal that the current segment's pod left because it could not reach the operator.
    Outage { segment: u32 },
    /// Make the Job of a segment.
    CreateJob { segment: u32 },
    /// Tell the journal that this Job is the one of the wanted segment.
    RecordJob {
        segment: u32,
        /// Name of the Job.
        name: String,
        /// UID of the Job.
        uid: String,
        template_hash: String,
    },
    /// Delete a Job and its pods.
    DeleteJob {
        /// Name of the Job.
        name: String,
        /// UID of the Job.
        uid: String,
    },
    /// Block the run: something took longer than it may.
    Block {
        /// What did.
        code: BlockCode,
    },
    /// A Job that is not ours has the name of the wanted one.
    NameTaken { name: String },
}

impl Step {
    /// Whether it gives something up or makes a second Job of a run, which nothing but the API server's own word allows.
    pub(super) fn is_destructive(&self) -> bool {
        match self {
            Self::JobLost { .. }
            | Self::Evicted { .. }
            | Self::Outage { .. }
            | Self::DeleteJob { .. }
            | Self::Block { .. } => true,
            Self::CreateJob { segment } => *segment > 1,
            Self::RecordJob { .. } | Self::NameTaken { .. } => false,
        }
    }
}

/// The steps, and when to plan again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// When to plan again at the latest.
    pub requeue: Requeue,
}

/// What is to be done.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let mut plan = Plan { steps: Vec::new(), requeue: Requeue::OnChange };
    match &view.state.segment_state {
        SegmentState::Queued => queued(view, &mut plan),
        SegmentState::Held(holder) => {
            let here = view.pods.iter().any(|pod| pod.uid == holder.pod_uid && pod.alive);
            if !here {
                let segment = holder.segment;
                let mut standing = view.jobs.iter().filter(|job| job.uid == holder.job_uid && !job.deleting);
                let evicted = standing.any(|job| job.suspended.is_some());
                let outage = view.pods.iter().any(|pod| pod.uid == holder.pod_uid && pod.left_for_outage());
                plan.steps.push(match (evicted, outage) {
                    (true, _) => Step::Evicted { segment },
                    (false, true) => Step::Outage { segment },
                    (false, false) => Step::JobLost { segment },
                });
            } else if view.state.blocked.as_ref().is_some_and(|blocked| blocked.code == BlockCode::RunDeadlineExceeded)
            {
                end_blocked(view, &holder.job_uid, &mut plan);
            } else if let Some(limit) = view.deadlines.run {
                let started = view.pods.iter().find(|pod| pod.uid == holder.pod_uid).and_then(|pod| pod.running);
                overdue(view, started, limit, BlockCode::RunDeadlineExceeded, &mut plan);
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
    if view.pods.iter().any(|pod| pod.alive && pod.ending) {
        // Nothing tells when it is overdue.
        plan.requeue = plan.requeue.sooner(Requeue::After(Duration::from_secs(15)));
    }
    plan
}

/// A Job without a pod that attached: gone if it is finished, not there or out of reach, and none of its pods lives.
fn queued(view: &View<'_>, plan: &mut Plan) {
    let Some(job) = view.state.current_job() else { return };
    let seen = view.jobs.iter().find(|j| j.uid == job.uid);
    let lost = view.has_pod(&job.uid, |pod| pod.lost);
    if !view.has_pod(&job.uid, |pod| pod.alive) && (lost || seen.is_none_or(|j| j.finished || j.deleting)) {
        let (segment, outage) = (job.segment, view.has_pod(&job.uid, PodView::left_for_outage));
        plan.steps.push(if outage { Step::Outage { segment } } else { Step::JobLost { segment } });
        return;
    }
    let Some(seen) = seen.filter(|job| !job.finished && !job.deleting) else { return };
    match (seen.suspended, view.deadlines.queue) {
        (Some(since), Some(limit)) => overdue(view, Some(since), limit, BlockCode::QueueTimeout, plan),
        (Some(_), None) => {}
        // A pod whose container runs is about to attach: nothing of the node or the image keeps it.
        (None, _) if view.has_pod(&job.uid, |pod| pod.running.is_some()) => {}
        (None, _) => overdue(view, seen.since, view.deadlines.pending, BlockCode::PendingTimeout, plan),
    }
}

/// Blocks the run if something has taken longer than it may, else plans again when it will have.
fn overdue(view: &View<'_>, since: Option<Timestamp>, limit: SignedDuration, code: BlockCode, plan: &mut Plan) {
    if view.state.blocked.is_some() {
        return;
    }
    let Some(end) = since.and_then(|since| since.checked_add(limit).ok()) else { return };
    if end <= view.now {
        plan.steps.push(Step::Block { code });
    } else {
        plan.requeue = plan.requeue.sooner(Requeue::at(end, view.now));
    }
}

/// Ends the Job of a run that was blocked from outside.
fn end_blocked(view: &View<'_>, job_uid: &str, plan: &mut Plan) {
    if let Some(job) = view.jobs.iter().find(|job| job.uid == job_uid && !job.deleting) {
        plan.steps.push(Step::DeleteJob { name: job.name.clone(), uid: job.uid.clone() });
    }
}

/// Makes the wanted Job, or takes up the one made before a crash, once nothing of an earlier segment lives.
fn wanted(view: &View<'_>, segment: u32, not_before: Timestamp, (name, hash): (&str, &str), plan: &mut Plan) {
    if let Some(found) = view.jobs.iter().find(|job| job.name == name) {
        let ours = found.owner == view.run_uid && found.template_hash == hash;
        if found.deleting {
            plan.requeue = plan.requeue.sooner(Requeue::After(Duration::from_secs(5)));
            return;
        }
        plan.steps.push(if ours {
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
        plan.requeue = plan.requeue.sooner(Requeue::at(not_before, view.now));
        return;
    }
    plan.steps.push(Step::CreateJob { segment });
}

/// Ends what still lives of earlier segments; says whether anything does.
fn end_older(view: &View<'_>, plan: &mut Plan) -> bool {
    let alive: Vec<_> = view.jobs.iter().filter(|job| view.lives(job)).collect();
    let orphan = view.pods.iter().any(|pod| pod.alive && !view.jobs.iter().any(|job| job.uid == pod.job_uid));
    let since = view.now.duration_since(view.state.head_time);
    for job in alive.iter().filter(|job| !job.deleting) {
        let wait = leave(view, job).saturating_sub(since);
        if wait <= SignedDuration::ZERO {
            plan.steps.push(Step::DeleteJob { name: job.name.clone(), uid: job.uid.clone() });
        } else {
            let wait = Duration::try_from(wait).unwrap_or_default() + Duration::from_secs(1);
            plan.requeue = plan.requeue.sooner(Requeue::After(wait));
        }
    }
    if orphan || alive.iter().any(|job| job.deleting) || !plan.steps.is_empty() {
        plan.requeue = plan.requeue.sooner(Requeue::After(Duration::from_secs(5)));
    }
    orphan || !alive.is_empty()
}

/// How long after the journal's last word a Job may stay. Who handed the run over leaves by itself; who lost it, or was asked
/// to stop, is stopped.
fn leave(view: &View<'_>, job: &JobView) -> SignedDuration {
    use ReleaseCause::{Cancelled, Evicted, LeaseExpired, Outage, PodGone};
    if view.has_pod(&job.uid, |pod| pod.lost) {
        return SignedDuration::ZERO;
    }
    if !view.has_pod(&job.uid, |pod| pod.alive) {
        // A suspended Job has no verdict to wait for.
        return if job.suspended.is_some() { SignedDuration::ZERO } else { VERDICT };
    }
    let stopped = view
        .state
        .last_release
        .is_none_or(|cause| matches!(cause, Cancelled | Evicted | LeaseExpired | Outage | PodGone));
    if stopped || view.state.cancel_requested.is_some() { SignedDuration::ZERO } else { LEAVE }
}

/// Finished Jobs of earlier segments go; the last one stays, for people to look at.
fn prune(view: &View<'_>, plan: &mut Plan) {
    let last = view.jobs.iter().map(|job| job.segment).max().unwrap_or_default();
    for job in view.jobs.iter().filter(|job| job.segment < last && job.finished && !job.deleting) {
        plan.steps.push(Step::DeleteJob { name: job.name.clone(), uid: job.uid.clone() });
    }
}

#[cfg(test)]
mod tests;
