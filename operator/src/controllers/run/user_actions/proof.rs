//! Whether the API server proves who acts: the admission policy of user actions and its binding are there, are the ones this
//! release was built with, and have been so without a gap. It fails closed: what cannot be shown counts as missing.
//!
//! What was verified is kept with the journals: UID and generation of policy, binding and namespace, and since when. An
//! object that was deleted and put back, or changed and changed back, has another UID or generation, and every user action
//! made since the last verification is refused.

use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use ntro_crds::labels;
use ntro_manifests::admission::{self, Install};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::evaluate::Proof;
use crate::args::Scope;
use crate::context::Context;
use crate::error::Problem;

/// Key of the fact in the journals' store.
const FACT: &str = "approval-policy";
/// The API server enforces a new policy a moment after it has stored it, and its clock is known to a second.
const SETTLING: SignedDuration = SignedDuration::from_secs(3);

/// When a verification that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// What identifies the proof of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    policy: (String, i64),
    binding: (String, i64),
    namespace: String,
    tenant: String,
}

/// A proof that was found to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verified {
    fingerprint: Option<Fingerprint>,
    since: Timestamp,
}

/// What follows from what was found: the proof, and the fact to keep if it changed. Pure.
pub(crate) fn assess(
    found: Option<Fingerprint>,
    before: Option<&Verified>,
    now: Timestamp,
) -> (Proof, Option<Verified>) {
    if let Some(before) = before.filter(|before| before.fingerprint == found) {
        return (Proof(found.is_some().then_some(before.since)), None);
    }
    // The first time a namespace is seen, or after a gap: what was done until now has no proof.
    let since = now.checked_add(SETTLING).unwrap_or(now);
    let proof = Proof(found.is_some().then_some(since));
    (proof, Some(Verified { fingerprint: found, since }))
}

/// Reads policy, binding and namespace as they are now, and keeps what was found.
pub(crate) async fn verify(context: &Context, namespace: &str) -> Result<Proof, Problem> {
    let found = fingerprint(context, namespace).await?;
    let uid = context.tenant(namespace)?.uid;
    let before = context.journal.fact(&uid, FACT).await?;
    let before = before.and_then(|text| serde_json::from_str::<Verified>(&text).ok());
    let (proof, fact) = assess(found, before.as_ref(), context.server_now());
    if let Some(fact) = fact {
        let text = serde_json::to_string(&fact).map_err(|error| Problem::bug(&error))?;
        context.journal.put_fact(&uid, FACT, &text).await?;
        if fact.fingerprint.is_some() {
            tracing::info!(namespace, "approval policy verified; user actions created before now do not count");
        } else {
            tracing::warn!(namespace, "approval policy missing or altered; no user action counts until it is restored");
        }
    }
    Ok(proof)
}

/// Verifies every tenant whenever policy, binding or tenants change, until told to stop: an upgrade of the policy costs
/// only the user actions of that very moment, not the first one after it.
pub(crate) async fn watch(context: Context, shutdown: CancellationToken) {
    let name = expected(&context).name;
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let client = context.kube.client.clone();
    let policies = watcher(Api::<ValidatingAdmissionPolicy>::all(client.clone()), config.clone());
    let bindings = watcher(Api::<ValidatingAdmissionPolicyBinding>::all(client), config);
    let mut policies = policies.default_backoff().boxed();
    let mut bindings = bindings.default_backoff().boxed();
    let mut tenants = context.tenants.subscribe();
    let mut retry = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = policies.next() => {}
            _ = bindings.next() => {}
            changed = tenants.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if retry => {}
        }
        let known = tenants.borrow_and_update().clone();
        retry = false;
        for namespace in known.keys() {
            if let Err(error) = verify(&context, namespace).await {
                let Problem { reason, message, .. } = error;
                tracing::warn!(namespace, %reason, error = message, "could not verify the approval policy");
                retry = true;
            }
        }
    }
}

async fn fingerprint(context: &Context, namespace: &str) -> Result<Option<Fingerprint>, Problem> {
    let expected = expected(context);
    let client = context.kube.client.clone();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let namespaces: Api<Namespace> = Api::all(client);
    let Some(policy) = policies.get_opt(&expected.name).await? else { return Ok(None) };
    let Some(binding) = bindings.get_opt(&expected.name).await? else { return Ok(None) };
    let Some(space) = namespaces.get_opt(namespace).await? else { return Ok(None) };
    if !(same_spec(&policy, &expected.policy) && same_spec(&binding, &expected.binding)) {
        return Ok(None);
    }
    let (Some(policy), Some(binding)) = (identity(&policy), identity(&binding)) else { return Ok(None) };
    let Some(tenant) = space.labels().get(labels::TENANT).cloned() else { return Ok(None) };
    Ok(Some(Fingerprint { policy, binding, namespace: space.uid().unwrap_or_default(), tenant }))
}

fn expected(context: &Context) -> admission::Policy {
    let settings = &context.settings;
    let install = Install {
        namespace: settings.namespace.clone(),
        scope: match settings.scope {
            Scope::Cluster => admission::PolicyScope::Cluster,
            Scope::Namespace => admission::PolicyScope::Namespace,
        },
        admins_may_decide: settings.admins_may_decide,
    };
    admission::user_actions_policy(&install)
}

/// UID and generation; none for what is being deleted.
fn identity<K: Resource>(object: &K) -> Option<(String, i64)> {
    let meta = object.meta();
    if meta.deletion_timestamp.is_some() {
        return None;
    }
    Some((meta.uid.clone()?, meta.generation.unwrap_or_default()))
}

/// Whether the object's spec is the expected one. Both spell every field as the API server stores it.
fn same_spec<K: Serialize>(object: &K, expected: &Value) -> bool {
    serde_json::to_value(object).is_ok_and(|object| plain(&object["spec"]) == plain(&expected["spec"]))
}

/// Without what means the same as being absent.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, v)| !v.is_null() && **v != serde_json::json!([]) && **v != serde_json::json!({}))
                .map(|(k, v)| (k.clone(), plain(v)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.iter().map(plain).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(generation: i64) -> Fingerprint {
        Fingerprint {
            policy: ("p".to_owned(), generation),
            binding: ("b".to_owned(), 1),
            namespace: "n".to_owned(),
            tenant: "t".to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_proof_holds_from_its_verification_while_nothing_changes() {
        let (first, fact) = assess(Some(print(1)), None, at(100));
        assert_eq!(first, Proof(Some(at(103))));
        let fact = fact.unwrap();
        assert_eq!(assess(Some(print(1)), Some(&fact), at(900)), (Proof(Some(at(103))), None));
    }

    #[test]
    fn a_jump_makes_everything_since_worthless() {
        let (_, fact) = assess(Some(print(1)), None, at(100));
        let (proof, again) = assess(Some(print(3)), fact.as_ref(), at(500));
        assert_eq!(proof, Proof(Some(at(503))));
        assert!(again.is_some());
    }

    #[test]
    fn nothing_is_proved_while_it_is_away_nor_for_the_time_before_it_came_back() {
        let (_, fact) = assess(Some(print(1)), None, at(100));
        let (proof, gone) = assess(None, fact.as_ref(), at(500));
        assert_eq!(proof, Proof(None));
        let (proof, _) = assess(Some(print(1)), gone.as_ref(), at(600));
        assert_eq!(proof, Proof(Some(at(603))));
    }
}
