//! The next status of a Runbook. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use ntro_crds::Reason;
use ntro_crds::RunbookStatus;
use ntro_crds::conditions::{self, Readiness};
use ntro_crds::runbook::{Resolved, VerifiedVersion};

use crate::error::{Class, Problem};

/// Type of the condition that is present while the repository, or a pinned version in it, cannot be fetched.
pub(super) const FETCH_FAILED: &str = "FetchFailed";

/// Most entries of `status.versions`.
pub(super) const MAX_VERSIONS: usize = 32;
/// Most entries of `status.available`.
pub(super) const MAX_AVAILABLE: usize = 10;

/// What a reconcile found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    /// The spec says to leave everything as it is.
    Suspended,
    /// A verified bundle is at hand.
    Resolved(Resolution),
    /// It failed. `of_spec`: the spec itself is at fault.
    Failed {
        /// What is wrong.
        problem: Problem,
        /// Nothing can succeed before the spec changes.
        of_spec: bool,
    },
}

/// A good outcome.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resolution {
    /// The current version.
    pub resolved: Resolved,
    /// All versions the namespace needs, the current one first.
    pub versions: Vec<VerifiedVersion>,
    /// The newest versions, if the repository was listed.
    pub available: Option<Vec<String>>,
    /// A pinned version that could not be fetched.
    pub pin_problem: Option<Problem>,
}

/// The object the status is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Value of the annotation that asks for a reconcile now.
    pub requested_at: Option<&'a str>,
    /// The current instant.
    pub now: Timestamp,
}

/// The next status. What is not spoken of stays: above all, the last good version survives every failure.
pub(super) fn next(previous: Option<&RunbookStatus>, found: &Found, about: About<'_>) -> RunbookStatus {
    let mut status = previous.cloned().unwrap_or_default();
    let mut conditions = status.conditions.take().unwrap_or_default();
    let resolution_before = status.resolved.is_some() && status.observed_generation == about.generation;
    let generation = about.generation;
    if let Some(requested) = about.requested_at {
        status.last_handled_reconcile_at = Some(requested.to_owned());
    }
    match found {
        Found::Suspended => {
            status.observed_generation = generation;
            let readiness = if status.resolved.is_some() { Readiness::Ready } else { Readiness::NotReady };
            let message = "spec.suspend is true: reconciliation is suspended; newer versions are not looked for";
            conditions::set_readiness(&mut conditions, &readiness, Reason::Suspended, message, generation, about.now);
            conditions::remove(&mut conditions, FETCH_FAILED);
        }
        Found::Resolved(resolution) => {
            resolved(&mut status, resolution, about);
            let message = format!("version {} is {}", resolution.resolved.version, resolution.resolved.digest);
            let ready = &Readiness::Ready;
            conditions::set_readiness(&mut conditions, ready, Reason::Resolved, &message, generation, about.now);
            match &resolution.pin_problem {
                Some(problem) => fetch_failed(&mut conditions, problem, about),
                None => conditions::remove(&mut conditions, FETCH_FAILED),
            }
        }
        Found::Failed { problem, of_spec } if resolution_before && !of_spec => {
            // What was resolved for this very spec stays good while the registry is away or holds a broken newer version.
            fetch_failed(&mut conditions, problem, about);
        }
        Found::Failed { problem, .. } => {
            let stalled = matches!(problem.class, Class::Invalid);
            let readiness = if stalled { Readiness::Stalled } else { Readiness::Reconciling };
            let Problem { reason, message, .. } = problem;
            conditions::set_readiness(&mut conditions, &readiness, *reason, message, generation, about.now);
            if stalled {
                status.observed_generation = generation;
            }
            conditions::remove(&mut conditions, FETCH_FAILED);
        }
    }
    status.conditions = Some(conditions);
    status
}

fn resolved(status: &mut RunbookStatus, resolution: &Resolution, about: About<'_>) {
    let mut versions = resolution.versions.clone();
    versions.truncate(MAX_VERSIONS);
    let mut available = resolution.available.clone();
    if let Some(available) = &mut available {
        available.truncate(MAX_AVAILABLE);
    }
    let changed = status.resolved.as_ref() != Some(&resolution.resolved)
        || status.versions.as_ref() != Some(&versions)
        || (available.is_some() && status.available != available);
    // A poll that found nothing new is not worth a write: the time moves only together with something else.
    if changed || status.last_resolved_time.is_none() {
        status.last_resolved_time = Some(Time(about.now));
    }
    status.observed_generation = about.generation;
    status.resolved = Some(resolution.resolved.clone());
    status.versions = Some(versions);
    if available.is_some() {
        status.available = available;
    }
}

