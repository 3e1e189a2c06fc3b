//! A queue of keys: each key is in it at most once, at its earliest time, and is worked on by at most one worker.
//!
//! Tenants take turns: one with thousands of keys due delays another's by at most one of its own, and never has all workers.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Requeue;
use crate::k8s::NamespacedName;

/// What a key must be able to do.
pub(crate) trait Key: Clone + Eq + Ord + Hash + Send + Sync + 'static {
    /// The namespace, whose turn the key takes.
    fn namespace(&self) -> &str;
    fn name(&self) -> &str;
}

impl Key for NamespacedName {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// A key that is wanted worked on so long after now.
#[derive(Debug)]
struct Wish<K> {
    key: K,
    now: Instant,
    delay: Duration,
}

/// The end of the queue that keys are put into. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Queue<K> {
    wishes: mpsc::UnboundedSender<Wish<K>>,
    waiting: Waiting,
}

/// The tenants with keys that are due and wait for a worker. Cloning is cheap.
#[derive(Debug, Clone, Default)]
struct Waiting(Arc<Mutex<HashSet<String>>>);

impl Waiting {
    fn tenants(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, tenant: &str) -> bool {
        self.tenants().contains(tenant)
    }
}

/// The end that is worked off.
#[derive(Debug)]
pub(crate) struct Worklist<K> {
    wishes: mpsc::UnboundedReceiver<Wish<K>>,
    plan: Plan<K>,
}

/// Which key is due when, and which ones are being worked on. Pure: time is an argument.
#[derive(Debug)]
struct Plan<K> {
    due: HashMap<K, Instant>,
    /// Keys whose time has not come.
    order: BTreeSet<(Instant, K)>,
    /// Keys whose time has come, by tenant.
    ready: HashMap<String, BTreeSet<(Instant, K)>>,
    /// The tenants in `ready`, in the order of their turns.
    turns: VecDeque<String>,
    /// With the time at which it is wanted again.
    running: HashMap<K, Option<Instant>>,
    /// How many workers each tenant has.
    workers: HashMap<String, usize>,
    /// How many workers a tenant has at most.
    share: usize,
    /// The keys of `ready`, for those who ask from outside.
    waiting: Waiting,
}

impl<K: Key> Plan<K> {
    fn new() -> Self {
        Self {
            due: HashMap::new(),
            order: BTreeSet::new(),
            ready: HashMap::new(),
            turns: VecDeque::new(),
            running: HashMap::new(),
            workers: HashMap::new(),
            share: usize::MAX,
            waiting: Waiting::default(),
        }
    }

