//! The few ways in which the operator talks to the Kubernetes API. The lowest floor: it knows no kind of ours.

mod access;
pub(crate) mod crds;
mod create;
mod delete;
mod events;
mod list;
mod names;
mod server_time;
mod status;

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use access::Access;
pub(crate) use create::{Created, create_once};
pub(crate) use delete::delete_exactly;
pub(crate) use events::Events;
pub(crate) use names::NamespacedName;
pub(crate) use ntro_crds::labels::OPERATOR_FIELD_MANAGER as FIELD_MANAGER;
pub(crate) use server_time::ServerTime;
pub(crate) use status::{patch_status_if_changed, same_but_for_times};

/// What this operator may handle: a namespaced kind known at compile time.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

/// Server-side apply with our field manager, taking over fields that others own.
pub(crate) async fn apply<K>(api: &Api<K>, name: &str, object: &K) -> kube::Result<K>
where
    K: Kind,
{
    api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await
}

/// A reference to an object as events use it.
pub(crate) fn object_reference<K: Kind>(object: &K) -> ObjectReference {
    object.object_ref(&())
}
