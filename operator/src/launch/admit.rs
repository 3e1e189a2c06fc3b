//! Takes a run up: pins it, claims its name and slot in the ledger, begins its journal. Asked again, nothing happens twice.

use std::time::Duration;

use jiff::Timestamp;
use ntro_bundle::reference::Digest;
use ntro_crds::workflow_run::{Pin, Request, TriggerKind};
use ntro_crds::{Runbook, Workflow};
use ntro_journal::protocol::{Trigger, WorkflowRef};
use ntro_journal::{CreateRun, Inserted};
use ntro_schedule::period;
use ntro_schedule::spec::{self, period_of, slots};
use uuid::Uuid;

use super::pin::{self, Sources};
use super::{RunKey, Runs, plan};
use crate::controllers::act::{defect, problem};
use crate::controllers::workflow::validate::seed;
use crate::error::{Class, Classified, Problem};
use crate::failpoint;

/// What became of a run that was to be taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// Its journal has begun, now or earlier.
    Open(Uuid),
    /// A run of that name or slot has ended: it is not executed again.
    AlreadyRan(Uuid),
    /// The name or slot belongs to another request.
    Taken(Uuid),
}

/// Hash of what was asked for: tells the same wish from another under the same name.
pub fn request_hash(request: &Request, entity: &str) -> String {
    let text = serde_json::to_vec(&(request, entity)).unwrap_or_default();
    Digest::of(&text).hex().to_owned()
}

/// The slot of a request that a schedule made, in seconds.
fn slot(request: &Request) -> Option<String> {
    let scheduled = matches!(request.trigger.kind, TriggerKind::Schedule | TriggerKind::Backfill);
    request
        .trigger
        .scheduled_time
        .as_ref()
        .filter(|_| scheduled)
        .map(|time| time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

impl Runs {
    /// The Workflow of that name.
    pub fn workflow(&self, namespace: &str, name: &str) -> Option<std::sync::Arc<Workflow>> {
        self.workflows.get(&kube::runtime::reflector::ObjectRef::new(name).within(namespace))
    }

    /// The Runbook of that name.
    pub fn runbook(&self, namespace: &str, name: &str) -> Option<std::sync::Arc<Runbook>> {
        self.runbooks.get(&kube::runtime::reflector::ObjectRef::new(name).within(namespace))
    }

    /// Takes a run up. `run_id` is its identity if it has none yet.
    pub async fn admit(
        &self,
        key: &RunKey,
        workflow: &Workflow,
        request: &Request,
        run_id: Uuid,
    ) -> Result<Admitted, Problem> {
        if request.trigger.kind == TriggerKind::Backfill {
            check_slot(workflow, request)?;
        }
        check_due(request, self.context.clock.now())?;
        check_period(workflow, request)?;
        let tenant = self.context.tenants.get(&key.namespace).map(|tenant| tenant.slug).unwrap_or_default();
        let runbook = self.runbook(&key.namespace, &workflow.spec.runbook_ref.name);
        let workflow_uid = workflow.metadata.uid.clone().unwrap_or_default();
        let sources = Sources {
            workflow,
            workflow_uid: &workflow_uid,
            runbook: runbook.as_deref(),
            tenant: &tenant,
            runner_image: self.context.settings.runner_image(),
            request,
        };
        let pin = pin::pin(&sources).map_err(|error| error.problem())?;
        // The input names the identity; the ledger and the journal are begun in one transaction.
        let new = create(key, &pin, request, run_id, slot(request), &workflow.spec.entity)?;
        let inserted = self.journal.create_run(new).await.map_err(problem)?;
        failpoint::hit("run-created");
        Ok(match inserted {
            Inserted::Created(id) | Inserted::Existing(id) => Admitted::Open(id),
            Inserted::AlreadyRan(id) | Inserted::Conflict { run_id: id, terminal: true } => Admitted::AlreadyRan(id),
            Inserted::Conflict { run_id: id, terminal: false } => Admitted::Taken(id),
        })
    }
}

/// Longest sleep until a slot, in case the clock is set.
const LOOK_AGAIN: Duration = Duration::from_hours(1);

/// No run begins before its slot, whatever objects there are.
fn check_due(request: &Request, now: Timestamp) -> Result<(), Problem> {
    let Some(slot) = request.trigger.scheduled_time.as_ref().map(|time| time.0).filter(|slot| *slot > now) else {
        return Ok(());
    };
    let after = plan::until(now, slot).min(LOOK_AGAIN);
    let message = format!("the slot {slot} is not due yet");
    Err(Problem { class: Class::Waiting { after }, reason: "SlotNotDue", message })
}

/// A person may ask for slots of the schedule as it is, for the period they stand for.
fn check_slot(workflow: &Workflow, request: &Request) -> Result<(), Problem> {
    let invalid = |reason, message| Err(Problem { class: Class::Invalid, reason, message });
    let slots = slots(&workflow.spec, &seed(workflow)).map_err(|bad| Problem {
        class: Class::Invalid,
        reason: "ScheduleInvalid",
        message: bad.to_string(),
    })?;
    let Some(slot) = request.trigger.scheduled_time.as_ref().map(|time| time.0).filter(|slot| slots.has(*slot)) else {
        let asked = request.trigger.scheduled_time.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
        let message = format!("{asked} is no slot of the schedule: `ntro workflow backfill --dry-run` lists them");
        return invalid("NotASlot", message);
    };
    let period = period_of(&workflow.spec, slot);
    let asked = request.context.as_ref().and_then(|context| context.period.as_deref());
    if asked != Some(period.as_str()) {
        let message = format!("the slot {slot} stands for the period {period}: say so in context.period");
        return invalid("PeriodMismatch", message);
    }
    Ok(())
}

/// A period of the length that the Workflow says, if it says one: under another name the same month could be closed twice.
fn check_period(workflow: &Workflow, request: &Request) -> Result<(), Problem> {
    let Some(asked) = request.context.as_ref().and_then(|context| context.period.as_deref()) else { return Ok(()) };
    let wanted = workflow.spec.period.as_ref().map(|rule| spec::unit(rule.unit));
    let message = match period::unit_of(asked) {
        None => format!("context.period {asked} is no period: write 2026-10-31, 2026-10, 2026-Q4 or 2026"),
        Some(unit) if wanted.is_some_and(|wanted| wanted != unit) => {
            let like = period_of(&workflow.spec, Timestamp::UNIX_EPOCH);
            format!("context.period {asked} is not of the length that the Workflow's period says: write it like {like}")
        }
        Some(_) => return Ok(()),
    };
    Err(Problem { class: Class::Invalid, reason: "PeriodInvalid", message })
}

/// What the journal of a new run is begun with.
fn create(
    key: &RunKey,
    pin: &Pin,
    request: &Request,
    run_id: Uuid,
    slot: Option<String>,
    entity: &str,
) -> Result<CreateRun, Problem> {
    let kind = match request.trigger.kind {
        TriggerKind::Manual => "Manual",
        TriggerKind::Schedule => "Schedule",
        TriggerKind::Backfill => "Backfill",
        TriggerKind::Child => "Child",
    };
    Ok(CreateRun {
        run_id,
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        workflow: WorkflowRef { name: request.workflow_ref.name.clone(), uid: pin.workflow_uid.clone() },
        slot,
        trigger: Trigger { kind: kind.to_owned(), initiator: request.trigger.initiator.clone() },
        pin: pin::for_journal(pin, request).map_err(defect)?,
        input: pin::input(pin, request, run_id),
        request_hash: request_hash(request, entity),
    })
}
