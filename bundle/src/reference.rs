//! Addresses of bundles in registries: repository, tag and digest, each valid by construction.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum ReferenceError {
    #[error("invalid repository `{input}`: {problem}")]
    Repository { input: String, problem: &'static str },
    #[error("invalid tag `{0}`: use at most 128 letters, digits, `_`, `.` and `-`, not starting with `.` or `-`")]
    Tag(String),
    #[error("invalid digest `{0}`: expected `sha256:` and 64 lowercase hexadecimal digits")]
    Digest(String),
}

impl ReferenceError {
    /// Bounded name for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Repository { .. } => "URLInvalid",
            Self::Tag(_) => "TagInvalid",
            Self::Digest(_) => "DigestInvalid",
        }
    }
}

/// A repository, written `oci://host[:port]/path`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// Registry as `host` or `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Repository name inside the registry, without a leading `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The repository below this one: `oci://host/a` joined with `b` is `oci://host/a/b`.
    pub fn join(&self, child: &str) -> Result<Self, ReferenceError> {
        format!("{self}/{child}").parse()
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        let refuse = |problem| ReferenceError::Repository { input: crate::finding::one_line(input), problem };
        let rest = input.strip_prefix("oci://").ok_or_else(|| refuse("must start with `oci://`"))?;
        let (host, path) = rest.split_once('/').ok_or_else(|| refuse("must have the form `oci://host[:port]/path`"))?;
        if path.contains('@') {
            return Err(refuse("must not have a digest"));
        }
        if path.contains(':') {
            return Err(refuse("must not have a tag"));
        }
        if !valid_host(host) {
            return Err(refuse("invalid registry host"));
        }
        if path.is_empty() || path.len() > 255 || !path.split('/').all(valid_path_component) {
            return Err(refuse(
                "invalid path, use lowercase letters and digits, separated by `/`, `.`, `_`, `__` or `-`",
            ));
        }
        Ok(Self { host: host.to_owned(), path: path.to_owned() })
    }
}

fn valid_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253
        && name.split('.').all(label)
        && port.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok_and(|n| n > 0))
}

/// One component of a repository name: runs of lowercase letters and digits, joined by `.`, `_`, `__` or dashes.
fn valid_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    alphanumeric(*first)
        && alphanumeric(*last)
        && bytes.iter().all(|b| alphanumeric(*b) || b"._-".contains(b))
        && bytes
            .split(|b| alphanumeric(*b))
            .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.host, self.path)
    }
}

/// A tag: 1 to 128 of letters, digits, `_`, `.` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

impl Tag {
    /// The tag a version is kept under. Tags cannot hold `+`, so it becomes `_`, which no version can hold.
    #[cfg(feature = "full")]
    pub fn from_version(version: &semver::Version) -> Result<Self, ReferenceError> {
        version.to_string().replace('+', "_").parse()
    }

    /// The version kept under this tag, if it is one.
    #[cfg(feature = "full")]
    pub fn to_version(&self) -> Option<semver::Version> {
        self.0.replacen('_', "+", 1).parse().ok()
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        let valid = (1..=128).contains(&input.len())
            && !input.starts_with(['.', '-'])
            && input.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if valid { Ok(Self(input.to_owned())) } else { Err(ReferenceError::Tag(crate::finding::one_line(input))) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-256 digest, written `sha256:<64 hexadecimal digits>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(&Sha256::digest(bytes))
    }

    /// The digest that a hash is.
    pub fn from_hash(hash: &[u8]) -> Self {
        let mut text = String::from("sha256:");
        for byte in hash {
            for nibble in [byte >> 4, byte & 0xf] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Self(text)
    }

    /// The digest as text, `sha256:` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }
}

impl FromStr for Digest {
    type Err = ReferenceError;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        let valid = input
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        if valid { Ok(Self(input.to_owned())) } else { Err(ReferenceError::Digest(crate::finding::one_line(input))) }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! text_conversions {
    ($($kind:ty),*) => {$(
        impl TryFrom<String> for $kind {
            type Error = ReferenceError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.to_string()
            }
        }
    )*};
}
text_conversions!(Repository, Tag, Digest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_round_trip() {
        for text in [
            "oci://registry.example/nav-monthly",
            "oci://127.0.0.1:5000/acme/runbooks/nav-monthly",
            "oci://localhost:5000/a__b/c.d/e---f",
        ] {
            let repository: Repository = text.parse().unwrap();
            assert_eq!(repository.to_string(), text);
            assert_eq!(serde_json::from_value::<Repository>(serde_json::json!(text)).unwrap(), repository);
        }
        let repository: Repository = "oci://h:5000/a/b".parse().unwrap();
        assert_eq!((repository.host(), repository.path()), ("h:5000", "a/b"));
        assert_eq!(repository.join("c").unwrap().to_string(), "oci://h:5000/a/b/c");
        assert!(repository.join("c:1").is_err());
    }

    #[test]
    fn wrong_repositories_are_refused_saying_why() {
        for (text, expected) in [
            ("registry.example/a", "must start with `oci://`"),
            ("https://registry.example/a", "must start with `oci://`"),
            ("oci://registry.example", "must have the form"),
            ("oci://registry.example/", "invalid path"),
            ("oci://registry.example/a:1.0.0", "must not have a tag"),
            ("oci://registry.example/a@sha256:0", "must not have a digest"),
            ("oci://user:pw@registry.example/a", "invalid registry host"),
            ("oci://registry.example:0/a", "invalid registry host"),
            ("oci://registry.example:99999/a", "invalid registry host"),
            ("oci://registry.example/A", "invalid path"),
            ("oci://registry.example/a//b", "invalid path"),
            ("oci://registry.example/../b", "invalid path"),
            ("oci://registry.example/a___b", "invalid path"),
            ("oci://registry.example/a-", "invalid path"),
            ("oci://registry.example/a?n=1", "invalid path"),
        ] {
            let error = text.parse::<Repository>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn version_tags_map_plus_to_underscore_and_back() {
        for (version, tag) in [("1.2.3", "1.2.3"), ("1.2.3-rc.1+abc.5", "1.2.3-rc.1_abc.5")] {
            let version: semver::Version = version.parse().unwrap();
            assert_eq!(Tag::from_version(&version).unwrap().as_str(), tag);
            assert_eq!(tag.parse::<Tag>().unwrap().to_version(), Some(version));
        }
        for tag in ["latest", "1.2", "1.2.3_a_b", "v1.2.3"] {
            assert_eq!(tag.parse::<Tag>().unwrap().to_version(), None, "{tag}");
        }
        for tag in ["", ".a", "-a", "a+b", "a/b", &"a".repeat(129)] {
            assert!(tag.parse::<Tag>().is_err(), "{tag}");
        }
    }

    #[test]
    fn digests_are_checked() {
        let digest = Digest::of(b"");
        assert_eq!(digest.as_str(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(digest.as_str().parse::<Digest>().unwrap(), digest);
        assert_eq!(digest.hex().len(), 64);
        for text in ["", "sha256:", "sha512:00", &digest.as_str().to_uppercase(), digest.hex()] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
