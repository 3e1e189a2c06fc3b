//! Who a pod is: its projected token, reviewed by the API server, then the pod itself and the Job that controls it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use ntro_crds::labels;
use serde::Deserialize;
use thiserror::Error;

use crate::cache::tenants::Tenants;

/// A pod whose identity the API server vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodIdentity {
    /// Its namespace, a tenant.
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Its `ServiceAccount`.
    pub service_account: String,
}

/// A live pod and the Job it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobPod {
    pub pod: PodIdentity,
    /// UID of the Job that controls it.
    pub job_uid: String,
    /// The run its label names. A hint only: the Job's UID decides.
    pub run_id_hint: Option<String>,
}

/// Why nothing is said to whoever asked.
#[derive(Debug, Error)]
pub(crate) enum IdentityError {
    /// Not a pod we know. The reason is for our log, never for the caller.
    #[error("not a runner pod: {0}")]
    NotRecognized(&'static str),
    /// The API server could not be asked.
    #[error("cannot ask the API server")]
    Unavailable(#[from] kube::Error),
}

/// Reviews a token and looks at its pod.
pub(crate) async fn identify(client: &Client, tenants: &Tenants, token: &str) -> Result<JobPod, IdentityError> {
    let namespace = claimed_namespace(token).ok_or(IdentityError::NotRecognized("the token has no namespace"))?;
    if tenants.get(&namespace).is_none() {
        return Err(IdentityError::NotRecognized("the namespace is not a tenant"));
    }
    let pod = review(client, token, &namespace).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let object = pods.get_opt(&pod.name).await?.ok_or(IdentityError::NotRecognized("the pod is gone"))?;
    job_of(pod, &object)
}

/// The namespace an unverified token claims to be from: it only decides which audience the review must confirm.
fn claimed_namespace(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(rename = "kubernetes.io")]
        kubernetes: Kubernetes,
    }
    #[derive(Deserialize)]
    struct Kubernetes {
        namespace: String,
    }
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice::<Claims>(&bytes).ok().map(|claims| claims.kubernetes.namespace)
}

async fn review(client: &Client, token: &str, namespace: &str) -> Result<PodIdentity, IdentityError> {
    let audience = labels::audience(namespace);
    let review = TokenReview {
        spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![audience.clone()]) },
        ..TokenReview::default()
    };
    let reviewed = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    reviewed_pod(reviewed.status.unwrap_or_default(), namespace, &audience).map_err(IdentityError::NotRecognized)
}

/// The pod of a reviewed token, if the review confirms our audience and the namespace the token claimed.
fn reviewed_pod(status: TokenReviewStatus, namespace: &str, audience: &str) -> Result<PodIdentity, &'static str> {
    if status.authenticated != Some(true) {
        return Err("the token is not valid");
    }
    // An API server that knows nothing of audiences answers with none: then the token proves too little.
    if !status.audiences.unwrap_or_default().iter().any(|a| a == audience) {
        return Err("the token is for another audience");
    }
    let user = status.user.unwrap_or_default();
    let service_account = user
        .username
        .as_deref()
        .and_then(|name| name.strip_prefix("system:serviceaccount:")?.strip_prefix(namespace)?.strip_prefix(':'))
        .ok_or("the token is of another namespace")?
        .to_owned();
    let extra = user.extra.unwrap_or_default();
    let one = |key: &str| match extra.get(key).map(Vec::as_slice) {
        Some([value]) if !value.is_empty() => Ok(value.clone()),
        _ => Err("the token is bound to no pod"),
    };
    Ok(PodIdentity {
        namespace: namespace.to_owned(),
        name: one("authentication.kubernetes.io/pod-name")?,
        uid: one("authentication.kubernetes.io/pod-uid")?,
        service_account,
    })
}

