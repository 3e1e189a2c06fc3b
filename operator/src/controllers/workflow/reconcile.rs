//! One pass over a Workflow: reads, decides, starts and prunes runs, writes the status.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{Preconditions, PropagationPolicy};
use ntro_crds::admission::operator_user;
use ntro_crds::workflow::ScheduleObserved;
use ntro_crds::{Workflow, WorkflowRun, WorkflowStatus, labels};
use ntro_schedule::spec::period_of;

use super::decide::{Decision, Due, Past, Rules, Skipped, decide, reason};
use super::facts::RunFact;
use super::make::Served;
use super::status::{self, Found};
use super::{Key, Workflows, ahead, edit, validate};
use crate::controllers::act::problem;
use crate::controllers::run::RunKey;
use crate::error::{Class, Classified, Next, Problem};
use crate::kube_ext::{delete_exactly, object_reference, patch_status_if_changed};
use crate::pace;

/// Longest sleep until the next slot, in case the clock is set.
const LONGEST: Duration = Duration::from_hours(1);
/// Statuses put off are written this long after the last start, so that a burst with a pause is one burst.
const AFTER_BURST: Duration = Duration::from_millis(200);

/// A status as it was written, and what the API server called the result.
pub(super) struct Written {
    resource_version: Option<String>,
    status: WorkflowStatus,
}

/// A Workflow that was seen to: until it changes or the time has come, there is nothing to do but to tell how its runs are.
pub(super) struct Settled {
    uid: Option<String>,
    generation: Option<i64>,
    until: Option<Timestamp>,
}

/// Whatever becomes of a pass, the Jobs that waited for it go on.
struct Release<'a> {
    workflows: &'a Workflows,
    namespace: &'a str,
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        let more = self.workflows.queue.is_waiting(self.namespace);
        self.workflows.runs.go_on_with_jobs(self.namespace, more);
    }
}

