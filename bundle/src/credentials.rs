//! Credentials for registries: from the user's Docker configuration, or from the text of a `dockerconfigjson` Secret.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde::Deserialize;
use thiserror::Error;

use crate::error::BundleErrorClass;
use crate::reference::Repository;

/// The name under which Docker keeps credentials of its own registry.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
const DOCKER_HUB_HOSTS: &[&str] = &["docker.io", "index.docker.io", "registry-1.docker.io"];

/// How to authenticate to a registry.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Not at all.
    #[default]
    Anonymous,
    /// With a user name and password, also where the registry hands out tokens for them.
    Basic {
        /// User name.
        username: String,
        /// Password or access token.
        password: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { username, .. } => write!(f, "Basic({username}, <redacted>)"),
        }
    }
}

/// Why credentials could not be read. Messages never quote them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum CredentialError {
    #[error("cannot read credentials for {host} from the Docker configuration: {problem}")]
    DockerConfig { host: String, problem: String },
    #[error("invalid .dockerconfigjson in the Secret: {0}")]
    Secret(&'static str),
    #[error("credentials for {0} are an identity token; log in with a user name and password or access token")]
    IdentityToken(String),
}

impl CredentialError {
    /// What to do about it.
    pub fn class(&self) -> BundleErrorClass {
        BundleErrorClass::Invalid
    }

    /// Bounded name for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        "CredentialsInvalid"
    }
}

/// Looks up `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`, credential helpers included. Nothing stored is
/// anonymous.
///
/// Blocks while a credential helper runs.
pub fn from_docker_config(repository: &Repository) -> Result<Credentials, CredentialError> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    match std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home) {
        Some(dir) => from_docker_config_file(&dir.join("config.json"), repository),
        None => Ok(Credentials::Anonymous),
    }
}

fn from_docker_config_file(path: &Path, repository: &Repository) -> Result<Credentials, CredentialError> {
    use CredentialRetrievalError as E;
    let host = repository.host();
    let failed = |problem: String| CredentialError::DockerConfig { host: host.to_owned(), problem };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Credentials::Anonymous),
        other => other.map_err(|error| failed(format!("{}: {error}", path.display())))?,
    };
    let server = if DOCKER_HUB_HOSTS.contains(&host) { DOCKER_HUB_KEY } else { host };
    match docker_credential::get_credential_from_reader(BufReader::new(file), server) {
        Ok(DockerCredential::UsernamePassword(username, password)) => Ok(Credentials::Basic { username, password }),
        Ok(DockerCredential::IdentityToken(_)) => Err(CredentialError::IdentityToken(host.to_owned())),
        Err(E::NoCredentialConfigured) => Ok(Credentials::Anonymous),
        // A helper's way of saying that it has nothing stored.
        Err(E::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => Ok(Credentials::Anonymous),
        Err(E::HelperFailure { helper, .. }) => Err(failed(format!("credential helper `{helper}` failed"))),
        Err(E::ConfigReadError) => Err(failed(format!("invalid file {}", path.display()))),
        Err(error) => Err(failed(error.to_string())),
    }
}

#[derive(Deserialize)]
struct DockerConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
}

#[derive(Deserialize)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// Finds the credentials for a repository in the `.dockerconfigjson` of a Secret, as the kubelet does: keys may carry a
/// scheme, a port, `*` within parts of the host name and a path; the longest path wins. No match is anonymous.
pub fn from_dockerconfigjson(json: &[u8], repository: &Repository) -> Result<Credentials, CredentialError> {
    let config: DockerConfigJson =
        serde_json::from_slice(json).map_err(|_| CredentialError::Secret("not JSON of the expected form"))?;
    let best = config
        .auths
        .iter()
        .filter_map(|(key, entry)| Some((specificity(key, repository)?, entry)))
        .max_by_key(|(specificity, _)| *specificity);
    best.map_or(Ok(Credentials::Anonymous), |(_, entry)| entry.credentials())
}

impl AuthEntry {
    fn credentials(&self) -> Result<Credentials, CredentialError> {
        if let (Some(username), Some(password)) = (&self.username, &self.password) {
            return Ok(Credentials::Basic { username: username.clone(), password: password.clone() });
        }
        let auth = self.auth.as_deref().ok_or(CredentialError::Secret("an entry has no `auth`"))?;
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
        let decoded = engine.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (username, password) = decoded
            .as_deref()
            .and_then(|decoded| decoded.split_once(':'))
            .ok_or(CredentialError::Secret("an entry's `auth` is not base64 of `user:password`"))?;
        Ok(Credentials::Basic { username: username.to_owned(), password: password.to_owned() })
    }
}

/// How well a key fits: path components, then whether the host is spelt out. `None` if it does not fit.
fn specificity(key: &str, repository: &Repository) -> Option<(usize, bool)> {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    // Old keys name the API version instead of a path.
    let path = match path.trim_end_matches('/') {
        "v1" | "v2" => "",
        path => path,
    };
    if !host_matches(host, repository.host()) {
        return None;
    }
    let key_parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let parts: Vec<&str> = repository.path().split('/').collect();
    parts.starts_with(&key_parts).then(|| (key_parts.len(), !host.contains('*')))
}

