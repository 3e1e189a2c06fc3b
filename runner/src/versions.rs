//! What this runner is and speaks, for `attach`.

use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use thiserror::Error;

use crate::child::{Environment, environment};
use crate::config::Config;

/// Why it is not known.
#[derive(Debug, Error)]
pub(crate) enum VersionsError {
    #[error("cannot start the interpreter: {0}")]
    Start(#[from] io::Error),
    #[error("the interpreter does not say its versions")]
    Unsaid,
}

/// As the image's build has written it, else as the interpreter says.
pub(crate) fn versions(config: &Config, env: &Environment) -> Result<Value, VersionsError> {
    if let Some(known) = std::fs::read(&config.versions_file).ok().and_then(|text| object(&text)) {
        return Ok(known);
    }
    let mut ask = Command::new(&config.python);
    ask.args(["-P", "-m", "ntro_runtime.shared.versions"]).env_clear().envs(environment(env, Path::new("/")));
    object(&ask.output()?.stdout).ok_or(VersionsError::Unsaid)
}

fn object(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok().filter(Value::is_object)
}