/// The Job of a pod that lives.
fn job_of(pod: PodIdentity, object: &Pod) -> Result<JobPod, IdentityError> {
    let rejected = |why| Err(IdentityError::NotRecognized(why));
    if object.uid().as_deref() != Some(pod.uid.as_str()) {
        return rejected("another pod has that name now");
    }
    let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
    if object.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed")) {
        return rejected("the pod is over");
    }
    let controller = object
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true) && owner.kind == "Job" && owner.api_version == "batch/v1");
    let Some(job) = controller else { return rejected("the pod is controlled by no Job") };
    let run_id_hint = object.labels().get(labels::RUN_ID).cloned();
    Ok(JobPod { job_uid: job.uid.clone(), pod, run_id_hint })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::authentication::v1::UserInfo;
    use serde_json::json;

    use super::*;

    fn token(claims: &serde_json::Value) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn status(change: impl FnOnce(&mut TokenReviewStatus)) -> TokenReviewStatus {
        let extra = |key: &str, value: &str| (format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        let mut status = TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec!["ntro.acme".to_owned()]),
            user: Some(UserInfo {
                username: Some("system:serviceaccount:acme:ntro-runner".to_owned()),
                extra: Some(BTreeMap::from([extra("pod-name", "p"), extra("pod-uid", "u")])),
                ..UserInfo::default()
            }),
            ..TokenReviewStatus::default()
        };
        change(&mut status);
        status
    }

    #[test]
    fn the_namespace_is_read_from_the_claims() {
        let claims = json!({"kubernetes.io": {"namespace": "acme", "pod": {"name": "p"}}});
        assert_eq!(claimed_namespace(&token(&claims)).as_deref(), Some("acme"));
        for odd in [token(&json!({})), "nonsense".to_owned(), "a.b.c".to_owned(), String::new()] {
            assert_eq!(claimed_namespace(&odd), None, "{odd}");
        }
    }

    #[test]
    fn only_a_confirmed_token_of_that_namespace_and_bound_to_a_pod_counts() {
        let judge = |change: fn(&mut TokenReviewStatus)| reviewed_pod(status(change), "acme", "ntro.acme");
        let pod = judge(|_| {}).unwrap();
        assert_eq!((pod.name.as_str(), pod.uid.as_str(), pod.service_account.as_str()), ("p", "u", "ntro-runner"));
        assert!(judge(|s| s.authenticated = Some(false)).is_err());
        assert!(judge(|s| s.audiences = None).is_err());
        assert!(judge(|s| s.audiences = Some(vec!["ntro.beta".to_owned()])).is_err());
        let rename = |s: &mut TokenReviewStatus, name: &str| s.user.as_mut().unwrap().username = Some(name.to_owned());
        let with_name = |name: &str| reviewed_pod(status(|s| rename(s, name)), "acme", "ntro.acme");
        assert!(with_name("system:serviceaccount:acme2:ntro-runner").is_err());
        assert!(with_name("system:serviceaccount:beta:ntro-runner").is_err());
        assert!(with_name("anna").is_err());
        assert!(judge(|s| s.user.as_mut().unwrap().extra = None).is_err());
    }

    fn pod(change: impl FnOnce(&mut serde_json::Value)) -> Pod {
        let mut pod = json!({
            "metadata": {
                "name": "p", "uid": "u", "labels": {"ntro.dev/run-id": "r"},
                "ownerReferences": [
                    {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "ju", "controller": true},
                ],
            },
            "status": {"phase": "Running"},
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn the_pod_must_live_be_the_same_and_be_controlled_by_a_job() {
        let identity = reviewed_pod(status(|_| {}), "acme", "ntro.acme").unwrap();
        let judge = |change: fn(&mut serde_json::Value)| job_of(identity.clone(), &pod(change));
        let found = judge(|_| {}).unwrap();
        assert_eq!((found.job_uid.as_str(), found.run_id_hint.as_deref()), ("ju", Some("r")));
        assert!(judge(|p| p["metadata"]["uid"] = json!("other")).is_err());
        assert!(judge(|p| p["status"]["phase"] = json!("Failed")).is_err());
        assert!(judge(|p| p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")).is_err());
        assert!(judge(|p| p["metadata"]["ownerReferences"][0]["controller"] = json!(false)).is_err());
        assert!(judge(|p| p["metadata"]["ownerReferences"][0]["kind"] = json!("ReplicaSet")).is_err());
        assert!(judge(|p| p["metadata"]["ownerReferences"] = json!([])).is_err());
    }
}
