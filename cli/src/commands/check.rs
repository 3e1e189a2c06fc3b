//! `ntro check`: is the cluster ready, is the tenant ready.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

use crate::args;
use crate::cluster::Cluster;
use crate::error::{Failure, Outcome, Result};
use crate::operator_api::Contact;
use crate::printer::Printer;

/// Oldest Kubernetes with everything used: ValidatingAdmissionPolicy, selectable fields, CEL ratcheting.
const OLDEST: (u32, u32) = (1, 33);

/// Runs `ntro check`.
pub async fn run(args: &args::Check, cluster: &Cluster, printer: Printer) -> Result<Outcome> {
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
        ok &= kinds(cluster, printer).await?;
        ok &= tenant(cluster, printer).await;
    }
    Ok(if ok { Outcome::Done } else { Outcome::Invalid })
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
        .map_err(|e| Failure::from_kube("ask the API server for its version", e))?;
    let number =
        |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().unwrap_or(0);
    let found = (number(&info.major), number(&info.minor));
    let text = format!("Kubernetes {} (1.{} or later is needed)", info.git_version, OLDEST.1);
    Ok(report(printer, found >= OLDEST, &text))
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
        .map_err(|e| Failure::from_kube("ask the API server for your rights", e))?;
    let allowed = answer.status.is_some_and(|s| s.allowed);
    Ok(report(printer, allowed, &format!("you may create {resource}.{group}")))
}

async fn kinds(cluster: &Cluster, printer: Printer) -> Result<bool> {
    let known = cluster
        .client
        .list_api_group_resources(ntro_crds::API_VERSION)
        .await
        .map(|list| list.resources.into_iter().map(|r| r.kind).collect::<Vec<_>>())
        .unwrap_or_default();
    let mut ok = true;
    for definition in ntro_crds::all() {
        let kind = definition.spec.names.kind;
        let hint = if known.contains(&kind) { "" } else { ": install the chart `ntro-crds`" };
        ok &= report(printer, known.contains(&kind), &format!("kind {kind} of {}{hint}", ntro_crds::API_VERSION));
    }
    Ok(ok)
}

async fn tenant(cluster: &Cluster, printer: Printer) -> bool {
    let namespace = cluster.namespace();
    match Contact::read(cluster).await {
        Err(failure) => report(printer, false, &failure.to_string()),
        Ok(contact) => {
            let sets: Api<StatefulSet> = Api::namespaced(cluster.client.clone(), contact.namespace());
            let ready = sets.get(contact.workload()).await.ok().and_then(|s| s.status).and_then(|s| s.ready_replicas);
            let operator = format!("operator {}/{}", contact.namespace(), contact.workload());
            report(printer, true, &format!("tenant namespace {namespace} is prepared"))
                & match ready {
                    Some(n) => report(printer, n > 0, &format!("{operator} has {n} ready")),
                    // Most people may not read the operator's namespace.
                    None => report(printer, true, &format!("{operator} (you may not see its status)")),
                }
        }
    }
}
