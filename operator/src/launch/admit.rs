//! Admits a run: pins it, claims its name and slot, begins its journal. Asked again, nothing happens twice.

use ntro_crds::Workflow;
use ntro_crds::workflow_run::{Request, RunPin};
use ntro_journal::failpoint;
use ntro_journal::protocol::{Payload, RunTrigger, RunWorkflow, entries};
use ntro_journal::{CreateRun, Inserted};
use uuid::Uuid;

use super::Launcher;
use super::pin::{self, Sources};
use super::request;
use crate::cache::RunRef;
use crate::error::{Classified, Problem};

/// What became of a run that was to be admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// Its journal has begun, now or earlier.
    Journaled(Uuid),
    /// A run of that name or slot has ended: it is not executed again.
    AlreadyRan(Uuid),
    /// The name or slot belongs to another request.
    NameTaken(Uuid),
}

impl Launcher {
    /// Admits a run. `run_id` is its identity if it has none yet.
    pub(crate) async fn admit(
        &self,
        run: &RunRef,
        workflow: &Workflow,
        request: &Request,
        run_id: Uuid,
    ) -> Result<Admitted, Problem> {
        let context = &self.context;
        request::check(workflow, request, context.clock.now())?;
        let tenant = context.tenants.get(&run.namespace).map(|tenant| tenant.slug).unwrap_or_default();
        let runbook = self.cache.runbook(&run.namespace, &workflow.spec.runbook_ref.name);
        let workflow_uid = workflow.metadata.uid.clone().unwrap_or_default();
        let sources = Sources {
            workflow,
            workflow_uid: &workflow_uid,
            runbook: runbook.as_deref(),
            tenant: &tenant,
            runner_image: context.settings.runner_image(),
            request,
        };
        let pin = pin::pin(&sources).map_err(|error| error.problem())?;
        // The input names the identity; the claims and the journal are begun in one transaction.
        let new = journal_header(run, &pin, request, run_id, &workflow.spec.entity)?;
        let inserted = context.journal.create_run(new).await?;
        failpoint::hit("run-created");
        Ok(match inserted {
            Inserted::Created(id) | Inserted::Existing(id) => Admitted::Journaled(id),
            Inserted::AlreadyRan(id) | Inserted::Conflict { run_id: id, terminal: true } => Admitted::AlreadyRan(id),
            Inserted::Conflict { run_id: id, terminal: false } => Admitted::NameTaken(id),
        })
    }
}

/// What the journal of a new run is begun with.
fn journal_header(
    run: &RunRef,
    pin: &RunPin,
    request: &Request,
    run_id: Uuid,
    entity: &str,
) -> Result<CreateRun, Problem> {
    Ok(CreateRun {
        run: entries::RunCreated {
            run_id,
            namespace: run.namespace.clone(),
            name: run.name.clone(),
            workflow: RunWorkflow { name: request.workflow_ref.name.clone(), uid: pin.workflow_uid.clone() },
            slot: request::slot(request),
            trigger: RunTrigger {
                kind: request.trigger.kind.as_str().to_owned(),
                initiator: request.trigger.initiator.clone(),
            },
            pin: pin::for_journal(pin, request).map_err(|error| Problem::bug(&error))?,
            input: Payload::inline(pin::input(pin, request, run_id)),
        },
        request_hash: request::hash(request, entity),
    })
}
