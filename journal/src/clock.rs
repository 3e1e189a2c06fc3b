//! Where the time comes from.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// The operator's clock.
pub trait Clock: Send + Sync + 'static {
    /// The time. It can be set, forwards and backwards.
    fn now(&self) -> Timestamp;

    /// How long this process has been there to hear anybody, by a clock that cannot be set: what leases are measured by. A time
    /// in which the process or the machine was stopped counts for a moment only, whoever was silent then.
    fn listened(&self) -> Duration;
}

/// The longest time between two looks at [`Clock::listened`] that counts in full. [`SystemClock::keep_listening`] looks more
/// often, so a longer one was a pause.
const PAUSE: Duration = Duration::from_secs(3);
/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// The clock of the machine.
#[derive(Debug)]
pub struct SystemClock {
    listened: Mutex<Listened>,
    set_by: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
struct Listened {
    total: Duration,
    looked: Instant,
}

impl Listened {
    fn look(&mut self, at: Instant) -> Duration {
        self.total += at.duration_since(self.looked).min(PAUSE);
        self.looked = at;
        self.total
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        let listened = Listened { total: Duration::ZERO, looked: Instant::now() };
        Self { listened: Mutex::new(listened), set_by: None }
    }
}

impl SystemClock {
    /// The clock of the machine, set by a test: `file` says by how many seconds, and is read anew each time. What cannot be
    /// read sets nothing.
    pub fn set_by(file: PathBuf) -> Self {
        Self { set_by: Some(file), ..Self::default() }
    }

    fn set(&self) -> Option<SignedDuration> {
        let text = std::fs::read_to_string(self.set_by.as_ref()?).ok()?;
        text.trim().parse().map(SignedDuration::from_secs).ok()
    }

    /// Looks at the clock often enough for all the time that passes to count. Without it leases take longer, never less.
    pub async fn keep_listening(&self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.listened();
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        self.set().and_then(|by| now.checked_add(by).ok()).unwrap_or(now)
    }

    fn listened(&self) -> Duration {
        self.listened.lock().unwrap_or_else(PoisonError::into_inner).look(Instant::now())
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct TestClock(Mutex<TestTime>);

#[derive(Debug)]
struct TestTime {
    now: Timestamp,
    listened: Duration,
}

impl TestClock {
    /// A clock that stands at this time.
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new(TestTime { now, listened: Duration::ZERO }))
    }

    /// Lets time pass.
    pub fn advance(&self, by: SignedDuration) {
        self.set(by);
        self.time().listened += by.unsigned_abs();
    }

    /// Sets the clock, or stops the machine for so long: no time passes in which anybody could be heard.
    pub fn set(&self, by: SignedDuration) {
        let mut time = self.time();
        time.now = time.now.checked_add(by).unwrap_or(time.now);
    }

    fn time(&self) -> MutexGuard<'_, TestTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.time().now
    }

    fn listened(&self) -> Duration {
        self.time().listened
    }
}

#[cfg(test)]
mod tests {
    use jiff::Unit;

    use super::*;

    #[test]
    fn a_pause_counts_for_a_moment() {
        let start = Instant::now();
        let mut listened = Listened { total: Duration::ZERO, looked: start };
        assert_eq!(listened.look(start + LOOK), LOOK);
        assert_eq!(listened.look(start + LOOK + Duration::from_hours(1)), LOOK + PAUSE);
        assert_eq!(listened.look(start), LOOK + PAUSE, "never backwards");
    }

    #[test]
    fn a_test_sets_it_by_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("clock");
        let clock = SystemClock::set_by(file.clone());
        let ahead = || (clock.now().duration_since(Timestamp::now())).round(Unit::Second).unwrap().as_secs();
        assert_eq!(ahead(), 0, "no file yet");
        for (text, by) in [("600\n", 600), ("-600", -600), ("soon", 0)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(ahead(), by, "{text}");
        }
    }
}
