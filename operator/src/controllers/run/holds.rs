//! Holds on runs: what a person says by an annotation of the `WorkflowRun` is kept in the journal's store, because the object
//! may be deleted. Who may set and lift one is for an admission policy to say (`manifests/src/admission/holds.rs`).

use kube::ResourceExt as _;
use ntro_crds::{WorkflowRun, labels};
use ntro_journal::{Hold, Journal, JournalError};
use uuid::Uuid;

use crate::error::truncate;

/// Longest reason that is kept, in bytes.
const REASON_MAX: usize = 1000;

/// Whether a person holds the run of this object.
pub(super) fn is_held(object: &WorkflowRun) -> bool {
    object.annotations().contains_key(labels::HOLD)
}

/// Notes what the object of a run, if it has one, says about a hold. Gives whether the run is held.
pub(super) async fn note(journal: &Journal, run_id: Uuid, object: Option<&WorkflowRun>) -> Result<bool, JournalError> {
    let known = journal.hold(run_id).await?;
    let wanted = decide(known.as_ref(), object);
    if wanted != known {
        journal.set_hold(run_id, wanted.as_ref()).await?;
    }
    Ok(wanted.is_some())
}

/// The hold on a run, from the one that is known and its object now. Pure. A hold is lifted by taking the annotation from the
/// object it was set on, and by nothing else: neither by deleting the object nor by making another of its name.
fn decide(known: Option<&Hold>, object: Option<&WorkflowRun>) -> Option<Hold> {
    let Some(object) = object else { return known.cloned() };
    let object_uid = object.uid().unwrap_or_default();
    match object.annotations().get(labels::HOLD) {
        Some(reason) => Some(Hold { reason: truncate(reason, REASON_MAX), object_uid }),
        None => known.filter(|hold| hold.object_uid != object_uid).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(uid: &str, hold: Option<&str>) -> WorkflowRun {
        let annotations = hold.map(|reason| json!({ labels::HOLD: reason })).unwrap_or_default();
        let spec =
            json!({"request": {"workflowRef": {"name": "nav"}, "trigger": {"kind": "Manual", "initiator": "ina"}}});
        let metadata = json!({"name": "nav-1", "namespace": "acme", "uid": uid, "annotations": annotations});
        serde_json::from_value(json!({"apiVersion": "ntro.dev/v1alpha1", "metadata": metadata, "spec": spec})).unwrap()
    }

    fn hold(uid: &str, reason: &str) -> Hold {
        Hold { reason: reason.to_owned(), object_uid: uid.to_owned() }
    }

    #[test]
    fn a_hold_outlives_its_object() {
        let set = decide(None, Some(&object("a", Some("audit"))));
        assert_eq!(set, Some(hold("a", "audit")));
        assert_eq!(decide(set.as_ref(), None), set, "deleted");
        assert_eq!(decide(set.as_ref(), Some(&object("b", None))), set, "made again");
        let again = decide(set.as_ref(), Some(&object("b", Some("to lift it"))));
        assert_eq!(again, Some(hold("b", "to lift it")));
        assert_eq!(decide(again.as_ref(), Some(&object("b", None))), None);
    }

    #[test]
    fn it_is_lifted_by_taking_the_annotation_away() {
        let set = hold("a", "audit");
        assert_eq!(decide(Some(&set), Some(&object("a", Some("")))), Some(hold("a", "")), "no reason is a hold too");
        assert_eq!(decide(Some(&set), Some(&object("a", None))), None);
        assert_eq!(decide(None, Some(&object("a", None))), None);
        assert_eq!(decide(None, None), None);
    }
}
