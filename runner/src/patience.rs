//! How long and how often the operator is asked the same.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::operator_api::{ApiError, Refusal};
use crate::stop::Stop;

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LAST_DELAY: Duration = Duration::from_secs(5);

/// How asking ends without an answer that helps.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    #[error("the operator refused: {}", .0.code())]
    Refused(Refusal),
    /// No answer for longer than a pod waits.
    #[error("the operator did not answer for too long")]
    Outage,
    /// The pod is told to go.
    #[error("stopped")]
    Stopped,
    /// Nothing that the operator could help.
    #[error("own storage: {0}")]
    Local(io::Error),
}

/// Asks until there is an answer. "Not yet" is an answer that says to ask again; it shares the same bound.
pub(crate) async fn patiently<T>(
    outage_wait: Duration,
    stop: Option<&Stop>,
    mut ask: impl AsyncFnMut() -> Result<T, ApiError>,
) -> Result<T, AskError> {
    let since = Instant::now();
    let mut delay = FIRST_DELAY;
    loop {
        let outcome = tokio::select! {
            outcome = ask() => outcome,
            () = stopped(stop) => return Err(AskError::Stopped),
        };
        let pause = match outcome {
            Ok(answer) => return Ok(answer),
            Err(ApiError::Local(error)) => return Err(AskError::Local(error)),
            Err(ApiError::Unreachable(_)) => {
                let pause = delay;
                delay = LAST_DELAY.min(delay * 2);
                pause
            }
            Err(ApiError::Refused(refusal)) if refusal.code() == "NotYet" => {
                LAST_DELAY.min(refusal.retry_after().unwrap_or(Duration::from_secs(1)))
            }
            Err(ApiError::Refused(refusal)) => return Err(AskError::Refused(refusal)),
        };
        if since.elapsed() + pause > outage_wait {
            return Err(AskError::Outage);
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = stopped(stop) => return Err(AskError::Stopped),
        }
    }
}

async fn stopped(stop: Option<&Stop>) {
    match stop {
        Some(stop) => stop.set().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use serde_json::json;

    use super::*;

    fn unreachable<T>() -> Result<T, ApiError> {
        Err(ApiError::Unreachable("test"))
    }

    fn refused<T>(code: &str) -> Result<T, ApiError> {
        let body = json!({"code": code, "message": "", "retryAfterMs": 1});
        Err(ApiError::Refused(Refusal::new(body.as_object().unwrap().clone())))
    }

    /// What asking leads to if these are the answers, the last one for ever.
    async fn asked(answers: Vec<fn() -> Result<u8, ApiError>>, wait_ms: u64, stop: &Stop) -> Result<u8, AskError> {
        let mut answers = VecDeque::from(answers);
        let mut next = || if answers.len() > 1 { answers.pop_front().unwrap()() } else { answers[0]() };
        patiently(Duration::from_millis(wait_ms), Some(stop), async || next()).await
    }

    #[tokio::test]
    async fn patience_ends_with_an_answer_a_refusal_an_outage_or_a_stop() {
        let go_on = Stop::fixed(false);
        let answer = asked(vec![unreachable, || refused("NotYet"), || Ok(7)], 60_000, &go_on).await;
        assert_eq!(answer.unwrap(), 7);
        let refusal = asked(vec![unreachable, || refused("Fenced")], 60_000, &go_on).await.unwrap_err();
        assert!(matches!(refusal, AskError::Refused(it) if it.code() == "Fenced"));
        assert!(matches!(asked(vec![unreachable], 300, &go_on).await, Err(AskError::Outage)));
        assert!(matches!(asked(vec![|| refused("NotYet")], 300, &go_on).await, Err(AskError::Outage)));
        assert!(matches!(asked(vec![unreachable], 60_000, &Stop::fixed(true)).await, Err(AskError::Stopped)));
    }
}
