//! Runs between the beginning of their journal and their first Job.
//!
//! When many are due at once, the objects of all come first and their Jobs after: each Job sets the Job controller to work,
//! which takes the API server's time from what is still to be made.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::RunKey;
use crate::pace::Starting;

/// A first Job waits for the objects of other runs no longer than this.
const HEAD_START: Duration = Duration::from_secs(3);

/// The runs of which nobody but the named may make the object or the first Job.
#[derive(Default)]
pub struct Starts {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    starts: HashMap<RunKey, Start>,
    held: HashMap<String, Held>,
}

struct Start {
    starting: Starting,
    /// The object is made and those of others are no longer waited for: the Job is to be made.
    ready: bool,
}

/// The runs of a namespace that are held, and since when the first is.
struct Held {
    since: Instant,
    runs: Vec<RunKey>,
}

impl Starts {
    /// A run is about to be made: until [`Self::made`] or [`Self::not_made`] nobody else makes its object.
    pub fn begin(&self, key: RunKey, starting: Starting) {
        self.lock().starts.insert(key, Start { starting, ready: false });
    }

    /// Its object is made. Its Job follows after [`Self::release`].
    pub fn made(&self, key: RunKey, now: Instant) {
        let mut inner = self.lock();
        let held = inner.held.entry(key.namespace.clone());
        held.or_insert_with(|| Held { since: now, runs: Vec::new() }).runs.push(key);
    }

    /// Its object was there: its Job is to be made at once.
    pub fn ready(&self, key: &RunKey) {
        if let Some(start) = self.lock().starts.get_mut(key) {
            start.ready = true;
        }
    }

    /// It was not made: anybody may.
    pub fn not_made(&self, key: &RunKey) {
        self.lock().starts.remove(key);
    }

    /// Lets the held runs of a namespace go and gives them, unless the objects of `more` are about to be made.
    pub fn release(&self, namespace: &str, more: bool, now: Instant) -> Vec<RunKey> {
        let mut inner = self.lock();
        let goes = |held: &Held| !more || now.duration_since(held.since) >= HEAD_START;
        if !inner.held.get(namespace).is_some_and(goes) {
            return Vec::new();
        }
        let runs = inner.held.remove(namespace).map(|held| held.runs).unwrap_or_default();
        for run in &runs {
            if let Some(start) = inner.starts.get_mut(run) {
                start.ready = true;
            }
        }
        runs
    }

    /// Whether the object or the Job of a run is still somebody else's to make.
    pub fn is_held(&self, key: &RunKey) -> bool {
        self.lock().starts.get(key).is_some_and(|start| !start.ready)
    }

    /// Takes up a run whose Job is to be made now: the start is over when the answer is dropped.
    pub fn take(&self, key: &RunKey) -> Option<Starting> {
        self.lock().starts.remove(key).map(|start| start.starting)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Pace;

    #[test]
    fn jobs_follow_when_no_more_objects_are_due_or_after_the_head_start() {
        let (starts, pace, now) = (Starts::default(), Pace::default(), Instant::now());
        let key = |name: &str| RunKey::new("acme", name);
        for name in ["a", "b"] {
            starts.begin(key(name), pace.start("acme"));
        }
        assert!(starts.is_held(&key("a")) && !starts.is_held(&key("c")));
        starts.made(key("a"), now);
        assert!(starts.release("acme", true, now).is_empty() && starts.release("beta", false, now).is_empty());
        assert!(starts.is_held(&key("a")));
        assert_eq!(starts.release("acme", true, now + HEAD_START), [key("a")]);
        assert!(!starts.is_held(&key("a")) && starts.is_held(&key("b")));
        starts.made(key("b"), now);
        assert_eq!(starts.release("acme", false, now), [key("b")]);
        assert!(starts.release("acme", false, now).is_empty());
        assert!(pace.is_busy("acme"));
        drop((starts.take(&key("a")), starts.take(&key("b"))));
        assert!(!pace.is_busy("acme"));
    }

    #[test]
    fn what_was_not_made_is_anybodys() {
        let (starts, pace) = (Starts::default(), Pace::default());
        let key = RunKey::new("acme", "a");
        starts.begin(key.clone(), pace.start("acme"));
        starts.not_made(&key);
        assert!(!starts.is_held(&key) && !pace.is_busy("acme"));
    }

    #[test]
    fn the_job_of_an_object_that_was_made_before_its_slot_waits_for_nothing() {
        let (starts, pace) = (Starts::default(), Pace::default());
        let key = RunKey::new("acme", "a");
        starts.begin(key.clone(), pace.start("acme"));
        assert!(starts.is_held(&key));
        starts.ready(&key);
        assert!(!starts.is_held(&key) && starts.take(&key).is_some() && starts.take(&key).is_none());
    }
}
