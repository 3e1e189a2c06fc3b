//! One pass over a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use ntro_crds::admission::operator_user;
use ntro_crds::workflow_run::{Phase, Pin, TriggerKind, WorkflowRunStatus};
use ntro_crds::{WorkflowRun, labels};
use ntro_journal::machine::{Gate, GateState, SegmentState};
use ntro_journal::{GateAct, JournalError, PublishedHead, RunState, protocol as journal};
use serde_json::json;
use uuid::Uuid;

use super::admit::Admitted;
use super::job::{self, JobInput};
use super::object::{is_same, key_of, last_write, request_of, run_object};
use super::objects::Known;
use super::plan::{self, JobView, Limits, PodView, Step, View};
use super::status::{self, Source};
use super::wake::settle_acts;
use super::{RunKey, Runs, object, pin};
use crate::controllers::act::{self, problem};
use crate::controllers::gate::{self, GateInput};
use crate::controllers::workflow::validate::jitter_of;
use crate::error::{Class, Next, Problem};
use crate::failpoint;
use crate::kube_ext::{Created, FIELD_MANAGER, create_once, patch_status_if_changed};
use crate::metrics::Started;
use crate::pace;

/// Changes that nobody waits for are written together, this far apart.
const COALESCE: SignedDuration = SignedDuration::from_secs(10);
/// How long a run may be on its way to a pod before its status says so: most are there sooner.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(2);

/// Longest sleep until a gate expires, in case the clock is set.
const LONGEST: Duration = Duration::from_hours(1);
/// Jobs and pods of a run.
struct Seen {
    jobs: Vec<JobView>,
    pods: Vec<PodView>,
}

impl Runs {
    /// Brings everything about a run in line, and says when to look again.
    pub async fn pass(&self, key: RunKey) -> Result<Next, Problem> {
        let Some(tenant) = self.context.tenants.get(&key.namespace) else { return Ok(Next::OnChange) };
        if tenant.terminating {
            return Ok(Next::OnChange);
        }
        let known_object = self.objects.get(&key);
        if matches!(known_object, Known::Missing) && self.lock_starting().contains_key(&key) {
            // Its journal has begun; who began it is about to make the object.
            return Ok(Next::OnChange);
        }
        let starting = self.lock_starting().remove(&key);
        if starting.is_none() && self.put_off(&key).await? {
            return Ok(Next::After(pace::LONGEST));
        }
        let object = match known_object {
            Known::Open(object) => Some(object),
            Known::Ended => {
                self.context.namespaced::<WorkflowRun>(&key.namespace).get_opt(&key.name).await?.map(Arc::new)
            }
            Known::Missing => None,
        };
        let object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
        let known = self.journal.run_by_name(&key.namespace, &key.name).await.map_err(problem)?;
        match (object, known) {
            (None, None) => {
                act::refuse_all(&self.context, &self.acts.of(&key), "RunMissing").await?;
                Ok(Next::OnChange)
            }
            (None, Some(id)) => self.orphan(&key, id).await,
            (Some(object), None) => self.newcomer(&key, &object).await,
            (Some(object), Some(id)) => self.known(&key, &object, id).await,
        }
    }

    /// Puts a run off whose first Job waits for its pod while other runs of the namespace are being started: there is
    /// nothing to do about it but to say so.
    async fn put_off(&self, key: &RunKey) -> Result<bool, Problem> {
        if !self.context.pace.is_busy(&key.namespace) || !self.acts.of(key).is_empty() {
            return Ok(false);
        }
        let Some(id) = self.journal.run_by_name(&key.namespace, &key.name).await.map_err(problem)? else {
            return Ok(false);
        };
        let Some(state) = self.begun(id).await? else { return Ok(false) };
        let idle =
            state.segment == 1 && state.segment_state == SegmentState::Queued && state.cancel_requested.is_none();
        let (queue, again) = (self.queue.clone(), key.clone());
        Ok(idle && self.context.pace.defer(&key.namespace, ("run", key.name.clone()), move || queue.push(again)))
    }

    /// A run without an object: made again unless it has ended. Deleting is not cancelling.
    async fn orphan(&self, key: &RunKey, id: Uuid) -> Result<Next, Problem> {
        // A name that is claimed without a journal: the slot's controller goes on with it.
        let Some(state) = self.begun(id).await? else { return Ok(Next::OnChange) };
        if state.terminal.is_some() {
            return Ok(Next::OnChange);
        }
        self.recreate(key, &state).await?;
        Ok(Next::OnChange)
    }

    /// The state of a run whose journal has begun.
    async fn begun(&self, id: Uuid) -> Result<Option<Arc<RunState>>, Problem> {
        match self.journal.state(id).await {
            Ok(state) => Ok(Some(state)),
            Err(JournalError::UnknownRun(_)) => Ok(None),
            Err(error) => Err(problem(error)),
        }
    }

