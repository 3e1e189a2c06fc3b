//! `ntro tenant create`: the same manifests as the chart `ntro-tenant`, from the same source.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::{Api, Client};
use ntro_crds::labels::{CA_CONFIG_MAP, CLI_FIELD_MANAGER};
use ntro_manifests::tenant::{LimitsSpec, People, RetentionSpec, TenantSpec, manifests};
use serde_json::Value;

use crate::args::{GlobalArgs, TenantCreateArgs};
use crate::cluster::Cluster;
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::{Printer, Table};

const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn run(args: &TenantCreateArgs, global: &GlobalArgs, printer: Printer) -> Result<ExitStatus> {
    let spec = spec(args, global)?;
    let objects = manifests(&spec);
    if args.dry_run {
        let rows = || Table {
            rows: objects.iter().map(|o| vec![format!("{} (dry run)", label(o))]).collect(),
            ..Table::default()
        };
        printer.objects(&objects, rows)?;
        return Ok(ExitStatus::Success);
    }
    let cluster = Cluster::connect(global).await?;
    for object in &objects {
        let changed = apply(&cluster.client, object).await?;
        if printer.is_human_readable() {
            printer.line(format!("{} {}", label(object), if changed { "applied" } else { "unchanged" }));
        }
    }
    if !printer.is_human_readable() {
        printer.objects(&objects, Table::default)?;
    }
    wait_served(&cluster, spec.namespace(), printer).await?;
    Ok(ExitStatus::Success)
}

/// A missing operator is only a warning, as it may be installed later.
async fn wait_served(cluster: &Cluster, namespace: &str, printer: Printer) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let deadline = Instant::now() + TIMEOUT;
    printer.progress("waiting for the operator to serve the tenant");
    loop {
        let what = format!("get ConfigMap {namespace}/{CA_CONFIG_MAP}");
        if maps.get_opt(CA_CONFIG_MAP).await.map_err(|e| Failure::from_kube(&what, e))?.is_some() {
            return Ok(());
        }
        if Instant::now() > deadline {
            printer.warn(format!(
                "warning: no operator serves the tenant yet: no ConfigMap {namespace}/{CA_CONFIG_MAP} after {}s; check that the chart `ntro` is installed",
                TIMEOUT.as_secs()
            ));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn spec(args: &TenantCreateArgs, global: &GlobalArgs) -> Result<TenantSpec> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let slug = &args.slug;
    if slug.len() > 63
        || !slug.chars().all(|c| plain(c) || c == '-')
        || !slug.starts_with(plain)
        || !slug.ends_with(plain)
    {
        return Err(Failure::Usage(format!(
            "invalid slug `{slug}`: use at most 63 lower-case letters, digits and hyphens, starting and ending with a letter or digit"
        )));
    }
    let people = |users: &[String], groups: &[String]| People { users: users.to_vec(), groups: groups.to_vec() };
    let registry = args.registry.as_deref().unwrap_or_default();
    Ok(TenantSpec {
        tenant: slug.clone(),
        namespace: global.namespace.clone().unwrap_or_default(),
        operator_namespace: args.operator_namespace.clone(),
        registry: registry.trim_start_matches("oci://").trim_end_matches('/').to_owned(),
        retention: RetentionSpec { journal: args.retention_journal.clone(), logs: args.retention_logs.clone() },
        limits: LimitsSpec {
            run_journal: args.limits_run_journal.clone(),
            run_blobs: args.limits_run_blobs.clone(),
            run_log: args.limits_run_log.clone(),
            tenant: args.limits_tenant.clone(),
        },
        viewers: people(&args.viewers, &args.viewer_groups),
        approvers: people(&args.approvers, &args.approver_groups),
        runners: people(&args.runners, &args.runner_groups),
        ..TenantSpec::default()
    })
}

/// Gives whether anything changed.
async fn apply(client: &Client, object: &Value) -> Result<bool> {
    let what = format!("apply {}", label(object));
    let invalid = |e: String| Failure::Other(format!("cannot {what}: {e}"));
    let types: TypeMeta = serde_json::from_value(object.clone()).map_err(|e| invalid(e.to_string()))?;
    let kind = GroupVersionKind::try_from(&types).map_err(|e| invalid(e.to_string()))?;
    let resource = ApiResource::from_gvk(&kind);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let before = api.get_opt(name).await.map_err(|e| Failure::from_kube(&what, e))?;
    let params = PatchParams::apply(CLI_FIELD_MANAGER).force();
    let after = api.patch(name, &params, &Patch::Apply(object)).await.map_err(|e| Failure::from_kube(&what, e))?;
    Ok(before.is_none_or(|b| b.metadata.resource_version != after.metadata.resource_version))
}

fn label(object: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let kind = text(&object["kind"]).to_lowercase();
    let name = text(&object["metadata"]["name"]);
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind}/{name} (namespace {namespace})"),
        None => format!("{kind}/{name}"),
    }
}
