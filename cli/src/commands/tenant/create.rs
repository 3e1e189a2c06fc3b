//! `ntro tenant create`: the same manifests as the chart `ntro-tenant`, from the same source.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::{Api, Client};
use ntro_crds::labels::{self, CA_CONFIG_MAP, CLI_FIELD_MANAGER};
use ntro_manifests::tenant::{People, TenantSpec, manifests};
use serde_json::Value;

use crate::args::{GlobalArgs, TenantCreateArgs};
use crate::cluster::Cluster;
use crate::error::{ExitStatus, Failure, Result};
use crate::printer::{Printer, Table};

const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn run(args: &TenantCreateArgs, global: &GlobalArgs, printer: Printer) -> Result<ExitStatus> {
    let mut spec = spec(args, global)?;
    if args.dry_run {
        return dry_run(spec, args, global, printer).await;
    }
    let cluster = Cluster::connect(global).await?;
    let before = annotations(&cluster.client, spec.namespace()).await?;
    annotate(&mut spec, args, &before);
    let objects = manifests(&spec);
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

/// What would be applied. Without a cluster, the namespace says nothing that no flag says: a default might shorten what is kept.
async fn dry_run(
    mut spec: TenantSpec,
    args: &TenantCreateArgs,
    global: &GlobalArgs,
    printer: Printer,
) -> Result<ExitStatus> {
    let before = namespace_of(global, spec.namespace()).await;
    annotate(&mut spec, args, before.as_ref().unwrap_or(&BTreeMap::new()));
    let mut objects = manifests(&spec);
    if let Err(failure) = before {
        printer.warn(format!(
            "warning: the annotations of namespace {} are not known, so only those that a flag names are printed: {failure}",
            spec.namespace()
        ));
        keep_said(&mut objects, args);
    }
    let rows = || Table {
        rows: objects.iter().map(|o| vec![format!("{} (dry run)", label(o))]).collect(),
        ..Table::default()
    };
    printer.objects(&objects, rows)?;
    Ok(ExitStatus::Success)
}

/// Takes out of a namespace's annotations what no flag says.
fn keep_said(objects: &mut [Value], args: &TenantCreateArgs) {
    let mut annotations = objects.first_mut().and_then(|namespace| namespace.pointer_mut("/metadata/annotations"));
    for (annotation, flag) in said(args) {
        if let Some(Value::Object(annotations)) = annotations.as_deref_mut().filter(|_| flag.is_none()) {
            annotations.remove(annotation);
        }
    }
}

async fn namespace_of(global: &GlobalArgs, namespace: &str) -> Result<BTreeMap<String, String>> {
    annotations(&Cluster::connect(global).await?.client, namespace).await
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

/// What a namespace says, if it is there.
async fn annotations(client: &Client, namespace: &str) -> Result<BTreeMap<String, String>> {
    let what = format!("get Namespace {namespace}");
    let found = Api::<Namespace>::all(client.clone()).get_opt(namespace).await;
    let found = found.map_err(|e| Failure::from_kube(&what, e))?;
    Ok(found.and_then(|namespace| namespace.metadata.annotations).unwrap_or_default())
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
    Ok(TenantSpec {
        tenant: slug.clone(),
        namespace: global.namespace.clone().unwrap_or_default(),
        operator_namespace: args.operator_namespace.clone(),
        viewers: people(&args.viewers, &args.viewer_groups),
        approvers: people(&args.approvers, &args.approver_groups),
        runners: people(&args.runners, &args.runner_groups),
        ..TenantSpec::default()
    })
}

/// Puts into the tenant what its namespace is to say: what a flag says, else what the namespace says already. Who names another
/// approver must not shorten the retention by it: what is purged cannot be got back.
fn annotate(spec: &mut TenantSpec, args: &TenantCreateArgs, before: &BTreeMap<String, String>) {
    let (retention, limits) = (&mut spec.retention, &mut spec.limits);
    let values = [
        &mut spec.registry,
        &mut retention.journal,
        &mut retention.logs,
        &mut limits.run_journal,
        &mut limits.run_blobs,
        &mut limits.run_log,
        &mut limits.tenant,
    ];
    for (value, (annotation, flag)) in values.into_iter().zip(said(args)) {
        if let Some(said) = flag.or_else(|| before.get(annotation).map(String::as_str)) {
            said.clone_into(value);
        }
    }
}

/// The annotations of the namespace, and what a flag says of each.
fn said(args: &TenantCreateArgs) -> [(&'static str, Option<&str>); 7] {
    let registry = args.registry.as_deref().map(|prefix| prefix.trim_start_matches("oci://").trim_end_matches('/'));
    [
        (labels::REGISTRY, registry),
        (labels::RETENTION_JOURNAL, args.retention_journal.as_deref()),
        (labels::RETENTION_LOGS, args.retention_logs.as_deref()),
        (labels::LIMITS_RUN_JOURNAL, args.limits_run_journal.as_deref()),
        (labels::LIMITS_RUN_BLOBS, args.limits_run_blobs.as_deref()),
        (labels::LIMITS_RUN_LOG, args.limits_run_log.as_deref()),
        (labels::LIMITS_TENANT, args.limits_tenant.as_deref()),
    ]
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Commands, TenantCommand};

    /// The annotations of the namespace after the command with these flags, if it had these before.
    fn applied(flags: &[&str], before: &[(&str, &str)]) -> BTreeMap<String, String> {
        let Cli { global, command } = Cli::parse_from([&["ntro", "tenant", "create", "acme"], flags].concat());
        let Commands::Tenant(TenantCommand::Create(mut args)) = command else { unreachable!("parsed `tenant create`") };
        // The environment may say it as well.
        args.registry = args.registry.filter(|_| flags.contains(&"--registry"));
        let mut spec = spec(&args, &global).unwrap();
        annotate(
            &mut spec,
            &args,
            &before.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        );
        serde_json::from_value(manifests(&spec)[0]["metadata"]["annotations"].clone()).unwrap()
    }

    #[test]
    fn a_new_namespace_says_the_defaults_and_what_flags_say() {
        let says = applied(&["--registry", "oci://registry.example.com/acme/", "--limits-tenant", "2Gi"], &[]);
        assert_eq!(says[labels::REGISTRY], "registry.example.com/acme");
        assert_eq!((says[labels::RETENTION_JOURNAL].as_str(), says[labels::RETENTION_LOGS].as_str()), ("365d", "30d"));
        assert_eq!((says[labels::LIMITS_RUN_LOG].as_str(), says[labels::LIMITS_TENANT].as_str()), ("", "2Gi"));
    }

    #[test]
    fn what_a_namespace_says_stays_unless_a_flag_says_otherwise() {
        let before = [
            (labels::REGISTRY, "registry.example.com/acme"),
            (labels::RETENTION_JOURNAL, "3650d"),
            (labels::RETENTION_LOGS, "90d"),
            (labels::LIMITS_RUN_JOURNAL, "8Mi"),
            (labels::LIMITS_RUN_BLOBS, "512Mi"),
            (labels::LIMITS_RUN_LOG, "4Mi"),
            (labels::LIMITS_TENANT, "2Gi"),
        ];
        let says = applied(&["--approver", "ada"], &before);
        for (annotation, text) in before {
            assert_eq!(says[annotation], text, "{annotation}");
        }
        let flags = ["--registry", "", "--retention-logs", "31d", "--limits-run-log", "", "--limits-tenant", "3Gi"];
        let changed = applied(&flags, &before);
        let differs: Vec<_> = changed.iter().filter(|(name, text)| says[*name] != **text).collect();
        let said = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let expected = BTreeMap::from([
            said(labels::REGISTRY, ""),
            said(labels::RETENTION_LOGS, "31d"),
            said(labels::LIMITS_RUN_LOG, ""),
            said(labels::LIMITS_TENANT, "3Gi"),
        ]);
        assert_eq!(differs, expected.iter().collect::<Vec<_>>());
    }

    #[test]
    fn without_a_cluster_only_what_a_flag_says_is_printed() {
        let cli = ["ntro", "tenant", "create", "acme", "--registry", "", "--retention-logs", "31d"];
        let Cli { global, command } = Cli::parse_from(cli);
        let Commands::Tenant(TenantCommand::Create(args)) = command else { unreachable!("parsed `tenant create`") };
        let mut spec = spec(&args, &global).unwrap();
        annotate(&mut spec, &args, &BTreeMap::new());
        let mut objects = manifests(&spec);
        keep_said(&mut objects, &args);
        let left = objects[0]["metadata"]["annotations"].as_object().unwrap();
        let ours: Vec<_> = left.keys().filter(|name| name.starts_with("ntro.dev/")).collect();
        assert_eq!(ours, [labels::REGISTRY, labels::RETENTION_LOGS]);
    }

    #[test]
    fn flags_that_the_operator_could_not_read_are_refused() {
        for (flag, text) in [("--limits-tenant", "5GB"), ("--limits-run-log", "0"), ("--retention-logs", "1y")] {
            assert!(Cli::try_parse_from(["ntro", "tenant", "create", "acme", flag, text]).is_err(), "{flag} {text}");
        }
    }
}
