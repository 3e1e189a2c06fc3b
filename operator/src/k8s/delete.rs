//! Deleting one object and no other.

use kube::api::{Api, DeleteParams, Preconditions, PropagationPolicy};

use super::Kind;

/// Deletes the object that was looked at and no other. Says whether it did: one that is gone, or is not what the
/// preconditions say, is left alone, and who asked will see why in what it watches.
pub(crate) async fn delete_exactly<K>(
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