    /// Makes the object of a run that has a journal.
    pub async fn recreate(&self, key: &RunKey, state: &RunState) -> Result<(), Problem> {
        let Some(request) = request_of(state) else { return Ok(()) };
        let object = run_object(key, &request, &state.workflow.uid, state.run_id);
        if let Created::New(_) = create_once(&self.context.client, &object).await? {
            tracing::info!(namespace = key.namespace, run = key.name, "made the WorkflowRun of an open journal");
        }
        Ok(())
    }

    /// An object nobody has taken up yet.
    async fn newcomer(&self, key: &RunKey, object: &WorkflowRun) -> Result<Next, Problem> {
        let before = object.status.as_ref();
        if before.is_some_and(|status| status.run_id.is_some()) {
            let message =
                "the store does not know this run: it is older than what was published; restore the newest copy";
            return self.refuse(object, "JournalBehind", message).await;
        }
        let request = &object.spec.request;
        let name = &request.workflow_ref.name;
        let Some(workflow) = self.workflow(&key.namespace, name) else {
            let message = format!("Workflow {name} does not exist");
            return self.wait(object, "WorkflowMissing", &message, false).await;
        };
        match self.admit(key, &workflow, request).await {
            Ok(Admitted::Open(id)) => self.known(key, object, id).await,
            Ok(Admitted::AlreadyRan(_) | Admitted::Taken(_)) => self.already_ran(object).await,
            Err(error) => {
                let stalled = error.class == Class::Invalid;
                self.wait(object, error.reason, &error.message, stalled).await?;
                Err(error)
            }
        }
    }

    async fn already_ran(&self, object: &WorkflowRun) -> Result<Next, Problem> {
        let message =
            "a run of this name has been executed already; nothing is executed again: start a run with another name";
        self.refuse(object, "AlreadyRan", message).await
    }

    async fn refuse(&self, object: &WorkflowRun, code: &'static str, message: &str) -> Result<Next, Problem> {
        let now = self.context.clock.now();
        let next = status::refused(object.status.as_ref(), object.metadata.generation, code, message, now);
        self.write_status(object, &next).await?;
        act::refuse_all(&self.context, &self.acts.of(&key_of(object)), code).await?;
        Ok(Next::OnChange)
    }

    async fn wait(&self, object: &WorkflowRun, reason: &str, message: &str, stalled: bool) -> Result<Next, Problem> {
        let now = self.context.clock.now();
        let next =
            status::not_started(object.status.as_ref(), object.metadata.generation, reason, message, stalled, now);
        self.write_status(object, &next).await?;
        Ok(Next::After(Duration::from_mins(1)))
    }

    /// A run with an object and a journal.
    async fn known(&self, key: &RunKey, object: &WorkflowRun, id: Uuid) -> Result<Next, Problem> {
        let before = object.status.as_ref();
        let published = before.and_then(|status| status.run_id.as_deref());
        let Some(state) = self.begun(id).await? else { return self.begin(key, object).await };
        match published {
            Some(published) if published != id.to_string() => {
                let message =
                    "the store knows another run under this name: it is not the one that published this status";
                return self.refuse(object, "JournalBehind", message).await;
            }
            None if state.terminal.is_some() || !is_same(object, &state) => {
                // What the watch shows may be older than what was published: the API server itself is asked.
                let api = self.context.namespaced::<WorkflowRun>(&key.namespace);
                let fresh = api.get_opt(&key.name).await?;
                if fresh.and_then(|object| object.status?.run_id).is_some() {
                    return Ok(Next::After(Duration::from_secs(1)));
                }
                return self.already_ran(object).await;
            }
            _ => {}
        }
        if self.behind(before, id).await? {
            if state.terminal.is_none() {
                self.journal.block(id, ntro_journal::protocol::BlockCode::JournalBehind).await.map_err(problem)?;
            }
            let message = "the store is older than, or differs from, what was published; restore the newest copy";
            return self.refuse(object, "JournalBehind", message).await;
        }
        self.go_on(key, object, &state).await
    }

    /// The name is claimed but the journal has not begun: the operator died in between.
    async fn begin(&self, key: &RunKey, object: &WorkflowRun) -> Result<Next, Problem> {
        let request = &object.spec.request;
        let Some(workflow) = self.workflow(&key.namespace, &request.workflow_ref.name) else {
            return self.wait(object, "WorkflowMissing", "its Workflow does not exist", false).await;
        };
        match self.admit(key, &workflow, request).await? {
            Admitted::Open(id) => {
                let state = self.journal.state(id).await.map_err(problem)?;
                self.go_on(key, object, &state).await
            }
            Admitted::AlreadyRan(_) | Admitted::Taken(_) => self.already_ran(object).await,
        }
    }

