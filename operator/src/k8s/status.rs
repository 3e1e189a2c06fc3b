//! Writing a status, and only if it says something new.

use std::fmt::Debug;

use kube::api::{Api, Patch, PatchParams};
use serde::Serialize;
use serde_json::Value;

use super::{FIELD_MANAGER, Kind};

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
pub(crate) async fn patch_status_if_changed<K, S>(
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
pub(crate) fn same_but_for_times<S: Serialize>(left: &S, right: &S) -> serde_json::Result<bool> {
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
