//! `ntro workflow create`: check, push, apply, wait. Whatever can be refused is found out before anything is pushed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use ntro_bundle::config_schema::ConfigSchema;
use ntro_bundle::credentials;
use ntro_bundle::pack::{self, PackedBundle};
use ntro_bundle::reference::{Digest, Repository, Tag};
use ntro_bundle::registry::{Overwrite, Registry, RegistrySettings};
use ntro_crds::runbook::Source;
use ntro_crds::workflow::RunbookRef;
use ntro_crds::{Runbook, RunbookSpec, Workflow, WorkflowSpec, labels, names, schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::{Global, Output, WorkflowCreate};
use crate::cluster::Cluster;
use crate::commands::runbook::validate;
use crate::commands::shared::{columns, manifest};
use crate::error::{Failure, Outcome, Result, chain};
use crate::operator_api::Contact;
use crate::printer::{Printer, Table};

/// Fields of the configuration that each run brings along itself.
const SUPPLIED: &[&str] = &["period"];
/// How long the operator may take to look at what was applied.
const PATIENCE: Duration = Duration::from_mins(2);

/// Runs `ntro workflow create`.
pub async fn run(args: &WorkflowCreate, global: &Global, printer: Printer) -> Result<Outcome> {
    if global.tenant.is_none() && global.namespace.is_none() {
        return Err(Failure::Usage("name the tenant with --tenant".into()));
    }
    let packed = packed(args, printer)?;
    let config = config(args)?;
    check_config(&packed, &config)?;
    check_schedule(args)?;
    let cluster = Cluster::connect(global).await?;
    let namespace = cluster.namespace().to_owned();
    Contact::read(&cluster).await?;
    let repository = repository(args, &cluster, &packed).await?;
    let digest = packed.digest.clone();
    let runbook = runbook_object(&packed, &namespace, &repository, &digest, args);
    let workflow = match &args.entity {
        Some(entity) => Some(workflow_object(args, entity, &packed, &cluster, &digest, config).await?),
        None => None,
    };
    if args.dry_run {
        return print(&runbook, workflow.as_ref(), printer);
    }
    // The API server's opinion first: nothing is pushed for resources it refuses.
    apply(&cluster, &runbook, true).await?;
    if let Some(workflow) = &workflow {
        apply(&cluster, workflow, true).await?;
    }
    push(&packed, &repository, args, printer).await?;
    apply(&cluster, &runbook, false).await?;
    let slug = &packed.manifest.slug;
    printer.line(format!("runbook/{slug} {} {digest}", packed.manifest.version));
    let Some(workflow) = workflow else { return Ok(Outcome::Done) };
    apply(&cluster, &workflow, false).await?;
    printer.line(format!("workflow/{} applied", workflow.name_any()));
    if !args.no_wait {
        wait_ready(&cluster, slug, &workflow.name_any(), printer).await?;
    }
    Ok(Outcome::Done)
}

/// The bundle, checked and packed.
fn packed(args: &WorkflowCreate, printer: Printer) -> Result<PackedBundle> {
    let report = validate::read(&args.path)?;
    let errors: Vec<_> = report.errors().map(ToString::to_string).collect();
    if let [one] = errors.as_slice() {
        return Err(Failure::Invalid(format!("bundle {}: {one}", args.path.display())));
    }
    validate::print(&report, printer);
    if !errors.is_empty() {
        return Err(Failure::Invalid(format!(
            "bundle {} has {} problems, listed above",
            args.path.display(),
            errors.len()
        )));
    }
    pack::pack(&args.path).map_err(|e| Failure::Invalid(format!("bundle {}: {e}", args.path.display())))
}

/// The configuration: the file's values, then those of `--set`.
fn config(args: &WorkflowCreate) -> Result<schema::Object> {
    let mut values = match &args.config {
        None => schema::Object::new(),
        Some(path) => {
            let bad = |e: String| Failure::Usage(format!("cannot read the configuration {}: {e}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
            serde_saphyr::from_str(&text)
                .map_err(|e| bad(e.to_string().lines().next().unwrap_or_default().to_owned()))?
        }
    };
    for pair in &args.set {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| Failure::Usage(format!("--set {pair}: expected KEY=VALUE")))?;
        values.insert(key.into(), serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into())));
    }
    Ok(values)
}