fn fetch_failed(conditions: &mut Vec<Condition>, problem: &Problem, about: About<'_>) {
    let condition =
        conditions::condition(FETCH_FAILED, true, problem.reason, &problem.message, about.generation, about.now);
    conditions::upsert(conditions, condition);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn about(generation: i64, second: i64) -> About<'static> {
        About { generation: Some(generation), requested_at: None, now: Timestamp::from_second(second).unwrap() }
    }

    fn resolution(version: &str) -> Found {
        let resolved = Resolved { version: version.to_owned(), digest: DIGEST.to_owned() };
        let current = VerifiedVersion {
            version: version.to_owned(),
            digest: DIGEST.to_owned(),
            layer_digest: DIGEST.to_owned(),
            title: None,
            config_schema: None,
            config_schema_digest: None,
            steps: None,
            activities: None,
            outputs: None,
            handles_cancel: None,
        };
        Found::Resolved(Resolution {
            resolved,
            versions: vec![current],
            available: Some(vec![version.to_owned()]),
            pin_problem: None,
        })
    }

    fn failed(class: Class, reason: Reason, of_spec: bool) -> Found {
        Found::Failed { problem: Problem { class, reason, message: "why".to_owned() }, of_spec }
    }

    fn is(status: &RunbookStatus, kind: &str) -> Option<String> {
        let conditions = status.conditions.as_ref().unwrap();
        conditions.iter().find(|c| c.type_ == kind).map(|c| format!("{} {}", c.status, c.reason))
    }

    #[test]
    fn a_registry_outage_leaves_the_last_good_version_ready() {
        let good = next(None, &resolution("1.0.0"), about(1, 10));
        assert_eq!(is(&good, "Ready").as_deref(), Some("True Resolved"));
        let out = next(Some(&good), &failed(Class::Transient, Reason::RegistryUnavailable, false), about(1, 20));
        assert_eq!(is(&out, "Ready").as_deref(), Some("True Resolved"));
        assert_eq!(is(&out, FETCH_FAILED).as_deref(), Some("True RegistryUnavailable"));
        assert_eq!(out.resolved, good.resolved);
        let back = next(Some(&out), &resolution("1.0.0"), about(1, 30));
        assert_eq!(is(&back, FETCH_FAILED), None);
        assert_eq!(back, good, "an outage leaves no trace");
    }

    #[test]
    fn a_changed_spec_that_cannot_be_served_is_not_ready_and_keeps_the_old_generation() {
        let good = next(None, &resolution("1.0.0"), about(1, 10));
        let class = Class::Waiting { after: std::time::Duration::from_secs(1) };
        let waiting = next(Some(&good), &failed(class, Reason::VersionNotFound, false), about(2, 20));
        assert_eq!(is(&waiting, "Ready").as_deref(), Some("False VersionNotFound"));
        assert_eq!(is(&waiting, "Reconciling").as_deref(), Some("True VersionNotFound"));
        assert_eq!(waiting.observed_generation, Some(1));
        let stalled = next(Some(&waiting), &failed(Class::Invalid, Reason::UrlInvalid, true), about(3, 30));
        assert_eq!(is(&stalled, "Stalled").as_deref(), Some("True URLInvalid"));
        assert_eq!(is(&stalled, "Reconciling"), None);
        assert_eq!(stalled.observed_generation, Some(3));
    }

    #[test]
    fn polls_without_news_change_nothing() {
        let first = next(None, &resolution("1.0.0"), about(1, 10));
        assert_eq!(next(Some(&first), &resolution("1.0.0"), about(1, 9_999)), first);
        let newer = next(Some(&first), &resolution("1.1.0"), about(1, 20));
        assert_eq!(newer.last_resolved_time, Some(Time(Timestamp::from_second(20).unwrap())));
    }

    #[test]
    fn suspension_keeps_what_is_resolved_and_is_ready() {
        let good = next(None, &resolution("1.0.0"), about(1, 10));
        let suspended = next(Some(&good), &Found::Suspended, about(2, 20));
        assert_eq!(is(&suspended, "Ready").as_deref(), Some("True Suspended"));
        assert_eq!(suspended.resolved, good.resolved);
    }

    #[test]
    fn events_tell_of_changes_failures_and_recoveries_once() {
        let reasons =
            |events: Vec<super::super::events::RunbookEvent>| events.into_iter().map(|t| t.reason).collect::<Vec<_>>();
        let good = next(None, &resolution("1.0.0"), about(1, 10));
        assert_eq!(reasons(super::super::events::events(None, &good)), ["Resolved"]);
        assert!(super::super::events::events(Some(&good), &good).is_empty());
        let out = next(Some(&good), &failed(Class::Transient, Reason::RegistryUnavailable, false), about(1, 20));
        assert_eq!(reasons(super::super::events::events(Some(&good), &out)), ["RegistryUnavailable"]);
        assert!(super::super::events::events(Some(&out), &out).is_empty());
        assert_eq!(reasons(super::super::events::events(Some(&out), &good)), ["Recovered"]);
    }
}
