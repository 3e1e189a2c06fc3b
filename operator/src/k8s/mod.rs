//! The few ways this operator writes to the Kubernetes API.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use http::header::ACCEPT;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{
    Api, DeleteParams, PartialObjectMeta, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy, Request,
};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{MAX_MESSAGE, truncate};

pub use ntro_crds::labels::OPERATOR_FIELD_MANAGER as FIELD_MANAGER;

/// What this operator may handle: a namespaced kind known at compile time.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

/// Server-side apply with our field manager, taking over fields that others own.
pub async fn apply<K>(api: &Api<K>, name: &str, object: &K) -> kube::Result<K>
where
    K: Kind,
{
    api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await
}

/// What [`create_once`] found.
#[derive(Debug, Clone)]
pub enum Created<K> {
    /// It did not exist before this call.
    New(K),
    /// Something of that name was there: whether it is ours is for the caller to judge.
    Existing(K),
}

/// Creates an object that must not be made twice. Its name is the lock: "already exists" is an observation, no error.
///
/// What was created is the object that was sent, with the metadata that the server gave it: the rest is not sent back,
/// because it is known, and a month's end creates thousands. What admission added to it is seen by the watch.
pub async fn create_once<K>(client: &Client, object: &K) -> kube::Result<Created<K>>
where
    K: Kind,
{
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let mut request =
        Request::new(K::url_path(&(), Some(&namespace))).create(&params, body).map_err(kube::Error::BuildRequest)?;
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    match client.request::<PartialObjectMeta<K>>(request).await {
        Ok(made) => {
            let mut created = object.clone();
            *created.meta_mut() = made.metadata;
            Ok(Created::New(created))
        }
        Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
            Api::namespaced(client.clone(), &namespace).get(&name).await.map(Created::Existing)
        }
        Err(error) => Err(error),
    }
}

/// Deletes the object that was looked at and no other. Says whether it did: one that is gone, or is not what the
/// preconditions say, is left alone, and who asked will see why in what it watches.
pub async fn delete_exactly<K>(
    api: &Api<K>,
    name: &str,
    preconditions: Preconditions,
    propagation: PropagationPolicy,
) -> kube::Result<bool>
where
    K: Kind,
{
    let params = DeleteParams {
        preconditions: Some(preconditions),
        propagation_policy: Some(propagation),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(error) => Err(error),
    }
}

const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json");

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusPatch<'a, S> {
    api_version: String,
    kind: String,
    metadata: NameOnly<'a>,
    status: &'a S,
}

#[derive(Debug, Serialize)]
struct NameOnly<'a> {
    name: &'a str,
}

/// Applies a whole status with our field manager if it differs from `current` in more than the times of its
/// conditions. Gives what was made of it if it was written. Fields that `next` leaves out and we owned before are removed.
pub async fn patch_status_if_changed<K, S>(
    api: &Api<K>,
    name: &str,
    current: Option<&S>,
    next: &S,
) -> Result<Option<K>, kube::Error>
where
    K: Kind,
    S: Serialize + Debug,
{
    if let Some(current) = current
        && same_but_for_times(current, next).map_err(kube::Error::SerdeError)?
    {
        return Ok(None);
    }
    let patch = StatusPatch {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        metadata: NameOnly { name },
        status: next,
    };
    api.patch_status(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&patch)).await.map(Some)
}

/// Whether two statuses say the same when the `lastTransitionTime` of conditions is left out.
pub fn same_but_for_times<S: Serialize>(left: &S, right: &S) -> serde_json::Result<bool> {
    Ok(without_times(serde_json::to_value(left)?) == without_times(serde_json::to_value(right)?))
}

fn without_times(mut status: Value) -> Value {
    if let Some(Value::Array(conditions)) = status.get_mut("conditions") {
        for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
            condition.remove("lastTransitionTime");
        }
    }
    status
}

/// Events after which a recorder is replaced: it remembers all it has published for minutes, to count repetitions, and a
/// restart or a month's end has tens of thousands that never repeat.
const REMEMBERED: usize = 500;

/// Publishes events. Telling is a courtesy: a failure to do so is logged and goes no further.
#[derive(Clone)]
pub struct Events {
    client: Client,
    reporter: Reporter,
    current: Arc<Mutex<(Recorder, usize)>>,
}

impl Events {
    /// Events reported by the pod of this name.
    pub fn new(client: Client, pod_name: Option<String>) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: pod_name };
        let recorder = Recorder::new(client.clone(), reporter.clone());
        Self { client, reporter, current: Arc::new(Mutex::new((recorder, 0))) }
    }

    /// For an event that is never counted as the repetition of an earlier one: it has the same reason, and tells of something else.
    #[must_use]
    pub fn by_itself(&self) -> Self {
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        Self { current: Arc::new(Mutex::new((recorder, 0))), ..self.clone() }
    }

    fn recorder(&self) -> Recorder {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1 >= REMEMBERED {
            *current = (Recorder::new(self.client.clone(), self.reporter.clone()), 0);
        }
        current.1 += 1;
        current.0.clone()
    }

    /// Publishes one event about an object. `reason` is from a fixed set and tells events apart; `action` is what was
    /// being done; `note` is for a person and holds no payload.
    pub async fn publish(&self, about: &ObjectReference, type_: EventType, reason: &str, action: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(truncate(note, MAX_MESSAGE)),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder().publish(&event, about).await {
            tracing::warn!(reason, error = %crate::error::chain(&error), "could not publish an event");
        }
    }
}

/// A reference to an object as events use it.
pub fn object_reference<K: Kind>(object: &K) -> ObjectReference {
    object.object_ref(&())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_times_of_conditions_are_ignored() {
        let status = |time: &str, message: &str, next: &str| {
            json!({
                "nextScheduleTime": next,
                "conditions": [{"type": "Ready", "message": message, "lastTransitionTime": time}],
            })
        };
        assert!(same_but_for_times(&status("1", "a", "x"), &status("2", "a", "x")).unwrap());
        assert!(!same_but_for_times(&status("1", "a", "x"), &status("1", "b", "x")).unwrap());
        assert!(!same_but_for_times(&status("1", "a", "x"), &status("1", "a", "y")).unwrap());
    }
}