    async fn behind(&self, before: Option<&WorkflowRunStatus>, id: Uuid) -> Result<bool, Problem> {
        let Some(head) = before.and_then(|status| status.journal.as_ref()) else { return Ok(false) };
        let head = PublishedHead { length: u64::try_from(head.length).unwrap_or(0), head: head.head.clone() };
        self.journal.is_behind(id, &head).await.map_err(problem)
    }

    async fn go_on(&self, key: &RunKey, object: &WorkflowRun, state: &RunState) -> Result<Next, Problem> {
        let id = state.run_id;
        let pin = pin::from_journal(&state.pin).ok_or_else(|| {
            let message = format!("the journal of run {id} has a pin this release cannot read");
            Problem { class: Class::Bug, reason: "PinUnreadable", message }
        })?;
        let acts = self.acts.of(key);
        act::process(&self.context, &self.journal, state, &pin, &acts).await?;
        let state = self.journal.state(id).await.map_err(problem)?;
        let expiry = self.expire_gates(&state, &pin).await?;
        let state = self.journal.state(id).await.map_err(problem)?;
        let mut next = self.jobs(key, object, &state, &pin).await?.sooner(expiry);
        let state = self.journal.state(id).await.map_err(problem)?;
        // A Gate that the API server does not take must not hide how the run stands.
        let gates = self.gates(key, object, &state, &pin).await;
        next = next.sooner(self.publish(key, object, &state, &pin).await?);
        gates?;
        let now = self.context.clock.now();
        if let Some(due) = act::prune(&self.context, &acts, now).await? {
            next = next.sooner(Next::After(plan::until(now, due)));
        }
        Ok(next)
    }

    /// Rejects the gates that have waited for longer than their policy lets them. Every act that came in time comes first.
    async fn expire_gates(&self, state: &RunState, pin: &Pin) -> Result<Next, Problem> {
        if state.terminal.is_some() {
            return Ok(Next::OnChange);
        }
        let open = |gate: &&Gate| gate.state == GateState::Open;
        let waits: Vec<_> = state
            .gates
            .values()
            .filter(open)
            .filter_map(|gate| Some((gate.id, gate::policy_due(gate, pin)?)))
            .collect();
        let now = self.context.clock.now();
        let mut next = Next::OnChange;
        if waits.iter().any(|(_, due)| *due <= now) {
            settle_acts(&self.context).await?;
        }
        for (gate_id, due) in waits {
            if due > now {
                next = next.sooner(Next::After(plan::until(now, due).min(LONGEST)));
                continue;
            }
            // What the acts left open.
            let state = self.journal.state(state.run_id).await.map_err(problem)?;
            let Some(gate) = state.gates.values().filter(open).find(|gate| gate.id == gate_id) else { continue };
            let expired = GateAct {
                gate_id,
                revision: gate.revision,
                digest: None,
                verb: journal::Verb::Reject,
                actor: operator_user(&self.context.settings.namespace),
                groups: Vec::new(),
                // The same gate expires once, whoever asks.
                act: format!("expired-{gate_id}"),
                acted_at: due,
                comment: None,
                correction: None,
            };
            let outcome = self.journal.decide(state.run_id, expired).await.map_err(problem)?;
            tracing::info!(run_id = %state.run_id, step = gate.step, ?outcome, "a gate waited for longer than its policy lets it");
        }
        Ok(next)
    }

