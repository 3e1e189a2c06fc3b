//! The objects that `ntro workflow create` applies.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;
use ntro_bundle::pack::PackedBundle;
use ntro_bundle::reference::Repository;
use ntro_crds::runbook::Source;
use ntro_crds::workflow::RunbookRef;
use ntro_crds::{Runbook, RunbookSpec, Workflow, WorkflowSpec, labels, names, schema};

use crate::args::WorkflowCreateArgs;
use crate::cluster::Cluster;
use crate::commands::workflow::api;
use crate::error::{Failure, Result};

pub(super) fn runbook(
    packed: &PackedBundle,
    namespace: &str,
    repository: &Repository,
    args: &WorkflowCreateArgs,
) -> Runbook {
    let source = Source { url: repository.to_string(), secret_ref: None, insecure: args.plain_http.then_some(true) };
    let spec = RunbookSpec { source, version: None, digest: None, interval: None, suspend: None };
    let mut object = Runbook::new(&packed.manifest.slug, spec);
    object.metadata.namespace = Some(namespace.into());
    // A new bundle is pulled at once instead of at the next interval; for the same bundle nothing changes.
    object.metadata.annotations =
        Some(BTreeMap::from([(labels::RECONCILE_REQUESTED_AT.to_owned(), packed.digest.to_string())]));
    object
}

pub(super) async fn workflow(
    args: &WorkflowCreateArgs,
    entity: &str,
    packed: &PackedBundle,
    cluster: &Cluster,
    config: schema::Object,
) -> Result<Workflow> {
    let slug = &packed.manifest.slug;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => default_name(cluster, slug, entity).await?,
    };
    Ok(Workflow {
        metadata: ObjectMeta { name: Some(name), namespace: Some(cluster.namespace().into()), ..ObjectMeta::default() },
        spec: WorkflowSpec {
            runbook_ref: RunbookRef { name: slug.clone(), version: args.pin.then(|| packed.digest.to_string()) },
            entity: entity.into(),
            config: (!config.is_empty()).then_some(config),
            schedule: args.schedule.clone(),
            time_zone: args.timezone.clone(),
            ..WorkflowSpec::default()
        },
        status: None,
    })
}

/// The slug, or with a hash of the entity if the workflow of another entity has that name.
async fn default_name(cluster: &Cluster, slug: &str, entity: &str) -> Result<String> {
    let what = format!("get Workflow {}/{slug}", cluster.namespace());
    let existing = api(cluster).get_opt(slug).await.map_err(|e| Failure::from_kube(&what, e))?;
    let is_free = existing.is_none_or(|workflow| workflow.spec.entity == entity);
    Ok(if is_free { slug.to_owned() } else { names::workflow_for(slug, entity) })
}
