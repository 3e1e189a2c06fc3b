//! Does what was planned for a Workflow: launches, precreates, replaces.

use jiff::{SignedDuration, Timestamp};
use ntro_crds::SlotReason;
use ntro_crds::workflow::ScheduleObserved;
use ntro_manifests::admission::operator_user;

use super::Workflows;
use super::decide::{Decision, Due, Skipped};
use super::observe::{Observed, requeue_at};
use super::plan::{self, Plan};
use super::precreate::Precreation;
use super::validate::Validated;
use crate::cache::{RunRef, RunSummary};
use crate::error::{Problem, Requeue};
use crate::k8s::NamespacedName;
use crate::launch::slot::{SlotOutcome, SlotRun};

/// What was done: all that a status is made from. Only [`Workflows::apply`] makes one.
pub(super) struct Applied {
    pub schedule: ScheduleObserved,
    /// The decision as it stands after the launches.
    pub decision: Decision,
    /// The runs, launched ones included.
    pub runs: Vec<RunSummary>,
    /// Slots that give no run.
    pub skipped: Vec<Skipped>,
    /// The latest slot that has its run.
    pub served: Option<Timestamp>,
    /// At least one run was launched.
    pub launched: bool,
    /// Why the first due slot could not be launched, if one could not.
    pub stuck: Option<Problem>,
    /// When to reconcile again.
    pub requeue: Requeue,
    pub due: Option<Timestamp>,
}

/// What came of the slots that were due.
struct Launched {
    runs: Vec<RunSummary>,
    any: bool,
    served: Option<Timestamp>,
    /// Slots whose name is taken.
    taken: Vec<Skipped>,
    /// The first that could not be launched, and why; nothing was done about later ones.
    stuck: Option<(Due, Problem)>,
}

impl Workflows {
    pub(super) async fn apply(
        &self,
        observed: &Observed,
        validated: &Validated,
        plan: Plan,
    ) -> Result<Applied, Problem> {
        let namespace = &observed.key.namespace;
        let unwanted = plan.precreation.delete.iter().map(String::as_str);
        let deleted = self.launcher.delete_precreated(namespace, unwanted).await;
        let launched = self.launch(observed, &plan.decision.start).await;
        let mut due = plan.decision.wake.into_iter().chain(plan.precreation.wake).min();
        let decision = match &launched.stuck {
            Some((stuck, _)) => {
                // A slot waits for its Runbook as long as its deadline allows; a spec that cannot run waits for its change.
                due = due.into_iter().chain(stuck.until.checked_add(SignedDuration::from_secs(1))).min();
                plan::decide_without(observed, validated, &plan, stuck.slot)
            }
            None => plan.decision,
        };
        if validated.runnable.is_ok() {
            self.precreate(observed, &plan.precreation).await;
            // Nothing is cancelled for what could not be started in its place.
            self.replace(&observed.key, &decision).await?;
        }
        let skipped = plan.removed.into_iter().chain(launched.taken).chain(decision.skipped.iter().cloned()).collect();
        Ok(Applied {
            schedule: plan.schedule,
            served: decision.served.max(launched.served),
            skipped,
            decision,
            runs: launched.runs,
            launched: launched.any,
            stuck: launched.stuck.map(|(_, problem)| problem),
            requeue: requeue_at(due, observed.now).sooner(deleted),
            due,
        })
    }

    /// Launches what is due, oldest slot first, until one cannot be: later slots wait with it, so that they stay in order.
    async fn launch(&self, observed: &Observed, due: &[Due]) -> Launched {
        let uid = observed.workflow.metadata.uid.as_deref().unwrap_or_default();
        let mut launched =
            Launched { runs: observed.runs.clone(), any: false, served: None, taken: Vec::new(), stuck: None };
        // One burst, from the first to the last.
        let _busy = (!due.is_empty()).then(|| self.launcher.burst.busy(&observed.key.namespace));
        for due in due {
            match self.launch_one(observed, due, &launched.runs).await {
                Ok(served) => launched.add(served, due, uid),
                Err(problem) => {
                    launched.stuck = Some((due.clone(), problem));
                    break;
                }
            }
        }
        launched
    }

    async fn launch_one(&self, observed: &Observed, due: &Due, runs: &[RunSummary]) -> Result<SlotOutcome, Problem> {
        let Due { slot, ref period, waited, .. } = *due;
        let slot_run = SlotRun { workflow: &observed.workflow, slot, period, waited };
        let name = slot_run.run_ref().name;
        if runs.iter().any(|run| run.name == name) {
            return Ok(SlotOutcome::NameTaken);
        }
        self.launcher.launch(&slot_run).await
    }

    /// Creates the object of a slot to come. If that fails, it is created at the slot.
    async fn precreate(&self, observed: &Observed, precreation: &Precreation) {
        let Some((slot, period)) = &precreation.create else { return };
        let slot_run = SlotRun { workflow: &observed.workflow, slot: *slot, period, waited: false };
        if let Err(error) = self.launcher.precreate(&slot_run).await {
            let NamespacedName { namespace, name } = &observed.key;
            tracing::warn!(
                namespace, workflow = name, %slot, reason = error.reason.as_str(), error = error.message,
                "could not precreate a WorkflowRun; it is created when its slot is due"
            );
        }
    }

    /// Cancels the runs that a due slot replaces. Their end enqueues this Workflow again.
    async fn replace(&self, key: &NamespacedName, decision: &Decision) -> Result<(), Problem> {
        let journal = &self.launcher.context.journal;
        for name in &decision.replace {
            let Some(id) = self.launcher.context.run_by_name(&key.namespace, name).await? else { continue };
            let slots = decision.queued.iter().filter(|queued| queued.held_by == *name).map(|queued| queued.slot);
            let by = slots.max().map(|slot| slot.to_string()).unwrap_or_default();
            // The same again changes nothing: what a person decided meanwhile stands.
            let user_action = format!("replaced-by-slot-{by}");
            let actor = operator_user(&self.launcher.context.settings.namespace);
            journal.cancel(id, &user_action, &actor).await?;
            self.launcher.run_queue.push(RunRef::new(&key.namespace, name));
        }
        Ok(())
    }

    /// Forgets a Workflow that is not there any more.
    pub(super) async fn forget(&self, key: &NamespacedName, precreated: &[RunSummary]) -> Requeue {
        self.memory.forget(key);
        self.arm(key, None);
        self.launcher.delete_precreated(&key.namespace, precreated.iter().map(|run| run.name.as_str())).await
    }

    /// Notes whether a slot of a Workflow is waited for.
    pub(super) fn arm(&self, key: &NamespacedName, next_slot: Option<Timestamp>) {
        let metrics = &self.launcher.context.metrics;
        self.memory.arm(key, next_slot.is_some(), |armed| metrics.set_schedules_armed(armed));
    }
}

impl Launched {
    fn add(&mut self, served: SlotOutcome, due: &Due, uid: &str) {
        match served {
            SlotOutcome::Run(run) => {
                self.any = true;
                self.served = self.served.max(Some(due.slot));
                let summary = RunSummary { begun: true, ..RunSummary::of(&run).seen_by(uid) };
                if self.runs.iter().all(|other| other.name != summary.name) {
                    self.runs.push(summary);
                }
            }
            SlotOutcome::AlreadyRan => self.served = self.served.max(Some(due.slot)),
            SlotOutcome::NameTaken => self
                .taken
                .push(Skipped { period: Some(due.period.clone()), ..Skipped::one(due.slot, SlotReason::NameTaken) }),
        }
    }
}
