//! Creating objects whose name is a lock.

use http::HeaderValue;
use http::header::ACCEPT;
use kube::api::{Api, PartialObjectMeta, PostParams, Request};
use kube::{Client, ResourceExt};

use super::{FIELD_MANAGER, Kind};

/// What [`create_once`] found.
#[derive(Debug, Clone)]
pub(crate) enum Created<K> {
    /// It did not exist before this call.
    New(K),
    /// Something of that name was there: whether it is ours is for the caller to judge.
    Existing(K),
}

/// Creates an object that must not be made twice. Its name is the lock: "already exists" is an observation, no error.
///
/// What was created is the object that was sent, with the metadata that the server gave it: the rest is not sent back,
/// because it is known, and a month's end creates thousands. What admission added to it is seen by the watch.
pub(crate) async fn create_once<K>(client: &Client, object: &K) -> kube::Result<Created<K>>
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

const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json");