fn check_config(packed: &PackedBundle, config: &schema::Object) -> Result<()> {
    let Some(raw) = &packed.config.config_schema else { return Ok(()) };
    let checked = ConfigSchema::parse(raw).and_then(|schema| schema.check(&Value::Object(config.clone()), SUPPLIED));
    checked.map(drop).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure::Invalid(format!("the configuration does not fit the runbook's config_schema: {}", lines.join("; ")))
    })
}

fn check_schedule(args: &WorkflowCreate) -> Result<()> {
    let Some(schedule) = &args.schedule else { return Ok(()) };
    ntro_schedule::cron::Schedule::parse(schedule, args.timezone.as_deref(), "")
        .map(drop)
        .map_err(|e| Failure::Invalid(e.to_string()))
}

/// Where to push: `--registry` or `$NTRO_REGISTRY`, else the annotation of the tenant's namespace; the slug is the last part.
async fn repository(args: &WorkflowCreate, cluster: &Cluster, packed: &PackedBundle) -> Result<Repository> {
    let namespace = cluster.namespace();
    let prefix = if let Some(prefix) = args.registry.as_ref().filter(|prefix| !prefix.is_empty()) {
        prefix.clone()
    } else {
        let object = Api::<Namespace>::all(cluster.client.clone()).get(namespace).await;
        let annotation = object.ok().and_then(|n| n.annotations().get(labels::REGISTRY).cloned());
        annotation.filter(|a| !a.is_empty()).ok_or_else(|| {
            Failure::Usage(format!(
                "no registry to push to: give --registry or NTRO_REGISTRY, or set `registry` for tenant {namespace}"
            ))
        })?
    };
    let prefix = prefix.trim_start_matches("oci://").trim_end_matches('/');
    format!("oci://{prefix}/{}", packed.manifest.slug).parse().map_err(|e| Failure::Usage(format!("--registry: {e}")))
}

fn runbook_object(
    packed: &PackedBundle,
    namespace: &str,
    repository: &Repository,
    digest: &Digest,
    args: &WorkflowCreate,
) -> Runbook {
    let source = Source { url: repository.to_string(), secret_ref: None, insecure: args.plain_http.then_some(true) };
    let spec = RunbookSpec { source, version: None, digest: None, interval: None, suspend: None };
    let mut object = Runbook::new(&packed.manifest.slug, spec);
    object.metadata.namespace = Some(namespace.into());
    // A new bundle is looked at now instead of at the next interval; the same bundle changes nothing.
    object.metadata.annotations =
        Some(BTreeMap::from([(labels::RECONCILE_REQUESTED_AT.to_owned(), digest.to_string())]));
    object
}

async fn workflow_object(
    args: &WorkflowCreate,
    entity: &str,
    packed: &PackedBundle,
    cluster: &Cluster,
    digest: &Digest,
    config: schema::Object,
) -> Result<Workflow> {
    let slug = &packed.manifest.slug;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => free_name(cluster, slug, entity).await?,
    };
    Ok(Workflow {
        metadata: ObjectMeta { name: Some(name), namespace: Some(cluster.namespace().into()), ..ObjectMeta::default() },
        spec: WorkflowSpec {
            runbook_ref: RunbookRef { name: slug.clone(), version: args.pin.then(|| digest.to_string()) },
            entity: entity.into(),
            config: (!config.is_empty()).then_some(config),
            schedule: args.schedule.clone(),
            time_zone: args.timezone.clone(),
            ..WorkflowSpec::default()
        },
        status: None,
    })
}

/// The slug, or with a hash of the entity if another entity's workflow has that name.
async fn free_name(cluster: &Cluster, slug: &str, entity: &str) -> Result<String> {
    let workflows: Api<Workflow> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let what = format!("read Workflow {}/{slug}", cluster.namespace());
    let taken = workflows.get_opt(slug).await.map_err(|e| Failure::from_kube(&what, e))?;
    Ok(if taken.is_none_or(|w| w.spec.entity == entity) { slug.to_owned() } else { names::workflow_for(slug, entity) })
}

