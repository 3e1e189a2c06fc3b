//! What the supervisor itself says in the journal: that the run cannot go on, and that this pod is done with it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::operator_api::OperatorApi;
use crate::patience::{AskError, patiently};
use crate::position::Position;
use crate::stop::Stop;

/// Blocks the run and releases it.
pub(crate) async fn block(
    api: &OperatorApi,
    position: &Position,
    outage_wait: Duration,
    stop: Option<&Stop>,
    code: &str,
    message: &str,
) -> Result<(), AskError> {
    let detail = json!({"inline": json!({"message": message}).to_string()});
    let entries = [
        json!({"type": "blocked", "code": code, "detail": detail}),
        json!({"type": "released", "epoch": position.epoch(), "cause": "blocked"}),
    ];
    for entry in entries {
        let body = request(position, &entry);
        patiently(outage_wait, stop, async || api.call("append", body.clone().into(), Duration::ZERO).await).await?;
    }
    Ok(())
}

fn request(position: &Position, entry: &Value) -> String {
    json!({"epoch": position.epoch(), "head": position.head(), "entries": [entry]}).to_string()
}
