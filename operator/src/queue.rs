//! A queue of keys: each key is in it at most once, at its earliest time, and is worked on by at most one worker.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Next;

/// What a key must be able to do.
pub trait Key: Clone + Eq + Ord + Hash + Send + 'static {}
impl<T: Clone + Eq + Ord + Hash + Send + 'static> Key for T {}

/// The end of the queue that keys are put into. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Queue<K> {
    wishes: mpsc::UnboundedSender<(K, Instant)>,
}

/// The end that is worked off.
#[derive(Debug)]
pub struct Worklist<K> {
    wishes: mpsc::UnboundedReceiver<(K, Instant)>,
    plan: Plan<K>,
}

/// Which key is due when, and which ones are being worked on. Pure: time is an argument.
#[derive(Debug)]
struct Plan<K> {
    due: HashMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
    running: HashMap<K, Option<Instant>>,
}

impl<K: Key> Plan<K> {
    fn new() -> Self {
        Self { due: HashMap::new(), order: BTreeSet::new(), running: HashMap::new() }
    }

    /// Wants `key` worked on at `at`, or earlier if that was wanted already.
    fn want(&mut self, key: K, at: Instant) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = Some(again.map_or(at, |before| before.min(at)));
            return;
        }
        match self.due.get(&key) {
            Some(before) if *before <= at => return,
            Some(before) => {
                self.order.remove(&(*before, key.clone()));
            }
            None => {}
        }
        self.due.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// Takes the key that is due first, if one is.
    fn take(&mut self, now: Instant) -> Option<K> {
        let (at, key) = self.order.first()?.clone();
        if at > now {
            return None;
        }
        self.order.remove(&(at, key.clone()));
        self.due.remove(&key);
        self.running.insert(key.clone(), None);
        Some(key)
    }

    /// `key` was worked on; `next` is when its worker wants it again.
    fn done(&mut self, key: K, next: Option<Instant>) {
        let wished = self.running.remove(&key).flatten();
        if let Some(at) = [wished, next].into_iter().flatten().min() {
            self.want(key, at);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

/// A queue and its worklist.
pub fn queue<K: Key>() -> (Queue<K>, Worklist<K>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Queue { wishes: sender }, Worklist { wishes: receiver, plan: Plan::new() })
}

impl<K: Key> Queue<K> {
    /// Wants `key` worked on now.
    pub fn push(&self, key: K) {
        self.push_after(key, Duration::ZERO);
    }

    /// Wants `key` worked on after `delay`, or earlier if that is wanted already.
    pub fn push_after(&self, key: K, delay: Duration) {
        // Nobody listens any more only when the process is about to end.
        let _ = self.wishes.send((key, Instant::now() + delay));
    }
}

impl<K: Key> Worklist<K> {
    /// Works keys off, at most `workers` at a time, until told to stop and what was begun is done.
    pub async fn run<F, Fut>(mut self, workers: usize, shutdown: CancellationToken, work: F)
    where
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Next> + Send + 'static,
    {
        let work = Arc::new(work);
        let mut running: JoinSet<(K, Next)> = JoinSet::new();
        loop {
            while !shutdown.is_cancelled() && running.len() < workers {
                let Some(key) = self.plan.take(Instant::now()) else { break };
                let work = Arc::clone(&work);
                running.spawn(async move {
                    let next = work(key.clone()).await;
                    (key, next)
                });
            }
            if shutdown.is_cancelled() && running.is_empty() {
                return;
            }
            let free = running.len() < workers && !shutdown.is_cancelled();
            let due = self.plan.next_due().filter(|_| free);
            tokio::select! {
                () = shutdown.cancelled(), if !shutdown.is_cancelled() => {}
                wish = self.wishes.recv() => match wish {
                    Some((key, at)) => self.plan.want(key, at),
                    None if running.is_empty() => return,
                    None => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                Some(done) = running.join_next() => {
                    // A worker that panicked keeps its key taken: nothing may be done twice after a defect.
                    if let Ok((key, next)) = done {
                        let at = match next {
                            Next::After(delay) => Some(Instant::now() + delay),
                            Next::OnChange => None,
                        };
                        self.plan.done(key, at);
                    }
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_key_waits_once_at_its_earliest_time() {
        let start = Instant::now();
        let mut plan = Plan::new();
        plan.want("a", at(start, 5));
        plan.want("a", at(start, 2));
        plan.want("a", at(start, 9));
        assert_eq!(plan.next_due(), Some(at(start, 2)));
        assert_eq!(plan.take(at(start, 1)), None);
        assert_eq!(plan.take(at(start, 2)), Some("a"));
        assert_eq!(plan.next_due(), None);
    }

    #[test]
    fn a_key_in_work_is_taken_again_only_after_it_is_done() {
        let start = Instant::now();
        let mut plan = Plan::new();
        plan.want("a", start);
        assert_eq!(plan.take(start), Some("a"));
        plan.want("a", start);
        assert_eq!(plan.take(at(start, 1)), None);
        plan.done("a", Some(at(start, 60)));
        assert_eq!(plan.take(at(start, 1)), Some("a"), "the wish that came while it was in work");
        plan.done("a", None);
        assert_eq!(plan.next_due(), None);
    }
}
