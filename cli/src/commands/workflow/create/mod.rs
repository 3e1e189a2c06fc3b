//! `ntro workflow create`: check, push, apply, wait. Whatever can be refused is checked before anything is pushed.

mod objects;
mod wait;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use ntro_bundle::config_schema::ConfigSchema;
use ntro_bundle::credentials;
use ntro_bundle::pack::{self, PackedBundle};
use ntro_bundle::reference::{Repository, Tag};
use ntro_bundle::registry::{Overwrite, Registry, RegistrySettings};
use ntro_crds::{Runbook, Workflow, labels, schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::{GlobalArgs, OutputFormat, WorkflowCreateArgs};
use crate::cluster::Cluster;
use crate::commands::runbook::validate;
use crate::commands::shared::manifest;
use crate::error::{ExitStatus, Failure, Result, chain};
use crate::operator_api::OperatorContact;
use crate::printer::{Printer, Table};

/// Fields of the configuration that each run sets itself.
const SET_BY_RUN: &[&str] = &["period"];

pub(super) async fn run(args: &WorkflowCreateArgs, global: &GlobalArgs, printer: Printer) -> Result<ExitStatus> {
    if global.tenant.is_none() && global.namespace.is_none() {
        return Err(Failure::Usage("no tenant given, set `--tenant`".into()));
    }
    let packed = check_and_pack(args, printer)?;
    let config = read_config(args)?;
    check_config(&packed, &config)?;
    check_schedule(args)?;
    let cluster = Cluster::connect(global).await?;
    OperatorContact::read(&cluster).await?;
    let repository = repository(args, &cluster, &packed).await?;
    let runbook = objects::runbook(&packed, cluster.namespace(), &repository, args);
    let workflow = match &args.entity {
        Some(entity) => Some(objects::workflow(args, entity, &packed, &cluster, config).await?),
        None => None,
    };
    if args.dry_run {
        return print(&runbook, workflow.as_ref(), printer);
    }
    // Nothing is pushed for objects that the API server refuses.
    apply(&cluster, &runbook, true).await?;
    if let Some(workflow) = &workflow {
        apply(&cluster, workflow, true).await?;
    }
    push(&packed, &repository, args, printer).await?;
    apply(&cluster, &runbook, false).await?;
    let slug = &packed.manifest.slug;
    printer.line(format!("runbook/{slug} {} {}", packed.manifest.version, packed.digest));
    let Some(workflow) = workflow else { return Ok(ExitStatus::Success) };
    apply(&cluster, &workflow, false).await?;
    printer.line(format!("workflow/{} applied", workflow.name_any()));
    if !args.no_wait {
        wait::wait_ready(&cluster, slug, &workflow.name_any(), printer).await?;
    }
    Ok(ExitStatus::Success)
}

fn check_and_pack(args: &WorkflowCreateArgs, printer: Printer) -> Result<PackedBundle> {
    let report = validate::check_bundle(&args.path)?;
    let path = args.path.display();
    let errors: Vec<_> = report.errors().map(ToString::to_string).collect();
    if let [one] = errors.as_slice() {
        return Err(Failure::Invalid(format!("invalid bundle `{path}`: {one}")));
    }
    validate::print(&report, printer);
    if !errors.is_empty() {
        return Err(Failure::Invalid(format!("invalid bundle `{path}`: {} errors, see above", errors.len())));
    }
    pack::pack(&args.path).map_err(|e| Failure::Invalid(format!("invalid bundle `{path}`: {e}")))
}

/// The values of the file, overridden by those of `--set`.
fn read_config(args: &WorkflowCreateArgs) -> Result<schema::Object> {
    let mut values = match &args.config {
        None => schema::Object::new(),
        Some(path) => {
            let failure = |e: &str| Failure::Usage(format!("cannot read configuration file `{}`: {e}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|e| failure(&e.to_string()))?;
            serde_saphyr::from_str(&text).map_err(|e| failure(e.to_string().lines().next().unwrap_or_default()))?
        }
    };
    for pair in &args.set {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--set: invalid value `{pair}`, expected `KEY=VALUE`")))?;
        values.insert(key.into(), serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into())));
    }
    Ok(values)
}

fn check_config(packed: &PackedBundle, config: &schema::Object) -> Result<()> {
    let Some(raw) = &packed.config.config_schema else { return Ok(()) };
    let checked = ConfigSchema::parse(raw).and_then(|schema| schema.check(&Value::Object(config.clone()), SET_BY_RUN));
    checked.map(drop).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Failure::Invalid(format!("configuration does not match the runbook's config_schema: {}", lines.join("; ")))
    })
}

fn check_schedule(args: &WorkflowCreateArgs) -> Result<()> {
    let Some(schedule) = &args.schedule else { return Ok(()) };
    ntro_schedule::cron::Schedule::parse(schedule, args.timezone.as_deref(), "")
        .map(drop)
        .map_err(|e| Failure::Invalid(e.to_string()))
}

/// `<prefix>/<slug>`; the prefix is `--registry` or `$NTRO_REGISTRY`, else the annotation of the tenant's namespace.
async fn repository(args: &WorkflowCreateArgs, cluster: &Cluster, packed: &PackedBundle) -> Result<Repository> {
    let namespace = cluster.namespace();
    let prefix = if let Some(prefix) = args.registry.as_ref().filter(|prefix| !prefix.is_empty()) {
        prefix.clone()
    } else {
        let object = Api::<Namespace>::all(cluster.client.clone()).get(namespace).await;
        let annotation = object.ok().and_then(|n| n.annotations().get(labels::REGISTRY).cloned());
        annotation.filter(|a| !a.is_empty()).ok_or_else(|| {
            Failure::Usage(format!(
                "no registry to push to: set `--registry` or `NTRO_REGISTRY`, or the registry of tenant `{namespace}` with `ntro tenant create --registry`"
            ))
        })?
    };
    let prefix = prefix.trim_start_matches("oci://").trim_end_matches('/');
    format!("oci://{prefix}/{}", packed.manifest.slug).parse().map_err(|e| Failure::Usage(format!("--registry: {e}")))
}

fn print(runbook: &Runbook, workflow: Option<&Workflow>, printer: Printer) -> Result<ExitStatus> {
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
    if printer.output() == OutputFormat::Table {
        printer.progress("nothing pushed or applied; use `-o yaml` to print the resources");
    }
    Ok(ExitStatus::Success)
}

async fn push(
    packed: &PackedBundle,
    repository: &Repository,
    args: &WorkflowCreateArgs,
    printer: Printer,
) -> Result<()> {
    let failure = |e: &dyn std::error::Error| Failure::Other(format!("cannot push to {repository}: {}", chain(e)));
    let credentials = credentials::from_docker_config(repository).map_err(|e| failure(&e))?;
    let settings = RegistrySettings { plain_http: args.plain_http, credentials, ..RegistrySettings::default() };
    let registry = Registry::new(settings).map_err(|e| failure(&e))?;
    let tag = Tag::from_version(&packed.manifest.version).map_err(|e| failure(&e))?;
    printer.progress(format!("pushing {repository}:{tag} ({} KiB)", packed.layer.len().div_ceil(1024)));
    registry.push(repository, &tag, packed, Overwrite::Refuse).await.map_err(|e| failure(&e))?;
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
