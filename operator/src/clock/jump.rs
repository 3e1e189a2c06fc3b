//! Notices that the clock jumped. What waits for a time sleeps by a clock that never jumps, and would wake when that much
//! time has passed: after a jump forward too late by all of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Clock;

/// How often the two clocks are compared: a slot that a jump has made due may be so late.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// Clocks that are slewed into step differ by far less within an interval.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(1);

/// Tells that the clock jumped. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct ClockJump(watch::Sender<()>);

impl Default for ClockJump {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl ClockJump {
    /// Changes whenever the clock jumped.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }

    /// Compares the clocks every `interval`, from now on until told to stop.
    pub(crate) fn watch(
        self,
        clock: Arc<dyn Clock>,
        interval: Duration,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send {
        let mut known = (Instant::now(), clock.now());
        async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
                let seen = (Instant::now(), clock.now());
                if let Some(by) = jump(seen.0.duration_since(known.0), known.1, seen.1) {
                    tracing::warn!(%by, "the clock jumped; reconciling everything that waits for a time");
                    self.0.send_replace(());
                }
                known = seen;
            }
        }
    }
}

/// By how much the clock jumped while `passed` went by, if it did.
fn jump(passed: Duration, before: Timestamp, now: Timestamp) -> Option<SignedDuration> {
    let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
    let by = now.duration_since(before).saturating_sub(passed);
    (by.abs() > TOLERANCE).then_some(by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ntro_journal::TestClock;

    #[test]
    fn time_that_passes_is_no_jump() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let hour = Duration::from_hours(1);
        assert_eq!(jump(hour, at(0), at(3600)), None);
        assert_eq!(jump(hour, at(0), at(3601)), None, "slewed");
        assert_eq!(jump(hour, at(0), at(5400)), Some(SignedDuration::from_mins(30)));
        assert_eq!(jump(hour, at(9000), at(9000)), Some(SignedDuration::from_hours(-1)));
    }

    #[tokio::test]
    async fn a_jump_is_told() {
        let clock = Arc::new(TestClock::at(Timestamp::UNIX_EPOCH));
        let (clock_jump, stop) = (ClockJump::default(), CancellationToken::new());
        let mut jumped = clock_jump.subscribe();
        let task = tokio::spawn(clock_jump.watch(clock.clone(), Duration::from_millis(5), stop.clone()));
        clock.advance(SignedDuration::from_mins(30));
        tokio::time::timeout(Duration::from_secs(30), jumped.changed()).await.unwrap().unwrap();
        stop.cancel();
        task.await.unwrap();
    }
}
