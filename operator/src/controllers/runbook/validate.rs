//! The spec of a Runbook as checked values, and which other versions its namespace needs. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use ntro_bundle::reference::{Digest, Repository};
use ntro_bundle::version::VersionSelector;
use ntro_crds::runbook::RunbookSpec;
use ntro_crds::{Workflow, WorkflowRun, duration};
use semver::Version;

use super::error::RunbookError;

/// How often to look for newer versions unless the spec says it.
pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_mins(10);
/// The shortest interval: registries are shared.
const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// Which bundle is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selector {
    /// Exactly these bytes, which must be of that version if one is given.
    Digest(Digest, Option<Version>),
    /// A version by its tag, or the newest.
    Version(VersionSelector),
}

/// A checked spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Where bundles are.
    pub repository: Repository,
    /// Plain HTTP.
    pub insecure: bool,
    /// Name of the Secret with credentials.
    pub secret: Option<String>,
    /// Which bundle is current.
    pub selector: Selector,
    /// How often to look.
    pub interval: Duration,
}

/// Checks a spec.
pub(super) fn validate(spec: &RunbookSpec) -> Result<Wanted, RunbookError> {
    let version = spec.version.as_deref();
    let selector = match &spec.digest {
        Some(digest) => {
            let version = match VersionSelector::parse(version)? {
                VersionSelector::Newest => None,
                VersionSelector::Exact(version) => Some(version),
            };
            Selector::Digest(digest.parse()?, version)
        }
        None => Selector::Version(VersionSelector::parse(version)?),
    };
    let interval = match &spec.interval {
        Some(text) => duration::parse(text)?.max(MIN_INTERVAL),
        None => DEFAULT_INTERVAL,
    };
    Ok(Wanted {
        repository: spec.source.url.parse()?,
        insecure: spec.source.insecure.unwrap_or(false),
        secret: spec.source.secret_ref.as_ref().map(|secret| secret.name.clone()),
        selector,
        interval,
    })
}

/// How often to look for newer versions, whether or not the spec is valid otherwise.
pub(super) fn interval(spec: &RunbookSpec) -> Duration {
    validate(spec).map_or(DEFAULT_INTERVAL, |wanted| wanted.interval)
}

/// A version somebody in the namespace holds on to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pinned {
    /// By its bytes.
    Digest(Digest),
    /// By its number.
    Version(Version),
}

/// The versions of this runbook that Workflows pin. What cannot be read as a version or a digest is left to the
/// controller of Workflows to complain about.
pub(super) fn pinned<'a>(runbook: &str, workflows: impl IntoIterator<Item = &'a Workflow>) -> BTreeSet<Pinned> {
    workflows
        .into_iter()
        .filter(|workflow| workflow.spec.runbook_ref.name == runbook)
        .filter_map(|workflow| workflow.spec.runbook_ref.version.as_deref())
        .filter_map(|text| match text.parse::<Digest>() {
            Ok(digest) => Some(Pinned::Digest(digest)),
            Err(_) => text.parse().ok().map(Pinned::Version),
        })
        .collect()
}

/// The versions of this runbook that unfinished runs execute.
pub(super) fn executed<'a>(runbook: &str, runs: impl IntoIterator<Item = &'a WorkflowRun>) -> BTreeSet<Pinned> {
    runs.into_iter()
        .filter_map(|run| run.status.as_ref())
        .filter(|status| !status.phase.is_some_and(ntro_crds::workflow_run::RunPhase::is_terminal))
        .filter_map(|status| status.pin.as_ref())
        .filter(|pin| pin.runbook.name == runbook)
        .filter_map(|pin| pin.runbook.digest.parse().ok().map(Pinned::Digest))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn spec(change: impl FnOnce(&mut serde_json::Value)) -> RunbookSpec {
        let mut spec = json!({"source": {"url": "oci://registry.example.com/acme/nav"}});
        change(&mut spec);
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn defaults_live_here_and_not_in_the_schema() {
        let wanted = validate(&spec(|_| {})).unwrap();
        assert_eq!(wanted.selector, Selector::Version(VersionSelector::Newest));
        assert_eq!((wanted.interval, wanted.insecure, wanted.secret), (DEFAULT_INTERVAL, false, None));
    }

    #[test]
    fn a_digest_wins_over_resolving_and_keeps_the_version_as_a_claim() {
        let spec = spec(|s| {
            s["digest"] = json!(DIGEST);
            s["version"] = json!("1.4.0");
            s["interval"] = json!("1s");
        });
        let wanted = validate(&spec).unwrap();
        assert_eq!(wanted.selector, Selector::Digest(DIGEST.parse().unwrap(), Some(Version::new(1, 4, 0))));
        assert_eq!(wanted.interval, MIN_INTERVAL);
    }

    #[test]
    fn faults_of_the_spec_are_told_apart_from_faults_of_the_world() {
        for change in [
            (|s: &mut serde_json::Value| s["source"]["url"] = json!("https://registry.example.com/acme"))
                as fn(&mut serde_json::Value),
            |s| s["version"] = json!("^1.2"),
            |s| s["interval"] = json!("soon"),
            |s| s["digest"] = json!("sha256:short"),
        ] {
            let error = validate(&spec(change)).unwrap_err();
            assert!(error.is_of_spec(), "{error}");
        }
    }

    #[test]
    fn pinned_is_what_workflows_of_this_runbook_name() {
        let workflow = |runbook: &str, version: Option<&str>| -> Workflow {
            let mut spec = json!({"runbookRef": {"name": runbook}, "entity": "e"});
            if let Some(version) = version {
                spec["runbookRef"]["version"] = json!(version);
            }
            serde_json::from_value(json!({"metadata": {"name": "w"}, "spec": spec})).unwrap()
        };
        let workflows = [
            workflow("nav", Some("1.0.0")),
            workflow("nav", Some(DIGEST)),
            workflow("nav", None),
            workflow("other", Some("9.9.9")),
        ];
        let found = pinned("nav", &workflows);
        let expected = [Pinned::Digest(DIGEST.parse().unwrap()), Pinned::Version(Version::new(1, 0, 0))];
        assert_eq!(found, expected.into());
    }
}
