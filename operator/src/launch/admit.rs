//! Admits a run: pins it, claims its name and slot, begins its journal. Asked again, nothing happens twice.

use std::time::Duration;

use ntro_crds::Reason;
use ntro_crds::Workflow;
use ntro_crds::workflow_run::{Request, RunPin};
use ntro_journal::failpoint;
use ntro_journal::protocol::{Payload, RunTenant, RunTrigger, RunWorkflow, entries};
use ntro_journal::{CreateRun, Inserted};
use uuid::Uuid;

use super::Launcher;
use super::pin::{self, Sources};
use super::request;
use crate::cache::RunRef;
use crate::context::Context;
use crate::error::{Class, Classified, Problem};

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
        let tenant = context.tenant(&run.namespace)?.of_runs();
        check_storage(context, run, &tenant).await?;
        request::check(workflow, request, context.clock.now())?;
        let runbook = self.cache.runbook(&run.namespace, &workflow.spec.runbook_ref.name);
        let workflow_uid = workflow.metadata.uid.clone().unwrap_or_default();
        let sources = Sources {
            workflow,
            workflow_uid: &workflow_uid,
            runbook: runbook.as_deref(),
            tenant: &tenant.slug,
            runner_image: context.settings.runner_image(),
            request,
        };
        let pin = pin::pin(&sources).map_err(|error| error.problem())?;
        // The input names the identity; the claims and the journal are begun in one transaction.
        let new = journal_header(run, tenant, &pin, request, (run_id, &workflow.spec.entity))?;
        let inserted = context.journal.create_run(new).await?;
        failpoint::hit("run-created");
        Ok(match inserted {
            Inserted::Created(id) | Inserted::Existing(id) => Admitted::Journaled(id),
            Inserted::AlreadyRan(id) | Inserted::Conflict { run_id: id, terminal: true } => Admitted::AlreadyRan(id),
            Inserted::Conflict { run_id: id, terminal: false } => Admitted::NameTaken(id),
        })
    }
}

/// When a run that finds no room is tried again.
const STORAGE_RETRY: Duration = Duration::from_secs(30);

/// Holds back runs that have not begun while there is no room for them. Those that have go on.
async fn check_storage(context: &Context, run: &RunRef, tenant: &RunTenant) -> Result<(), Problem> {
    let (journal, settings) = (&context.journal, &context.settings);
    let uid = &tenant.namespace_uid;
    let kept = (journal.kept(uid), journal.limits(uid).tenant_max);
    let free = (journal.free_bytes()?, settings.storage_reserve);
    let Some(message) = no_room(kept, free) else { return Ok(()) };
    if journal.run_by_name(uid, &run.name).await?.is_some() {
        return Ok(());
    }
    Err(Problem::new(Class::Waiting { after: STORAGE_RETRY }, Reason::StorageFull, message))
}

/// Why no run begins, if none may: bytes that the tenant keeps, of at most so many, and that the volume has left, of at least
/// so many.
fn no_room((kept, most): (u64, u64), (free, reserve): (u64, u64)) -> Option<String> {
    if kept >= most {
        Some(format!(
            "tenant keeps {kept} bytes of at most {most}: delete what is not needed, or raise limits.tenant, the tenant's or the operator's"
        ))
    } else if free < reserve {
        Some(format!("the operator's volume has {free} bytes left, and new runs are held below {reserve}: enlarge it"))
    } else {
        None
    }
}

/// What the journal of a new run is begun with.
fn journal_header(
    run: &RunRef,
    tenant: RunTenant,
    pin: &RunPin,
    request: &Request,
    (run_id, entity): (Uuid, &str),
) -> Result<CreateRun, Problem> {
    Ok(CreateRun {
        run: entries::RunCreated {
            run_id,
            namespace: run.namespace.clone(),
            tenant,
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

#[cfg(test)]
mod tests {
    use ntro_journal::TenantLimits;

    use super::*;
    use crate::testing::runs::run_created;
    use crate::testing::{api_server, context};

    #[test]
    fn no_run_begins_for_a_tenant_or_on_a_volume_that_is_full() {
        assert_eq!(no_room((9, 10), (5, 5)), None);
        assert!(no_room((10, 10), (5, 5)).is_some_and(|why| why.contains("limits.tenant")));
        assert!(no_room((0, 10), (4, 5)).is_some_and(|why| why.contains("enlarge it")));
    }

    #[tokio::test]
    async fn a_tenant_that_keeps_all_it_may_have_of_its_own_begins_no_run_and_no_other_waits() {
        let dir = tempfile::tempdir().unwrap();
        let (context, _) = context(dir.path(), api_server(|_| None).0).await;
        for namespace in ["acme", "beta"] {
            let run = run_created(Uuid::new_v4(), namespace, "nav-1");
            context.journal.create_run(CreateRun { run, request_hash: "r".to_owned() }).await.unwrap();
        }
        let own = TenantLimits { tenant_max: Some(100), ..TenantLimits::default() };
        context.journal.set_limits("uid-acme", own);
        let check = async |namespace: &str, name: &str| {
            let tenant = context.tenant(namespace).unwrap().of_runs();
            check_storage(&context, &RunRef::new(namespace, name), &tenant).await
        };
        let held = check("acme", "nav-2").await.unwrap_err();
        assert_eq!(held.reason, Reason::StorageFull);
        assert!(held.message.contains("at most 100"), "{}", held.message);
        assert!(check("acme", "nav-1").await.is_ok(), "what has begun goes on");
        assert!(check("beta", "nav-2").await.is_ok());
    }
}
