//! From a checked spec to verified bundles: asks the repository, fetches what is missing.

use std::collections::BTreeSet;

use ntro_bundle::reference::Digest;
use ntro_bundle::version::{self, VersionSelector};
use ntro_crds::Reason;
use ntro_crds::runbook::{Resolved, VerifiedVersion};
use semver::Version;

use super::error::RunbookError;
use super::status::{MAX_AVAILABLE, MAX_VERSIONS, Resolution};
use super::validate::{Pinned, Selector, Wanted};
use super::verified::verified;
use crate::bundles::{Access, Bundle, Bundles};
use crate::error::{Classified, Problem};

/// Most activities with a policy that the status can tell, and a run be pinned to. Leaving some out would lift their
/// requirements.
const MAX_ACTIVITIES: usize = 64;

/// A repository on behalf of a Runbook.
pub(super) struct Resolver<'a> {
    /// Where bundles come from.
    pub bundles: &'a Bundles,
    /// How to reach the repository.
    pub access: &'a Access,
    /// Name of the Runbook: the slug its bundles must have.
    pub slug: &'a str,
    /// What was verified before.
    pub known: &'a [VerifiedVersion],
}

impl Resolver<'_> {
    /// Finds and fetches the current version and everything pinned. A pin that fails is told, not an error.
    pub(super) async fn resolve(&self, wanted: &Wanted, pins: &BTreeSet<Pinned>) -> Result<Resolution, RunbookError> {
        let (current, available) = match &wanted.selector {
            Selector::Digest(digest, version) => (self.fetch(digest, version.as_ref()).await?, None),
            Selector::Version(selector) => self.current(selector).await?,
        };
        let mut versions = vec![verified(&current)];
        let mut pin_problem = None;
        for pin in pins {
            match self.pinned(pin).await {
                Ok(bundle) if versions.iter().any(|v| v.digest == bundle.digest.as_str()) => {}
                Ok(bundle) if versions.len() < MAX_VERSIONS => versions.push(verified(&bundle)),
                Ok(_) => {
                    pin_problem.get_or_insert(too_many());
                }
                Err(error) => {
                    pin_problem.get_or_insert(error.problem());
                }
            }
        }
        let resolved = Resolved { version: current.config.version.to_string(), digest: current.digest.to_string() };
        Ok(Resolution { resolved, versions, available, pin_problem })
    }

    async fn current(&self, selector: &VersionSelector) -> Result<(Bundle, Option<Vec<String>>), RunbookError> {
        if let (VersionSelector::Exact(version), Some(tag)) = (selector, selector.exact_tag()) {
            // Tags are not listed for an exact version: some registries refuse to, and there is nothing to choose.
            let digest = self.bundles.resolve(self.access, &tag).await?;
            return Ok((self.fetch(&digest, Some(version)).await?, None));
        }
        let tags = self.bundles.tags(self.access).await?;
        let (version, tag) = selector.choose(&tags)?;
        let available = version::versions(&tags).take(MAX_AVAILABLE).map(|(version, _)| version.to_string()).collect();
        let digest = self.bundles.resolve(self.access, &tag).await?;
        Ok((self.fetch(&digest, Some(&version)).await?, Some(available)))
    }

    async fn pinned(&self, pin: &Pinned) -> Result<Bundle, RunbookError> {
        match pin {
            Pinned::Digest(digest) => self.fetch(digest, None).await,
            Pinned::Version(version) => {
                // A version that was verified once keeps its bytes, even if its tag has moved since.
                let known = self.known.iter().find(|known| known.version == version.to_string());
                if let Some(digest) = known.and_then(|known| known.digest.parse::<Digest>().ok())
                    && self.bundles.is_cached(self.access, &digest).await?
                {
                    return self.fetch(&digest, Some(version)).await;
                }
                let selector = VersionSelector::Exact(version.clone());
                self.current(&selector).await.map(|(bundle, _)| bundle)
            }
        }
    }

    async fn fetch(&self, digest: &Digest, wanted: Option<&Version>) -> Result<Bundle, RunbookError> {
        let bundle = self.bundles.ensure(self.access, digest).await?;
        let config = &bundle.config;
        if config.slug != self.slug {
            return Err(RunbookError::SlugMismatch {
                repository: self.access.repository.clone(),
                wanted: self.slug.to_owned(),
                found: config.slug.clone(),
            });
        }
        if let Some(wanted) = wanted.filter(|wanted| **wanted != config.version) {
            return Err(RunbookError::VersionMismatch {
                digest: digest.clone(),
                wanted: wanted.clone(),
                found: config.version.clone(),
            });
        }
        if config.activities.len() > MAX_ACTIVITIES {
            return Err(RunbookError::TooManyActivities { digest: digest.clone(), found: config.activities.len() });
        }
        Ok(bundle)
    }
}

fn too_many() -> Problem {
    Problem {
        class: crate::error::Class::Invalid,
        reason: Reason::TooManyVersions,
        message: format!("more than {MAX_VERSIONS} versions are pinned in this namespace"),
    }
}