fn print(runbook: &Runbook, workflow: Option<&Workflow>, printer: Printer) -> Result<Outcome> {
    let mut objects = vec![manifest(runbook)?];
    if let Some(workflow) = workflow {
        objects.push(manifest(workflow)?);
    }
    let rows = || {
        let row = |o: &Value| {
            let kind = o["kind"].as_str().unwrap_or_default().to_lowercase();
            vec![format!("{kind}/{} (dry run)", o["metadata"]["name"].as_str().unwrap_or_default())]
        };
        Table { rows: objects.iter().map(row).collect(), ..Table::default() }
    };
    printer.objects(&objects, rows)?;
    if printer.output() == Output::Table {
        printer.progress("nothing was pushed or applied; -o yaml shows the resources");
    }
    Ok(Outcome::Done)
}

async fn push(packed: &PackedBundle, repository: &Repository, args: &WorkflowCreate, printer: Printer) -> Result<()> {
    let fail = |e: &dyn std::error::Error| Failure::Other(format!("cannot push to {repository}: {}", chain(e)));
    let credentials = credentials::from_docker_config(repository).map_err(|e| fail(&e))?;
    let settings = RegistrySettings { plain_http: args.plain_http, credentials, ..RegistrySettings::default() };
    let registry = Registry::new(settings).map_err(|e| fail(&e))?;
    let tag = Tag::from_version(&packed.manifest.version).map_err(|e| fail(&e))?;
    printer.progress(format!("pushing {repository}:{tag} ({} KiB)", packed.layer.len().div_ceil(1024)));
    registry.push(repository, &tag, packed, Overwrite::Refuse).await.map_err(|e| fail(&e))?;
    Ok(())
}

async fn apply<K>(cluster: &Cluster, object: &K, dry_run: bool) -> Result<()>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Serialize
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let name = object.name_any();
    let params = PatchParams { dry_run, ..PatchParams::apply(labels::CLI_FIELD_MANAGER).force() };
    let what = format!("apply {} {}/{name}", K::kind(&()), cluster.namespace());
    api.patch(&name, &params, &Patch::Apply(manifest(object)?)).await.map_err(|e| Failure::from_kube(&what, e))?;
    Ok(())
}

/// Waits until Runbook and Workflow are Ready; a Stalled one is an error with the operator's message.
async fn wait_ready(cluster: &Cluster, runbook: &str, workflow: &str, printer: Printer) -> Result<()> {
    let runbooks: Api<Runbook> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let workflows: Api<Workflow> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let until = Instant::now() + PATIENCE;
    let mut last = String::new();
    loop {
        let rb = runbooks.get(runbook).await.map_err(|e| Failure::from_kube(&format!("read Runbook {runbook}"), e))?;
        let wf =
            workflows.get(workflow).await.map_err(|e| Failure::from_kube(&format!("read Workflow {workflow}"), e))?;
        let states = [
            (
                format!("runbook/{runbook}"),
                rb.metadata.generation,
                rb.status.map(|s| (s.observed_generation, s.conditions)),
            ),
            (
                format!("workflow/{workflow}"),
                wf.metadata.generation,
                wf.status.map(|s| (s.observed_generation, s.conditions)),
            ),
        ];
        let mut waiting = None;
        for (name, generation, status) in states {
            let (observed, conditions) = status.unwrap_or_default();
            if let Some(stalled) = columns::condition(conditions.as_ref(), "Stalled").filter(|c| c.status == "True") {
                return Err(Failure::Invalid(format!(
                    "{name} is applied but stalled: {} ({})",
                    stalled.message, stalled.reason
                )));
            }
            let ready = columns::condition(conditions.as_ref(), "Ready");
            if observed != generation || ready.is_none_or(|c| c.status != "True") {
                waiting = Some(format!("{name}: {}", ready.map_or("not looked at yet", |c| c.message.as_str())));
                break;
            }
            if last != name {
                last.clone_from(&name);
            }
        }
        let Some(waiting) = waiting else {
            printer.line(format!("workflow/{workflow} is ready"));
            return Ok(());
        };
        if waiting != last {
            printer.progress(&waiting);
            last.clone_from(&waiting);
        }
        if Instant::now() > until {
            return Err(Failure::Timeout(format!("not ready after {} s: {waiting}", PATIENCE.as_secs())));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