impl Workflows {
    /// Brings a Workflow in line and says when to look again.
    pub(super) async fn pass(&self, key: &Key) -> Result<Next, Problem> {
        let _released = Release { workflows: self, namespace: &key.0 };
        let context = &self.runs.context;
        let Some(workflow) = self.runs.workflow(&key.0, &key.1) else {
            return self.gone(key).await;
        };
        if workflow.metadata.deletion_timestamp.is_some() || context.tenants.get(&key.0).is_none_or(|t| t.terminating) {
            return Ok(Next::OnChange);
        }
        let now = context.clock.now();
        if let Some(next) = self.put_off(key, &workflow, now) {
            return Ok(next);
        }
        let uid = workflow.uid().unwrap_or_default();
        let before = self.last_status(key, &workflow);
        let (mut runs, made_ahead) = self.runs_of(key, &uid).await?;
        let runbook = self.runs.runbook(&key.0, &workflow.spec.runbook_ref.name);
        let image = context.settings.runner_image();
        let runnable = validate::runnable(&workflow, runbook.as_deref(), image).map_err(|error| error.problem());
        let (rules, schedule) = rules(&workflow);
        let observed = edit::observed(&workflow, before.as_ref(), now);
        let taken_away = edit::taken_away(before.as_ref(), &observed, validate::jitter_of(&workflow), &runs);
        let mut found = Found {
            generation: workflow.metadata.generation,
            requested_at: workflow.annotations().get(labels::RECONCILE_REQUESTED_AT).map(String::as_str),
            observed: Some(observed.clone()),
            schedule,
            runnable,
            suspended: workflow.spec.suspend == Some(true),
            next_slot: None,
            served: None,
            skipped: Vec::new(),
            queued: Vec::new(),
            runs: &[],
            now,
        };
        let (mut wake, mut prune, mut begun) = (None, Vec::new(), Begun::default());
        let next = if let Some(rules) = rules {
            let known = runs.clone();
            let decide = |stuck| Self::decide(&workflow, before.as_ref(), &rules, &observed, (&known, stuck), now);
            let mut decision = decide(None);
            let period = |slot| period_of(&workflow.spec, slot);
            let to_come = ahead::ahead(&rules, &runs, &made_ahead, &decision, &period, now);
            let deleted = self.delete_ahead(key, to_come.delete.iter().map(String::as_str)).await;
            begun = self.start_all(key, &workflow, &decision.start, &mut runs).await;
            wake = decision.wake.into_iter().chain(to_come.wake).min();
            if let Some((due, _)) = &begun.stuck {
                // A slot waits for its Runbook as long as its deadline allows; a spec that cannot run waits for its change.
                wake = wake.into_iter().chain(due.until.checked_add(SECOND)).min();
                // What was decided about later slots was decided as if it had started.
                decision = decide(Some(due.slot));
            }
            found.next_slot = decision.next_slot;
            found.served = decision.served.max(begun.served);
            let skipped = begun.taken.iter().chain(&decision.skipped).cloned();
            found.skipped = taken_away.into_iter().chain(skipped).collect();
            found.queued.clone_from(&decision.queued);
            prune.clone_from(&decision.prune);
            if let Some((slot, period)) = to_come.make.filter(|_| found.runnable.is_ok())
                && let Err(error) = self.make_ahead(key, &workflow, slot, &period).await
            {
                tracing::warn!(
                    namespace = key.0, workflow = key.1, %slot, reason = error.reason, error = error.message,
                    "could not make the object of a slot to come; it is made when the slot is due"
                );
            }
            if found.runnable.is_ok() {
                // Nothing is cancelled for what could not be started in its place.
                self.replace(key, &decision).await?;
            }
            until(wake, now).sooner(deleted)
        } else {
            // A schedule that cannot be read gives no slots.
            found.skipped = taken_away.into_iter().chain(edit::dropped(before.as_ref())).collect();
            self.delete_ahead(key, made_ahead.iter().map(|fact| fact.name.as_str())).await
        };
        self.arm(key, found.next_slot);
        let failed = begun.stuck.map(|(_, problem)| problem);
        let seen_to = failed.is_none() && found.runnable.is_ok() && found.queued.is_empty();
        if seen_to && context.pace.is_busy(&key.0) {
            let settled = Settled { uid: workflow.uid(), generation: workflow.metadata.generation, until: wake };
            self.settled.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), settled);
        }
        found.runs = &runs;
        if !self.summarize(key, &workflow, before.as_ref(), &found, begun.any).await? {
            return failed.map_or(Ok(next.sooner(Next::After(pace::LONGEST))), Err);
        }
        // What is deleted was told in the status before.
        self.prune(key, &prune).await?;
        // What a person asked for and could not be begun may be, now that something has changed.
        let refused = runs.iter().filter(|run| !run.begun);
        refused.for_each(|run| self.runs.queue.push(RunKey::new(&key.0, &run.name)));
        match failed {
            Some(Problem { class: Class::Waiting { .. } | Class::Invalid, .. }) | None => {}
            Some(problem) => return Err(problem),
        }
        match &found.runnable {
            // Runbooks are watched: a Workflow that waits for one is woken by it.
            Ok(_) | Err(Problem { class: Class::Waiting { .. } | Class::Invalid, .. }) => Ok(next),
            Err(problem) => Err(problem.clone()),
        }
    }

    /// Starts what is due, oldest slot first, until one cannot be started: later slots wait with it, so that they stay in order.
    async fn start_all(&self, key: &Key, workflow: &Workflow, due: &[Due], runs: &mut Vec<RunFact>) -> Begun {
        let mut begun = Begun::default();
        let _starting = (!due.is_empty()).then(|| self.runs.context.pace.start(&key.0));
        for due in due {
            match self.start(key, workflow, due, runs).await {
                Ok(served) => {
                    begun.any |= matches!(served, Served::Run(_));
                    begun.settle(served, due, runs, workflow.metadata.uid.as_deref().unwrap_or_default());
                }
                Err(problem) => {
                    begun.stuck = Some((due.clone(), problem));
                    break;
                }
            }
        }
        begun
    }

    /// Forgets a Workflow that is not there any more.
    async fn gone(&self, key: &Key) -> Result<Next, Problem> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.arm(key, None);
        let (_, ahead) = self.runs_of(key, "").await?;
        Ok(self.delete_ahead(key, ahead.iter().map(|fact| fact.name.as_str())).await)
    }

    /// Puts a Workflow off that was seen to while other runs of its namespace are being started.
    fn put_off(&self, key: &Key, workflow: &Workflow, now: Timestamp) -> Option<Next> {
        let mut all = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = all.remove(key)?;
        let same = settled.uid == workflow.uid() && settled.generation == workflow.metadata.generation;
        let holds = same && settled.until.is_none_or(|until| now < until);
        if !holds || !self.defer(key) {
            return None;
        }
        let next = until(settled.until, now).sooner(Next::After(pace::LONGEST));
        all.insert(key.clone(), settled);
        Some(next)
    }

    /// Has a Workflow looked at when no run of its namespace is being started any more; says whether any is.
    fn defer(&self, key: &Key) -> bool {
        let (queue, again) = (self.queue.clone(), key.clone());
        let later = move |turn| queue.push_after(again, AFTER_BURST + turn);
        self.runs.context.pace.defer(&key.0, ("workflow", key.1.clone()), later)
    }

    /// Notes whether a slot of a Workflow is waited for.
    fn arm(&self, key: &Key, next_slot: Option<Timestamp>) {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = if next_slot.is_some() { armed.insert(key.clone()) } else { armed.remove(key) };
        if changed {
            self.runs.context.metrics.set_schedules_armed(armed.len());
        }
    }

    /// The status as it is: what we wrote last counts until the watch shows that or something newer.
    fn last_status(&self, key: &Key, workflow: &Workflow) -> Option<WorkflowStatus> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = written.get(key) {
            let number = |version: Option<&String>| version.and_then(|version| version.parse::<u64>().ok());
            let (ours, seen) =
                (number(last.resource_version.as_ref()), number(workflow.metadata.resource_version.as_ref()));
            if ours.zip(seen).is_some_and(|(ours, seen)| seen < ours) {
                return Some(last.status.clone());
            }
            written.remove(key);
        }
        workflow.status.clone()
    }

    fn decide(
        workflow: &Workflow,
        status: Option<&WorkflowStatus>,
        rules: &Rules,
        observed: &ScheduleObserved,
        (runs, stuck): (&[RunFact], Option<Timestamp>),
        now: Timestamp,
    ) -> Decision {
        let queued: Vec<_> = status.and_then(|s| s.queued.as_ref()).into_iter().flatten().map(|q| q.time.0).collect();
        let past = Past {
            observed: observed.time.0,
            last_run: status.and_then(|s| s.last_schedule_time.as_ref()).map(|time| time.0),
            last_missed: status.and_then(|s| s.missed.as_ref()).map(|missed| missed.time.0),
            queued: &queued,
            runs,
            stuck,
        };
        decide(rules, &past, &|slot| period_of(&workflow.spec, slot), now)
    }

    /// Cancels the runs that a due slot replaces. Who waits for them is woken by their end.
    async fn replace(&self, key: &Key, decision: &Decision) -> Result<(), Problem> {
        let journal = &self.runs.journal;
        for name in &decision.replace {
            let Some(id) = journal.run_by_name(&key.0, name).await.map_err(problem)? else { continue };
            let slots = decision.queued.iter().filter(|queued| queued.behind == *name).map(|queued| queued.slot);
            let by = slots.max().map(|slot| slot.to_string()).unwrap_or_default();
            // The same act again changes nothing: what a person decided meanwhile stands.
            let act = format!("replaced-by-slot-{by}");
            let actor = operator_user(&self.runs.context.settings.namespace);
            journal.cancel(id, &act, &actor).await.map_err(problem)?;
            self.runs.queue.push(RunKey::new(&key.0, name));
        }
        Ok(())
    }

    async fn prune(&self, key: &Key, names: &[String]) -> Result<(), Problem> {
        let api = self.runs.context.namespaced::<WorkflowRun>(&key.0);
        for name in names {
            // What is known may be old: only the object that was judged is deleted.
            let Some(run) = api.get_opt(name).await? else { continue };
            if !RunFact::of(&run).ended() {
                continue;
            }
            let preconditions = Preconditions { uid: run.uid(), resource_version: run.resource_version() };
            if delete_exactly(&api, name, preconditions, PropagationPolicy::Background).await? {
                tracing::debug!(namespace = key.0, run = name, "pruned");
            }
        }
        Ok(())
    }

    /// Writes the status, or puts it off while runs are being started. Says whether what was found is in it now.
    async fn summarize(
        &self,
        key: &Key,
        workflow: &Workflow,
        before: Option<&WorkflowStatus>,
        found: &Found<'_>,
        started: bool,
    ) -> Result<bool, Problem> {
        let context = &self.runs.context;
        let next = status::next(before, found);
        if before.is_some_and(|before| status::can_wait(before, &next)) {
            if self.defer(key) {
                return Ok(false);
            }
            if started {
                // Its first Job is about to be made; the status follows.
                self.queue.push_after(key.clone(), AFTER_BURST);
                return Ok(false);
            }
        }
        let api = context.namespaced::<Workflow>(&key.0);
        if let Some(made) = patch_status_if_changed(&api, &key.1, before, &next).await? {
            let reference = object_reference(workflow);
            for told in status::events(before, &next, &found.skipped) {
                let events = if told.by_itself { context.events.by_itself() } else { context.events.clone() };
                events.publish(&reference, told.kind, &told.reason, "Schedule", &told.note).await;
            }
            for skipped in &found.skipped {
                context.metrics.slots_skipped(skipped.reason, skipped.count);
            }
            let written = Written { resource_version: made.metadata.resource_version, status: next };
            self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), Box::new(written));
        }
        Ok(true)
    }
}

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The checked schedule, and what to say about it; both absent without one.
fn rules(workflow: &Workflow) -> (Option<Rules>, Option<Result<(), Problem>>) {
    let scheduled = validate::is_scheduled(&workflow.spec);
    match validate::rules(&workflow.spec, &validate::seed(workflow)) {
        Ok(rules) => (Some(rules), scheduled.then_some(Ok(()))),
        Err(bad) => {
            let problem = Problem { class: Class::Invalid, reason: "ScheduleInvalid", message: bad.to_string() };
            (None, Some(Err(problem)))
        }
    }
}

