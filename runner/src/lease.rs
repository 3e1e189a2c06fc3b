//! Keeping the lease: the operator hears from the pod however long its child asks nothing.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::json_text::newest_seq;
use crate::operator_api::OperatorApi;
use crate::patience::{AskError, patiently};
use crate::position::Position;

/// Polls whenever nothing was answered for a third of the lease. Returns when that is refused, or an outage.
///
/// Only answers count, not what is under way: moving a blob may take longer than the lease.
pub(crate) async fn keep(api: &OperatorApi, position: &Position, lease: Duration, outage_wait: Duration) -> AskError {
    let mut newest = 0;
    loop {
        let due = api.answered() + lease / 3;
        if due > Instant::now() {
            sleep_until(due).await;
            continue;
        }
        let head = position.head().max(newest);
        let body = json!({"epoch": position.epoch(), "head": head, "waitMs": 0}).to_string();
        match patiently(outage_wait, None, async || api.call("poll", body.clone().into(), Duration::ZERO).await).await {
            // What is new is the child's to ask for.
            Ok(reply) => newest = newest_seq(&reply).unwrap_or(newest),
            Err(error) => return error,
        }
    }
}
