//! Notices that the clock was set. What waits for a time sleeps by a clock that is never set, and would wake when that much
//! time has passed: after a jump forward too late by all of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// How often the two clocks are compared: so late a slot may be that a jump has made due.
pub const LOOK: Duration = Duration::from_secs(5);
/// Clocks that are slewed into step differ by far less within a look.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(1);

/// Tells that the clock was set. Cloning is cheap.
#[derive(Clone)]
pub struct ClockSet(watch::Sender<()>);

impl Default for ClockSet {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl ClockSet {
    /// Changes whenever the clock was set.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }

    /// Compares the clocks every `look`, from now on until told to stop.
    pub fn watch(
        self,
        clock: Arc<dyn Clock>,
        look: Duration,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send {
        let mut known = (Instant::now(), clock.now());
        async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(look)).await.is_some() {
                let seen = (Instant::now(), clock.now());
                if let Some(by) = set(seen.0.duration_since(known.0), known.1, seen.1) {
                    tracing::warn!(%by, "the clock was set; everything that waits for a time is looked at again");
                    self.0.send_replace(());
                }
                known = seen;
            }
        }
    }
}

/// By how much the clock was set while `passed` went by, if it was.
fn set(passed: Duration, before: Timestamp, now: Timestamp) -> Option<SignedDuration> {
    let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
    let by = now.duration_since(before).saturating_sub(passed);
    (by.abs() > TOLERANCE).then_some(by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TestClock;

    #[test]
    fn time_that_passes_sets_no_clock() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let hour = Duration::from_hours(1);
        assert_eq!(set(hour, at(0), at(3600)), None);
        assert_eq!(set(hour, at(0), at(3601)), None, "slewed");
        assert_eq!(set(hour, at(0), at(5400)), Some(SignedDuration::from_mins(30)));
        assert_eq!(set(hour, at(9000), at(9000)), Some(SignedDuration::from_hours(-1)));
    }

    #[tokio::test]
    async fn a_jump_is_told() {
        let clock = Arc::new(TestClock::at(Timestamp::UNIX_EPOCH));
        let (clock_set, stop) = (ClockSet::default(), CancellationToken::new());
        let mut told = clock_set.subscribe();
        let task = tokio::spawn(clock_set.watch(clock.clone(), Duration::from_millis(5), stop.clone()));
        clock.advance(SignedDuration::from_mins(30));
        tokio::time::timeout(Duration::from_secs(30), told.changed()).await.unwrap().unwrap();
        stop.cancel();
        task.await.unwrap();
    }
}
