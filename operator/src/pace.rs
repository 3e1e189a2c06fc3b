//! What must be started goes before what is only told: while runs of a namespace are being started, status writes that
//! nobody waits for are put off, so that they do not take the API server's time from the runs that are due.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Nothing is put off for longer: a namespace whose starts never end has its statuses written all the same. Long enough for five
/// thousand starts on a small control plane, which the status writes of the first would slow down for the last.
pub const LONGEST: Duration = Duration::from_mins(2);

/// Between one thing that was put off and the next, when nothing starts any more. Done all at once they would take the API server
/// from those who wait for it just then: whoever watches the Jobs that were made, the Job controller, people.
const APART: Duration = Duration::from_millis(5);

/// Who is starting runs, by namespace. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Pace {
    inner: Arc<Mutex<HashMap<String, Busy>>>,
}

struct Busy {
    starting: usize,
    since: Instant,
    deferred: HashMap<Deferred, Box<dyn FnOnce(Duration) + Send>>,
}

/// What was put off: the kind of pass and the object's name.
pub type Deferred = (&'static str, String);

/// A start under way; over when dropped.
pub struct Starting {
    pace: Pace,
    namespace: String,
}

impl Pace {
    /// A run of the namespace is being started as long as the answer lives.
    pub fn start(&self, namespace: &str) -> Starting {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = inner.entry(namespace.to_owned());
        busy.or_insert_with(|| Busy { starting: 0, since: Instant::now(), deferred: HashMap::new() }).starting += 1;
        Starting { pace: self.clone(), namespace: namespace.to_owned() }
    }

    /// Whether runs of the namespace are being started, and have not been for too long.
    pub fn is_busy(&self, namespace: &str) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.get(namespace).is_some_and(|busy| busy.since.elapsed() < LONGEST)
    }

    /// Puts something off while runs of the namespace are being started: `later` is called when none is, with the time after
    /// which it is its turn. Says whether it did.
    pub fn defer(&self, namespace: &str, what: Deferred, later: impl FnOnce(Duration) + Send + 'static) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(busy) = inner.get_mut(namespace).filter(|busy| busy.since.elapsed() < LONGEST) else { return false };
        busy.deferred.insert(what, Box::new(later));
        true
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let mut inner = self.pace.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(busy) = inner.get_mut(&self.namespace) else { return };
        busy.starting -= 1;
        if busy.starting > 0 {
            return;
        }
        let done = inner.remove(&self.namespace);
        drop(inner);
        let mut turn = Duration::ZERO;
        for later in done.into_iter().flat_map(|busy| busy.deferred.into_values()) {
            later(turn);
            turn += APART;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_is_put_off_is_done_once_when_nothing_starts_any_more() {
        let (pace, done) = (Pace::default(), Arc::new(AtomicUsize::new(0)));
        let count = || {
            let done = Arc::clone(&done);
            move |_| {
                done.fetch_add(1, Ordering::SeqCst);
            }
        };
        assert!(!pace.defer("acme", ("run", "a".to_owned()), count()), "nothing is being started");
        let (first, second) = (pace.start("acme"), pace.start("acme"));
        assert!(pace.defer("acme", ("run", "a".to_owned()), count()));
        assert!(pace.defer("acme", ("run", "a".to_owned()), count()));
        assert!(!pace.defer("beta", ("run", "a".to_owned()), count()), "another tenant");
        drop(first);
        assert_eq!(done.load(Ordering::SeqCst), 0);
        drop(second);
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_was_put_off_takes_turns() {
        let (pace, turns) = (Pace::default(), Arc::new(Mutex::new(Vec::new())));
        let start = pace.start("acme");
        for name in ["a", "b", "c"] {
            let turns = Arc::clone(&turns);
            assert!(pace.defer("acme", ("run", name.to_owned()), move |turn| turns.lock().unwrap().push(turn)));
        }
        drop(start);
        assert_eq!(*turns.lock().unwrap(), [Duration::ZERO, APART, 2 * APART]);
    }
}
