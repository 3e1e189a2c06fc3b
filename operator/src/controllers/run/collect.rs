//! Deletes the blobs of ended runs that no entry names, a few runs at a time: nobody waits for it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::chain;

/// Between two rounds.
const EVERY: Duration = Duration::from_mins(5);
/// Between two parts of a round.
const PAUSE: Duration = Duration::from_secs(1);

/// Collects until told to stop.
pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut after = None;
    loop {
        let wait = match context.journal.collect_blobs(after).await {
            Ok((deleted, last)) => {
                if deleted > 0 {
                    tracing::info!(deleted, "deleted blobs that no entry names");
                }
                after = last;
                if last.is_some() { PAUSE } else { EVERY }
            }
            Err(error) => {
                tracing::warn!(reason = error.reason(), error = %chain(&error), "could not collect blobs; tried again later");
                EVERY
            }
        };
        if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}