fn host_matches(pattern: &str, host: &str) -> bool {
    if DOCKER_HUB_HOSTS.contains(&pattern) && DOCKER_HUB_HOSTS.contains(&host) {
        return true;
    }
    let split = |text: &str| match text.rsplit_once(':') {
        Some((name, port)) => (name.to_owned(), Some(port.to_owned())),
        None => (text.to_owned(), None),
    };
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(host));
    if pattern_port != port {
        return false;
    }
    let (pattern, host): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern.len() == host.len() && pattern.iter().zip(&host).all(|(pattern, part)| part_matches(pattern, part))
}

/// One part of a host name against a pattern in which `*` stands for any characters.
fn part_matches(pattern: &str, part: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else { return pattern == part };
    let Some(mut remaining) = part.strip_prefix(prefix) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match remaining.find(piece) {
            Some(at) => remaining = &remaining[at + piece.len()..],
            None => return false,
        }
    }
    remaining.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(keys: &[&str], repository: &str) -> Option<String> {
        let auths: BTreeMap<&str, serde_json::Value> =
            keys.iter().map(|key| (*key, serde_json::json!({"username": key, "password": "p"}))).collect();
        let json = serde_json::json!({ "auths": auths }).to_string();
        match from_dockerconfigjson(json.as_bytes(), &repository.parse().unwrap()).unwrap() {
            Credentials::Anonymous => None,
            Credentials::Basic { username, .. } => Some(username),
        }
    }

    #[test]
    fn the_most_specific_key_wins() {
        for (keys, repository, expected) in [
            (vec!["r.example"], "oci://r.example/a", Some("r.example")),
            (vec!["https://r.example/v2/"], "oci://r.example/a", Some("https://r.example/v2/")),
            (vec!["r.example", "r.example/a", "r.example/a/b"], "oci://r.example/a/c", Some("r.example/a")),
            (vec!["r.example/a"], "oci://r.example/ab", None),
            (vec!["r.example"], "oci://r.example:5000/a", None),
            (vec!["r.example:5000"], "oci://r.example:5000/a", Some("r.example:5000")),
            (vec!["*.example", "r.example"], "oci://r.example/a", Some("r.example")),
            (vec!["*.dkr.*.example"], "oci://1.dkr.eu.example/a", Some("*.dkr.*.example")),
            (vec!["*.example"], "oci://a.b.example/x", None),
            (vec!["r*y.example"], "oci://registry.example/x", Some("r*y.example")),
            (vec!["a.example"], "oci://evil.example/x", None),
            (vec!["https://index.docker.io/v1/"], "oci://docker.io/acme/x", Some("https://index.docker.io/v1/")),
        ] {
            assert_eq!(find(&keys, repository).as_deref(), expected, "{keys:?} {repository}");
        }
    }

    #[test]
    fn auth_is_decoded_and_never_shown() {
        let repository: Repository = "oci://h:5000/a".parse().unwrap();
        // The base64 of `user:pass:word`, unpadded as some tools write it.
        let json = r#"{"auths": {"h:5000": {"auth": "dXNlcjpwYXNzOndvcmQ"}}}"#;
        let credentials = from_dockerconfigjson(json.as_bytes(), &repository).unwrap();
        assert_eq!(credentials, Credentials::Basic { username: "user".into(), password: "pass:word".into() });
        assert!(!format!("{credentials:?}").contains("word"));
        for json in ["", "1", r#"{"auths":{"h:5000":{}}}"#, r#"{"auths":{"h:5000":{"auth":"%%"}}}"#] {
            let error = from_dockerconfigjson(json.as_bytes(), &repository).unwrap_err();
            assert_eq!(error.class(), BundleErrorClass::Invalid, "{json}");
        }
        assert_eq!(from_dockerconfigjson(b"{}", &repository).unwrap(), Credentials::Anonymous);
    }

    #[test]
    fn docker_configuration_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let repository: Repository = "oci://127.0.0.1:5000/demo".parse().unwrap();
        let found = || from_docker_config_file(&path, &repository);
        assert_eq!(found(), Ok(Credentials::Anonymous));
        // The base64 of `alice:secret`.
        let stored = r#"{"auths": {"127.0.0.1:5000": {"auth": "YWxpY2U6c2VjcmV0"}}}"#;
        for (config, expected) in [
            ("{}", "Ok(Anonymous)"),
            (stored, "Ok(Basic(alice, <redacted>))"),
            (r#"{"auths": {"other:5000": {"auth": "YWxpY2U6c2VjcmV0"}}}"#, "Ok(Anonymous)"),
            (r#"{"auths": {"127.0.0.1:5000": {"identitytoken": "t0ken"}}}"#, "Err(IdentityToken(\"127.0.0.1:5000\"))"),
        ] {
            std::fs::write(&path, config).unwrap();
            assert_eq!(format!("{:?}", found()), expected);
        }
        assert_eq!(
            from_docker_config_file(&path, &"oci://127.0.0.1:5001/demo".parse().unwrap()),
            Ok(Credentials::Anonymous)
        );
        for config in ["broken", r#"{"credHelpers": {"127.0.0.1:5000": "ntro-test-no-such-helper"}}"#] {
            std::fs::write(&path, config).unwrap();
            assert_eq!(found().unwrap_err().reason(), "CredentialsInvalid");
        }
    }
}
