//! What commands share: how values look, what is read, how a user action is made.

pub mod columns;
pub mod documents;
pub mod read_session;
pub mod slots;
pub mod user_action;

use serde::Serialize;
use serde_json::Value;

use crate::error::{Failure, Result};

/// An object as it is applied: without empty status and server fields.
pub fn manifest<T: Serialize>(object: &T) -> Result<Value> {
    let mut value =
        serde_json::to_value(object).map_err(|e| Failure::Other(format!("cannot write a manifest: {e}")))?;
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    Ok(value)
}
