//! Which Events a change of a Runbook's status is worth. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::EventType;
use ntro_crds::Reason;
use ntro_crds::RunbookStatus;
use ntro_crds::conditions;

use super::status::FETCH_FAILED;

/// An Event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunbookEvent {
    pub kind: EventType,
    pub reason: String,
    /// One sentence.
    pub note: String,
}

/// What people should hear of: a new version, a failure that was not known yet, a recovery. Never a poll.
pub(super) fn events(previous: Option<&RunbookStatus>, next: &RunbookStatus) -> Vec<RunbookEvent> {
    let resolved = previous.and_then(|status| status.resolved.as_ref());
    let (before, after) = (failure(previous), failure(Some(next)));
    let mut events = Vec::new();
    if let Some(new) = next.resolved.as_ref().filter(|new| resolved != Some(*new)) {
        let note = format!("version {} is {}", new.version, new.digest);
        events.push(RunbookEvent { kind: EventType::Normal, reason: Reason::Resolved.as_str().to_owned(), note });
    }
    match (before, after) {
        (before, Some((reason, message))) if before.map(|b| b.0) != Some(reason) => {
            events.push(RunbookEvent { kind: EventType::Warning, reason: reason.to_owned(), note: message.to_owned() });
        }
        (Some((reason, _)), None) if events.is_empty() => {
            let note = format!("{reason} resolved");
            events.push(RunbookEvent { kind: EventType::Normal, reason: Reason::Recovered.as_str().to_owned(), note });
        }
        _ => {}
    }
    events
}

/// Reason and message of the failure a status tells of.
fn failure(status: Option<&RunbookStatus>) -> Option<(&str, &str)> {
    let conditions = status?.conditions.as_deref()?;
    let failing = |c: &&Condition| {
        (c.type_ == FETCH_FAILED && c.status == "True")
            || (c.type_ == conditions::READY && c.status == "False" && c.reason != Reason::Suspended.as_str())
    };
    conditions.iter().find(failing).map(|c| (c.reason.as_str(), c.message.as_str()))
}