    /// Wants `key` worked on at `at`, or earlier if that was wanted already.
    fn want(&mut self, key: K, at: Instant) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = Some(again.map_or(at, |before| before.min(at)));
            return;
        }
        match self.due.get(&key) {
            Some(before) if *before <= at => return,
            // What is ready stays where it is.
            Some(before) if !self.order.remove(&(*before, key.clone())) => return,
            _ => {}
        }
        self.due.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// Takes the key that is due first of the tenant whose turn it is, if one is.
    fn take(&mut self, now: Instant) -> Option<K> {
        self.ripen(now);
        let share = self.share;
        let free = |tenant: &String| self.workers.get(tenant).is_none_or(|workers| *workers < share);
        let turn = self.turns.iter().position(free)?;
        let tenant = self.turns.remove(turn)?;
        let ready = self.ready.get_mut(&tenant)?;
        let (_, key) = ready.pop_first()?;
        if ready.is_empty() {
            self.ready.remove(&tenant);
            self.waiting.tenants().remove(&tenant);
        } else {
            self.turns.push_back(tenant.clone());
        }
        self.due.remove(&key);
        self.running.insert(key.clone(), None);
        *self.workers.entry(tenant).or_default() += 1;
        Some(key)
    }

    /// Moves what is due to its tenant's ready keys.
    fn ripen(&mut self, now: Instant) {
        while self.order.first().is_some_and(|(at, _)| *at <= now) {
            let Some((at, key)) = self.order.pop_first() else { return };
            let tenant = key.namespace().to_owned();
            if !self.ready.contains_key(&tenant) {
                self.turns.push_back(tenant.clone());
                self.waiting.tenants().insert(tenant.clone());
            }
            self.ready.entry(tenant).or_default().insert((at, key));
        }
    }

    /// `key` was worked on; `next` is when its worker wants it again.
    fn done(&mut self, key: K, next: Option<Instant>) {
        if let Some(workers) = self.workers.get_mut(key.namespace()) {
            *workers -= 1;
            if *workers == 0 {
                self.workers.remove(key.namespace());
            }
        }
        let wished = self.running.remove(&key).flatten();
        if let Some(at) = [wished, next].into_iter().flatten().min() {
            self.want(key, at);
        }
    }

    /// When the next key becomes due. What is ready already waits for a worker.
    fn next_due(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

/// A queue and its worklist.
pub(crate) fn queue<K: Key>() -> (Queue<K>, Worklist<K>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let plan = Plan::new();
    (Queue { wishes: sender, waiting: plan.waiting.clone() }, Worklist { wishes: receiver, plan })
}

impl<K: Key> Queue<K> {
    /// Wants `key` worked on now.
    pub(crate) fn push(&self, key: K) {
        self.push_after(key, Duration::ZERO);
    }

    /// Wants `key` worked on after `delay`, or earlier if that is wanted already.
    pub(crate) fn push_after(&self, key: K, delay: Duration) {
        // Nobody listens any more only when the process is about to end.
        let _ = self.wishes.send(Wish { key, now: Instant::now(), delay });
    }

    /// Whether a key of this tenant is due and waits for a worker.
    pub(crate) fn is_waiting(&self, tenant: &str) -> bool {
        self.waiting.has(tenant)
    }
}

impl<K: Key> Worklist<K> {
    /// What was put into the queue since, and with which delay.
    #[cfg(test)]
    pub(crate) fn wanted(&mut self) -> Vec<(K, Duration)> {
        std::iter::from_fn(|| self.wishes.try_recv().ok()).map(|wish| (wish.key, wish.delay)).collect()
    }

    /// Works keys off, at most `workers` at a time, until told to stop and what was begun is done.
    pub(crate) async fn run<F, Fut>(mut self, workers: usize, shutdown: CancellationToken, work: F)
    where
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Requeue> + Send + 'static,
    {
        let work = Arc::new(work);
        // A tenant whose passes hang leaves a quarter of the workers to the others.
        self.plan.share = (workers - workers / 4).max(1);
        let mut running: JoinSet<(K, Requeue)> = JoinSet::new();
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
                    Some(wish) => self.plan.want(wish.key, wish.now + wish.delay),
                    None if running.is_empty() => return,
                    None => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                Some(done) = running.join_next() => {
                    // The driver catches what panics: a worker that is gone all the same keeps its key taken.
                    if let Ok((key, next)) = done {
                        let at = match next {
                            Requeue::After(delay) => Some(Instant::now() + delay),
                            Requeue::OnChange => None,
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

    impl Key for &'static str {
        fn namespace(&self) -> &str {
            self.split('/').next().unwrap_or_default()
        }

        fn name(&self) -> &str {
            self
        }
    }

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
        assert_eq!(plan.take(at(start, 20)), None);
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
        assert!(plan.workers.is_empty() && plan.ready.is_empty() && plan.turns.is_empty() && plan.due.is_empty());
    }

    #[test]
    fn tenants_take_turns() {
        let start = Instant::now();
        let mut plan = Plan::new();
        for key in ["a/1", "a/2", "a/3", "a/4", "b/1"] {
            plan.want(key, start);
        }
        plan.want("c/1", at(start, 1));
        assert_eq!(plan.take(at(start, 1)), Some("a/1"));
        assert!(plan.waiting.has("a") && plan.waiting.has("c"));
        let taken: Vec<_> = std::iter::from_fn(|| plan.take(at(start, 1))).collect();
        assert_eq!(taken, ["b/1", "c/1", "a/2", "a/3", "a/4"]);
        assert!(!plan.waiting.has("a") && !plan.waiting.has("c"));
    }

    #[test]
    fn a_tenant_never_has_all_workers() {
        let start = Instant::now();
        let mut plan = Plan::new();
        plan.share = 2;
        for key in ["a/1", "a/2", "a/3"] {
            plan.want(key, start);
        }
        assert_eq!((plan.take(start), plan.take(start), plan.take(start)), (Some("a/1"), Some("a/2"), None));
        plan.want("b/1", start);
        assert_eq!(plan.take(start), Some("b/1"));
        plan.done("a/1", None);
        assert_eq!(plan.take(start), Some("a/3"));
    }

    #[test]
    fn what_is_ready_and_wanted_again_is_taken_once() {
        let start = Instant::now();
        let mut plan = Plan::new();
        plan.want("a/1", at(start, 1));
        plan.want("a/2", start);
        assert_eq!(plan.take(at(start, 1)), Some("a/2"));
        plan.want("a/1", start);
        assert_eq!(plan.take(at(start, 1)), Some("a/1"));
        assert_eq!(plan.take(at(start, 9)), None);
    }
}
