//! One pass over a Workflow: reads, decides, starts and prunes runs, writes the status.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Preconditions};
use ntro_crds::admission::OPERATOR_SERVICE_ACCOUNT;
use ntro_crds::workflow::ScheduleObserved;
use ntro_crds::workflow_run::{Context as RunContext, Request, Trigger, TriggerKind, WorkflowRef};
use ntro_crds::{Workflow, WorkflowRun, labels};

use super::decide::{Decision, Due, Past, Rules, Skipped, decide, reason};
use super::facts::RunFact;
use super::status::{self, Found};
use super::{Key, Workflows, validate};
use crate::controllers::run::admit::Admitted;
use crate::controllers::run::object::{run_object, slot_key};
use crate::error::{Class, Classified, Next, Problem};
use crate::failpoint;
use crate::kube_ext::{create_once, object_reference, patch_status_if_changed};

/// Longest sleep until the next slot, in case the clock is set.
const LONGEST: Duration = Duration::from_hours(1);

/// What came of a slot.
enum Served {
    /// Its run exists.
    Run(Box<WorkflowRun>),
    /// Its run ended earlier, and its object is gone.
    Before,
    /// It gives no run.
    Taken,
}

impl Workflows {
    /// Brings a Workflow in line and says when to look again.
    pub(super) async fn pass(&self, key: &Key) -> Result<Next, Problem> {
        let context = &self.runs.context;
        let Some(workflow) = self.runs.workflow(&key.0, &key.1) else { return Ok(Next::OnChange) };
        if workflow.metadata.deletion_timestamp.is_some() || context.tenants.get(&key.0).is_none_or(|t| t.terminating) {
            return Ok(Next::OnChange);
        }
        let now = context.clock.now();
        let uid = workflow.uid().unwrap_or_default();
        let mut runs = self.facts(key, &uid).await?;
        let runbook = self.runs.runbook(&key.0, &workflow.spec.runbook_ref.name);
        let image = context.settings.runner_image();
        let runnable = validate::runnable(&workflow, runbook.as_deref(), image).map_err(|error| error.problem());
        let (rules, schedule) = rules(&workflow);
        let observed = observed(&workflow, now);
        let mut found = Found {
            generation: workflow.metadata.generation,
            requested_at: workflow.annotations().get(labels::RECONCILE_REQUESTED_AT).map(String::as_str),
            observed: Some(observed.clone()),
            schedule,
            runnable,
            suspended: workflow.spec.suspend == Some(true),
            next_slot: None,
            served: None,
            skipped: None,
            runs: &[],
            now,
        };
        let (mut next, mut failed) = (Next::OnChange, None);
        if let Some(rules) = rules {
            let decision = Self::decide(&workflow, &rules, &observed, &runs, now);
            found.next_slot = decision.next_slot;
            found.skipped = decision.skipped;
            found.served = decision.served;
            next = until(decision.next_slot, now);
            // A slot waits for its Runbook as long as its deadline allows; a spec that cannot run waits for its change.
            if let Some(due) = &decision.start {
                match self.start(key, &workflow, due, &runs).await {
                    Ok(served) => settle(&mut found, &mut runs, served, due, &uid),
                    Err(problem) => {
                        next = next.sooner(until(Some(due.until.saturating_add(SECOND).unwrap_or(due.until)), now));
                        failed = Some(problem);
                    }
                }
            }
            self.prune(key, &decision, &uid).await?;
        }
        found.runs = &runs;
        self.summarize(&workflow, &found).await?;
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

    /// The runs of a Workflow, read from the API server so that none just made is missing.
    async fn facts(&self, key: &Key, uid: &str) -> Result<Vec<RunFact>, Problem> {
        let params = ListParams::default().fields(&format!("spec.request.workflowRef.name={}", key.1));
        let list = self.runs.context.namespaced::<WorkflowRun>(&key.0).list(&params).await?;
        Ok(list.iter().map(|run| RunFact::of(run, uid)).collect())
    }

    fn decide(
        workflow: &Workflow,
        rules: &Rules,
        observed: &ScheduleObserved,
        runs: &[RunFact],
        now: Timestamp,
    ) -> Decision {
        let status = workflow.status.as_ref();
        let past = Past {
            observed: observed.time.0,
            last_run: status.and_then(|s| s.last_schedule_time.as_ref()).map(|time| time.0),
            last_missed: status.and_then(|s| s.missed.as_ref()).map(|missed| missed.time.0),
            runs,
        };
        decide(rules, &past, &|slot| validate::period_of(&workflow.spec, slot), now)
    }

    /// Starts the run of a slot: ledger and journal first, then the object. Asked again, it finds what it made.
    async fn start(&self, key: &Key, workflow: &Workflow, due: &Due, runs: &[RunFact]) -> Result<Served, Problem> {
        let context = &self.runs.context;
        let run = slot_key(&key.0, &key.1, due.slot);
        if runs.iter().any(|fact| fact.name == run.name) {
            return Ok(Served::Taken);
        }
        let request = Request {
            workflow_ref: WorkflowRef { name: key.1.clone() },
            context: Some(RunContext { period: Some(due.period.clone()) }),
            trigger: Trigger {
                kind: TriggerKind::Schedule,
                initiator: format!("system:serviceaccount:{}:{OPERATOR_SERVICE_ACCOUNT}", context.settings.namespace),
                scheduled_time: Some(Time(due.slot)),
                parent: None,
            },
        };
        let run_id = match self.runs.admit(&run, workflow, &request).await? {
            Admitted::Open(run_id) => run_id,
            Admitted::AlreadyRan(_) => return Ok(Served::Before),
            Admitted::Taken(_) => return Ok(Served::Taken),
        };
        let object = run_object(&run, &request, &workflow.uid().unwrap_or_default(), run_id);
        let made = create_once(&context.namespaced::<WorkflowRun>(&key.0), &run.name, &object).await?;
        failpoint::hit("slot-run-created");
        let (crate::kube_ext::Created::New(made) | crate::kube_ext::Created::Existing(made)) = made;
        tracing::info!(namespace = key.0, run = run.name, slot = %due.slot, "started the run of a slot");
        Ok(Served::Run(Box::new(made)))
    }

    async fn prune(&self, key: &Key, decision: &Decision, uid: &str) -> Result<(), Problem> {
        let api = self.runs.context.namespaced::<WorkflowRun>(&key.0);
        for name in &decision.prune {
            // The list may be old: only the object that was judged is deleted.
            let Some(run) = api.get_opt(name).await? else { continue };
            if !RunFact::of(&run, uid).ended() {
                continue;
            }
            let preconditions = Preconditions { uid: run.uid(), resource_version: run.resource_version() };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
            match api.delete(name, &params).await {
                Ok(_) => tracing::debug!(namespace = key.0, run = name, "pruned"),
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn summarize(&self, workflow: &Workflow, found: &Found<'_>) -> Result<(), Problem> {
        let context = &self.runs.context;
        let previous = workflow.status.as_ref();
        let next = status::next(previous, found);
        let api = context.namespaced::<Workflow>(&workflow.namespace().unwrap_or_default());
        if patch_status_if_changed(&api, &workflow.name_any(), previous, &next).await? {
            let reference = object_reference(workflow);
            for told in status::events(previous, &next) {
                context.events.publish(&reference, told.kind, &told.reason, "Schedule", &told.note).await;
            }
        }
        Ok(())
    }
}

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The checked schedule, and what to say about it; both absent without one.
fn rules(workflow: &Workflow) -> (Option<Rules>, Option<Result<(), Problem>>) {
    let scheduled = validate::is_scheduled(&workflow.spec);
    match validate::rules(&workflow.spec) {
        Ok(rules) => (Some(rules), scheduled.then_some(Ok(()))),
        Err(bad) => {
            let problem = Problem { class: Class::Invalid, reason: "ScheduleInvalid", message: bad.to_string() };
            (None, Some(Err(problem)))
        }
    }
}

/// Since when the schedule holds as it is. A Workflow never seen before has its slots since its creation.
fn observed(workflow: &Workflow, now: Timestamp) -> ScheduleObserved {
    let hash = validate::schedule_hash(&workflow.spec);
    let before = workflow.status.as_ref().and_then(|status| status.schedule_observed.as_ref());
    match before {
        Some(before) if before.hash == hash => before.clone(),
        Some(_) => ScheduleObserved { hash, time: Time(whole_seconds(now)) },
        None => {
            let created = workflow.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
            ScheduleObserved { hash, time: Time(whole_seconds(created)) }
        }
    }
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Takes up what came of a slot.
fn settle(found: &mut Found<'_>, runs: &mut Vec<RunFact>, served: Served, due: &Due, uid: &str) {
    match served {
        Served::Run(run) => {
            found.served = Some(due.slot);
            let fact = RunFact::of(&run, uid);
            if runs.iter().all(|other| other.name != fact.name) {
                runs.push(fact);
            }
        }
        Served::Before => found.served = Some(due.slot),
        Served::Taken => {
            let count = found.skipped.map_or(0, |skipped| skipped.count) + 1;
            found.skipped = Some(Skipped { count, latest: due.slot, reason: reason::NAME_TAKEN });
        }
    }
}

/// When to look again for a slot.
fn until(slot: Option<Timestamp>, now: Timestamp) -> Next {
    slot.map_or(Next::OnChange, |slot| {
        let left = Duration::try_from(slot.duration_since(now)).unwrap_or(Duration::ZERO);
        // A little later than due: the clock that wakes and the clock that judges need not agree to the millisecond.
        Next::After((left + Duration::from_millis(20)).min(LONGEST))
    })
}
