//! The settings of a pod, from the environment of its container.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use thiserror::Error;

/// Why a pod cannot begin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ConfigError {
    #[error("{0} not set")]
    Missing(String),
    #[error("{0} is not https")]
    NotHttps(&'static str),
    #[error("{0} is not a number")]
    NotANumber(&'static str),
}

/// The environment by name. Values that are not UTF-8 are not among it.
pub(crate) type Variables = BTreeMap<String, String>;

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) url: Uri,
    /// Certificate authority of the operator, as PEM.
    pub(crate) ca_file: PathBuf,
    pub(crate) token_file: PathBuf,
    pub(crate) work_dir: PathBuf,
    pub(crate) termination_log: PathBuf,
    pub(crate) outage_wait: Duration,
    /// What Kubernetes gives a pod to end.
    pub(crate) grace: Duration,
    /// How long workflow code may go without yielding, if the operator does not say.
    pub(crate) turn_limit: Duration,
    pub(crate) allow_no_landlock: bool,
    /// The interpreter that runs the bundle.
    pub(crate) python: String,
    /// What the image holds, as the interpreter would say it.
    pub(crate) versions_file: PathBuf,
}

impl Config {
    /// Reads the settings; an error names the variable that is wrong.
    pub(crate) fn from_env(env: &Variables) -> Result<Self, ConfigError> {
        let given = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
        let required = ["NTRO_API_URL", "NTRO_API_CA", "NTRO_TOKEN_FILE"];
        let missing: Vec<_> = required.into_iter().filter(|name| given(name).is_none()).collect();
        let (Some(url), Some(ca_file), Some(token_file)) =
            (given("NTRO_API_URL"), given("NTRO_API_CA"), given("NTRO_TOKEN_FILE"))
        else {
            return Err(ConfigError::Missing(missing.join(", ")));
        };
        let url: Uri = url.parse().map_err(|_| ConfigError::NotHttps("NTRO_API_URL"))?;
        if url.scheme_str() != Some("https") || url.host().is_none() {
            return Err(ConfigError::NotHttps("NTRO_API_URL"));
        }
        let path = |name: &str, default: &str| PathBuf::from(given(name).unwrap_or_else(|| default.to_owned()));
        let seconds = |name: &'static str, default: f64| {
            let value = given(name).map_or(Ok(default), |text| text.parse::<f64>());
            value.ok().and_then(|value| Duration::try_from_secs_f64(value).ok()).ok_or(ConfigError::NotANumber(name))
        };
        let outage_wait_ms = given("NTRO_OUTAGE_WAIT_MS").map_or(Ok(900_000), |text| text.parse::<u64>());
        Ok(Self {
            url,
            ca_file: ca_file.into(),
            token_file: token_file.into(),
            work_dir: path("NTRO_WORK_DIR", &given("TMPDIR").unwrap_or_else(|| "/tmp".to_owned())),
            termination_log: path("NTRO_TERMINATION_LOG", "/dev/termination-log"),
            outage_wait: outage_wait_ms
                .map(Duration::from_millis)
                .map_err(|_| ConfigError::NotANumber("NTRO_OUTAGE_WAIT_MS"))?,
            grace: seconds("NTRO_TERMINATION_GRACE_SECONDS", 25.0)?,
            turn_limit: seconds("NTRO_TURN_LIMIT_SECONDS", 60.0)?,
            allow_no_landlock: matches!(given("NTRO_ALLOW_NO_LANDLOCK").as_deref(), Some("1" | "true")),
            python: given("NTRO_PYTHON").unwrap_or_else(|| "python3".to_owned()),
            versions_file: path("NTRO_VERSIONS_FILE", "/opt/ntro/versions.json"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(more: &[(&str, &str)]) -> Variables {
        let base = [("NTRO_API_URL", "https://x:1"), ("NTRO_API_CA", "/ca"), ("NTRO_TOKEN_FILE", "/t")];
        base.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_https_and_complete_settings() {
        let config = Config::from_env(&env(&[])).unwrap();
        assert_eq!(config.outage_wait, Duration::from_mins(15));
        assert_eq!(config.grace, Duration::from_secs(25));
        let refused = |more: &[(&str, &str)]| Config::from_env(&env(more)).unwrap_err().to_string();
        assert_eq!(refused(&[("NTRO_API_URL", "http://x")]), "NTRO_API_URL is not https");
        assert_eq!(refused(&[("NTRO_TOKEN_FILE", "")]), "NTRO_TOKEN_FILE not set");
        assert_eq!(refused(&[("NTRO_OUTAGE_WAIT_MS", "soon")]), "NTRO_OUTAGE_WAIT_MS is not a number");
        assert_eq!(refused(&[("NTRO_TURN_LIMIT_SECONDS", "-1")]), "NTRO_TURN_LIMIT_SECONDS is not a number");
        let nothing = Config::from_env(&Variables::new()).unwrap_err().to_string();
        assert_eq!(nothing, "NTRO_API_URL, NTRO_API_CA, NTRO_TOKEN_FILE not set");
    }
}