/// What came of the slots that were due.
#[derive(Default)]
struct Begun {
    /// At least one has its run by this pass.
    any: bool,
    /// The latest that has its run.
    served: Option<Timestamp>,
    /// Those whose name is taken.
    taken: Vec<Skipped>,
    /// The first that could not be started, and why; nothing was done about later ones.
    stuck: Option<(Due, Problem)>,
}

impl Begun {
    fn settle(&mut self, served: Served, due: &Due, runs: &mut Vec<RunFact>, uid: &str) {
        match served {
            Served::Run(run) => {
                self.served = self.served.max(Some(due.slot));
                let fact = RunFact { begun: true, ..RunFact::of(&run).seen_by(uid) };
                if runs.iter().all(|other| other.name != fact.name) {
                    runs.push(fact);
                }
            }
            Served::Before => self.served = self.served.max(Some(due.slot)),
            Served::Taken => self
                .taken
                .push(Skipped { period: Some(due.period.clone()), ..Skipped::one(due.slot, reason::NAME_TAKEN) }),
        }
    }
}

/// When to look again.
fn until(wake: Option<Timestamp>, now: Timestamp) -> Next {
    wake.map_or(Next::OnChange, |wake| {
        let left = Duration::try_from(wake.duration_since(now)).unwrap_or(Duration::ZERO);
        // A little later than due: the clock that wakes and the clock that judges need not agree to the millisecond.
        Next::After((left + Duration::from_millis(20)).min(LONGEST))
    })
}
