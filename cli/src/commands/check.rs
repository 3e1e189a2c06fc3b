//! `ntro check`.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

use crate::args::CheckArgs;
use crate::cluster::Cluster;
use crate::error::{ExitStatus, Failure, Result};
use crate::operator_api::OperatorContact;
use crate::printer::Printer;

/// The first with all that is needed: ValidatingAdmissionPolicy, selectable fields, CEL ratcheting.
const MIN_VERSION: (u32, u32) = (1, 33);

pub(super) async fn run(args: &CheckArgs, cluster: &Cluster, printer: Printer) -> Result<ExitStatus> {
    let mut ok = version(cluster, printer).await?;
    if args.pre {
        for (group, resource) in [
            ("apiextensions.k8s.io", "customresourcedefinitions"),
            ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
            ("rbac.authorization.k8s.io", "clusterroles"),
        ] {
            ok &= may_create(cluster, group, resource, printer).await?;
        }
    } else {
        ok &= resource_types(cluster, printer).await?;
        ok &= tenant(cluster, printer).await;
    }
    Ok(if ok { ExitStatus::Success } else { ExitStatus::Invalid })
}

fn report(printer: Printer, ok: bool, text: &str) -> bool {
    printer.line(format!("{} {text}", if ok { "ok  " } else { "FAIL" }));
    ok
}

async fn version(cluster: &Cluster, printer: Printer) -> Result<bool> {
    let info = cluster
        .client
        .apiserver_version()
        .await
        .map_err(|e| Failure::from_kube("get the version of the API server", e))?;
    let number =
        |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().unwrap_or(0);
    let found = (number(&info.major), number(&info.minor));
    let text = format!("Kubernetes {} (1.{} or later required)", info.git_version, MIN_VERSION.1);
    Ok(report(printer, found >= MIN_VERSION, &text))
}

async fn may_create(cluster: &Cluster, group: &str, resource: &str, printer: Printer) -> Result<bool> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.into()),
                resource: Some(resource.into()),
                verb: Some("create".into()),
                ..Default::default()
            }),
            ..Default::default()
        },
        ..Default::default()
    };
    let answer: SelfSubjectAccessReview = Api::all(cluster.client.clone())
        .create(&PostParams::default(), &review)
        .await
        .map_err(|e| Failure::from_kube("check your permissions", e))?;
    let allowed = answer.status.is_some_and(|s| s.allowed);
    Ok(report(printer, allowed, &format!("permission to create {resource}.{group}")))
}

async fn resource_types(cluster: &Cluster, printer: Printer) -> Result<bool> {
    let known = cluster
        .client
        .list_api_group_resources(ntro_crds::API_VERSION)
        .await
        .map(|list| list.resources.into_iter().map(|r| r.kind).collect::<Vec<_>>())
        .unwrap_or_default();
    let mut ok = true;
    for definition in ntro_crds::all() {
        let kind = definition.spec.names.kind;
        let hint = if known.contains(&kind) { "" } else { ": not found; install the chart `ntro-crds`" };
        ok &= report(
            printer,
            known.contains(&kind),
            &format!("resource type {kind} of {}{hint}", ntro_crds::API_VERSION),
        );
    }
    Ok(ok)
}

async fn tenant(cluster: &Cluster, printer: Printer) -> bool {
    let namespace = cluster.namespace();
    match OperatorContact::read(cluster).await {
        Err(failure) => report(printer, false, &failure.to_string()),
        Ok(contact) => {
            let sets: Api<StatefulSet> = Api::namespaced(cluster.client.clone(), contact.namespace());
            let ready =
                sets.get(contact.stateful_set()).await.ok().and_then(|s| s.status).and_then(|s| s.ready_replicas);
            let operator = format!("operator {}/{}", contact.namespace(), contact.stateful_set());
            report(printer, true, &format!("tenant namespace {namespace} prepared"))
                & match ready {
                    Some(n) => report(printer, n > 0, &format!("{operator}: {n} replicas ready")),
                    // Most people cannot read the operator's namespace.
                    None => report(printer, true, &format!("{operator}: no permission to read its status")),
                }
        }
    }
}
