//! Which version of a runbook to take.

use std::str::FromStr;

use semver::Version;
use thiserror::Error;

use crate::error::BundleErrorClass;
use crate::reference::Tag;

/// How a version is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionSelector {
    /// The newest stable version: no pre-release.
    Newest,
    /// One version.
    Exact(Version),
}

/// Why no version was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum VersionError {
    #[error("invalid version `{0}`: expected an exact semantic version such as `1.2.3`")]
    Selector(String),
    #[error("no stable version among {0} tags")]
    NoStableVersion(usize),
    #[error("version {0} not found among {1} tags")]
    NotFound(Version, usize),
}

impl VersionError {
    /// What to do about it.
    pub fn class(&self) -> BundleErrorClass {
        match self {
            Self::Selector(_) => BundleErrorClass::Invalid,
            Self::NoStableVersion(_) | Self::NotFound(..) => BundleErrorClass::Waiting,
        }
    }

    /// Bounded name for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Selector(_) => "VersionInvalid",
            Self::NoStableVersion(_) | Self::NotFound(..) => "VersionNotFound",
        }
    }
}

impl VersionSelector {
    /// Reads the optional `version` field: absent is the newest.
    pub fn parse(version: Option<&str>) -> Result<Self, VersionError> {
        version.map_or(Ok(Self::Newest), str::parse)
    }

    /// The tag to ask for when it is known without listing; some registries refuse to list tags.
    pub fn exact_tag(&self) -> Option<Tag> {
        match self {
            Self::Newest => None,
            Self::Exact(version) => Tag::from_version(version).ok(),
        }
    }

    /// Chooses from a list of tags; those that are not versions are ignored.
    pub fn choose(&self, tags: &[Tag]) -> Result<(Version, Tag), VersionError> {
        let mut versions = versions(tags);
        match self {
            Self::Newest => {
                versions.find(|(version, _)| version.pre.is_empty()).ok_or(VersionError::NoStableVersion(tags.len()))
            }
            Self::Exact(wanted) => versions
                .find(|(version, _)| version == wanted)
                .ok_or_else(|| VersionError::NotFound(wanted.clone(), tags.len())),
        }
    }
}

impl FromStr for VersionSelector {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::Exact).map_err(|_| VersionError::Selector(crate::finding::one_line(text)))
    }
}

/// The versions of a tag list, newest first.
pub fn versions(tags: &[Tag]) -> impl Iterator<Item = (Version, Tag)> + use<> {
    let mut versions: Vec<_> = tags.iter().filter_map(|tag| Some((tag.to_version()?, tag.clone()))).collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(names: &[&str]) -> Vec<Tag> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn choose(selector: Option<&str>, names: &[&str]) -> Result<String, VersionError> {
        VersionSelector::parse(selector).unwrap().choose(&tags(names)).map(|(version, _)| version.to_string())
    }

    #[test]
    fn newest_is_by_precedence_and_skips_pre_releases() {
        let names = ["latest", "1.9.0", "1.10.0", "2.0.0-rc.1", "1.10.0-rc.2", "v3.0.0", "4.0"];
        assert_eq!(choose(None, &names), Ok("1.10.0".to_owned()));
        assert_eq!(choose(None, &["latest", "2.0.0-rc.1"]), Err(VersionError::NoStableVersion(2)));
    }

    #[test]
    fn exact_takes_that_version_even_a_pre_release() {
        let names = ["1.0.0", "2.0.0-rc.1", "1.0.0_build.7"];
        assert_eq!(choose(Some("2.0.0-rc.1"), &names), Ok("2.0.0-rc.1".to_owned()));
        assert_eq!(choose(Some("1.0.0+build.7"), &names), Ok("1.0.0+build.7".to_owned()));
        assert!(choose(Some("3.0.0"), &names).is_err());
        let selector: VersionSelector = "1.0.0+build.7".parse().unwrap();
        assert_eq!(selector.exact_tag().unwrap().as_str(), "1.0.0_build.7");
    }

    #[test]
    fn a_version_that_is_not_exact_is_refused() {
        for text in ["^1.2", "1.2", "", "newest", ">=1.0.0"] {
            let error = VersionSelector::parse(Some(text)).unwrap_err();
            assert_eq!(error.class(), BundleErrorClass::Invalid, "{text}");
        }
    }
}
