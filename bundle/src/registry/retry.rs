//! Trying again when a registry is away for a moment.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::error::{ErrorContext, RegistryError};

const ATTEMPTS: u32 = 4;
const FIRST_DELAY: Duration = Duration::from_millis(200);

/// How long to wait before the next attempt; `None` is giving up.
fn delay(attempt: u32, error: &RegistryError, left: Duration) -> Option<Duration> {
    if attempt >= ATTEMPTS || !error.is_retryable() {
        return None;
    }
    let delay = FIRST_DELAY * 2_u32.pow(attempt - 1);
    Some(delay.max(error.retry_after().unwrap_or_default())).filter(|delay| *delay < left)
}

/// Runs an operation until it succeeds, fails for good, or `timeout` is over.
pub(super) async fn retry<T, Fut>(
    timeout: Duration,
    context: &ErrorContext<'_>,
    operation: impl Fn() -> Fut,
) -> Result<T, RegistryError>
where
    Fut: Future<Output = Result<T, RegistryError>>,
{
    let deadline = Instant::now() + timeout;
    let mut attempt = 1;
    loop {
        let Ok(outcome) = timeout_at(deadline, operation()).await else {
            return Err(context.unreachable(&format!("it did not answer within {} s", timeout.as_secs_f32())));
        };
        let error = match outcome {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match delay(attempt, &error, deadline.saturating_duration_since(Instant::now())) {
            Some(delay) => sleep(delay).await,
            None => return Err(error),
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable(retry_after: Option<u64>) -> RegistryError {
        RegistryError::Unavailable {
            host: "h".to_owned(),
            problem: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn delays_grow_obey_the_registry_and_end() {
        let minute = Duration::from_mins(1);
        assert_eq!(delay(1, &unavailable(None), minute), Some(Duration::from_millis(200)));
        assert_eq!(delay(3, &unavailable(None), minute), Some(Duration::from_millis(800)));
        assert_eq!(delay(4, &unavailable(None), minute), None);
        assert_eq!(delay(1, &unavailable(Some(5)), minute), Some(Duration::from_secs(5)));
        assert_eq!(delay(1, &unavailable(Some(61)), minute), None);
        assert_eq!(delay(1, &RegistryError::NotFound(String::new()), minute), None);
    }
}
