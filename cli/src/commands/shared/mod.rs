//! What several commands need: formats of table cells, manifests on disk, schedules, read sessions, user actions.

pub(crate) mod columns;
pub(crate) mod manifests;
pub(crate) mod read_session;
pub(crate) mod schedule;
pub(crate) mod user_action;

use std::time::Duration;

use ntro_crds::duration;
use serde::Serialize;
use serde_json::Value;

use crate::error::{Failure, Result};

/// An object as it is applied: without its status.
pub(crate) fn manifest<T: Serialize>(object: &T) -> Result<Value> {
    let mut value =
        serde_json::to_value(object).map_err(|e| Failure::Other(format!("cannot serialize a manifest: {e}")))?;
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    Ok(value)
}

pub(crate) fn parse_timeout(text: &str) -> Result<Duration> {
    duration::parse(text).map_err(|e| Failure::Usage(format!("--timeout: {e}")))
}