    /// Does what the plan says until it says nothing new.
    async fn jobs(&self, key: &RunKey, object: &WorkflowRun, state: &RunState, pin: &Pin) -> Result<Next, Problem> {
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
                let params = DeleteParams {
                    propagation_policy: Some(PropagationPolicy::Foreground),
                    preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
                    ..DeleteParams::default()
                };
                match api.delete(&name, &params).await {
                    Ok(_) => Ok(false),
                    Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
                    Err(error) => Err(error.into()),
                }
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

    async fn gates(&self, key: &RunKey, object: &WorkflowRun, state: &RunState, pin: &Pin) -> Result<(), Problem> {
        let run_uid = object.uid().unwrap_or_default();
        let titles = self.titles(key, pin);
        let acts: BTreeMap<_, _> =
            self.acts.of(key).iter().filter_map(|act| Some((act.uid()?, act.name_any()))).collect();
        let now = self.context.clock.now();
        let title =
            |step: &str| titles.iter().find(|(id, _)| id == step).map_or(step, |(_, title)| title.as_str()).to_owned();
        let named: Vec<_> = state.gates.values().map(|gate| (gate, title(&gate.step))).collect();
        let inputs: Vec<_> = named
            .iter()
            .map(|(gate, title)| GateInput { state, gate, pin, run_uid: &run_uid, title, acts: &acts, now })
            .collect();
        gate::ensure(&self.context, &inputs, &self.gates.of(key)).await
    }

    /// Titles of the steps, from the manifest of the pinned version.
    fn titles(&self, key: &RunKey, pin: &Pin) -> Vec<(String, String)> {
        let runbook = self.runbook(&key.namespace, &pin.runbook.name);
        let versions = runbook.as_ref().and_then(|runbook| runbook.status.as_ref()?.versions.as_deref());
        let version = versions.unwrap_or_default().iter().find(|version| version.digest == pin.runbook.digest);
        let steps = version.and_then(|version| version.steps.as_deref()).unwrap_or_default();
        steps.iter().map(|step| (step.id.clone(), step.title.clone().unwrap_or_else(|| step.id.clone()))).collect()
    }

    /// Writes the status if it is time to.
    async fn publish(&self, key: &RunKey, object: &WorkflowRun, state: &RunState, pin: &Pin) -> Result<Next, Problem> {
        let before = object.status.as_ref();
        let now = self.context.clock.now();
        let titles = self.titles(key, pin);
        let pods_live = self.pods.of(key).iter().filter_map(|pod| plan::pod_view(pod, now)).any(|pod| pod.alive);
        let source =
            Source { generation: object.metadata.generation, before, state, pin, titles: &titles, pods_live, now };
        let after = status::project(&source);
        let on_its_way =
            matches!(after.phase, Some(Phase::Pending | Phase::Queued)) && before.is_none_or(|b| b.blocked.is_none());
        if on_its_way {
            let (queue, again) = (self.queue.clone(), key.clone());
            let later = move || queue.push_after(again, Duration::from_millis(200));
            if self.context.pace.defer(&key.namespace, ("run", key.name.clone()), later) {
                return Ok(Next::After(pace::LONGEST));
            }
            let due = state.head_time.checked_add(ON_ITS_WAY).unwrap_or(now);
            if due > now {
                return Ok(Next::After(plan::until(now, due)));
            }
        }
        if !status::urgent(before, &after) {
            let last = last_write(object);
            let due = last.and_then(|last| last.checked_add(COALESCE).ok()).unwrap_or(now);
            if due > now {
                let differs =
                    crate::kube_ext::same_but_for_times(&before.cloned(), &Some(after)).is_ok_and(|same| !same);
                return Ok(if differs { Next::After(plan::until(now, due)) } else { Next::OnChange });
            }
        }
        self.write_status(object, &after).await?;
        if after.phase.is_some_and(Phase::is_terminal) {
            self.hand_over(key, object, state).await?;
        }
        Ok(Next::OnChange)
    }

    /// An ended run goes with its Workflow, if that is still the one it was made for.
    async fn hand_over(&self, key: &RunKey, object: &WorkflowRun, state: &RunState) -> Result<(), Problem> {
        let workflow = self.workflow(&key.namespace, &state.workflow.name);
        let Some(workflow) = workflow.filter(|w| w.uid().as_deref() == Some(state.workflow.uid.as_str())) else {
            return Ok(());
        };
        if workflow.metadata.deletion_timestamp.is_some() || !object.owner_references().is_empty() {
            return Ok(());
        }
        let api = self.context.namespaced::<WorkflowRun>(&key.namespace);
        // The UID is a precondition: an object made again under the name is another one.
        let owner = object::owned_by(&workflow);
        let patch = json!({ "metadata": { "uid": object.uid(), "ownerReferences": [owner] } });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch_metadata(&key.name, &params, &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes how much later than it was due the first Job of a scheduled run was made.
    fn started(&self, object: &WorkflowRun, segment: u32) {
        let trigger = &object.spec.request.trigger;
        let slot = trigger.scheduled_time.as_ref().filter(|_| segment == 1 && trigger.kind == TriggerKind::Schedule);
        let namespace = object.namespace().unwrap_or_default();
        let workflow = self.workflow(&namespace, &object.spec.request.workflow_ref.name);
        if let (Some(slot), Some(workflow)) = (slot, workflow) {
            let due = slot.0.saturating_add(jitter_of(&workflow)).unwrap_or(slot.0);
            self.context.metrics.skew(Started::Job, self.context.clock.now().duration_since(due));
        }
    }

    async fn write_status(&self, object: &WorkflowRun, next: &WorkflowRunStatus) -> Result<(), Problem> {
        let api = self.context.namespaced::<WorkflowRun>(&object.namespace().unwrap_or_default());
        let made = patch_status_if_changed(&api, &object.name_any(), object.status.as_ref(), next).await?;
        // The next pass sees what this one wrote, even if the watch is late.
        if let Some(made) = made {
            self.objects.put(made);
        }
        Ok(())
    }
}
