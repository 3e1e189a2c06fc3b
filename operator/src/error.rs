//! What a failed reconcile means: its class decides when the object is requeued and how loudly that is logged.
//!
//! Every controller has its own error type. It joins the others here by its [`Class`] and a bounded [`reason`].
//!
//! [`reason`]: Classified::reason

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use ntro_crds::Reason;
use ntro_journal::JournalError;

/// When an object is reconciled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requeue {
    /// When it, or something it depends on, changes.
    OnChange,
    /// After this time at the latest.
    After(Duration),
}

impl Requeue {
    /// At `then`, and no earlier than in a moment.
    pub(crate) fn at(then: Timestamp, now: Timestamp) -> Self {
        Self::After(left(then, now).max(Duration::from_millis(10)))
    }

    /// The earlier of two.
    #[must_use]
    pub(crate) fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::After(a), Self::After(b)) => Self::After(a.min(b)),
            (Self::OnChange, requeue) | (requeue, Self::OnChange) => requeue,
        }
    }

    /// No later than after `longest`, if at all.
    #[must_use]
    pub(crate) fn at_most(self, longest: Duration) -> Self {
        match self {
            Self::After(delay) => Self::After(delay.min(longest)),
            Self::OnChange => Self::OnChange,
        }
    }
}

/// From `now` until `then`, nothing if that has passed.
pub(crate) fn left(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

/// Error classes by the reaction they ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The object is wrong: nothing is tried again before it, or something it refers to, changes.
    Invalid,
    /// Something outside has to happen first. Not a failure: requeued after this time, or by a change.
    Waiting { after: Duration },
    /// Likely to go away by itself: retry with back-off.
    Transient,
    /// A defect of this program: retry slowly.
    Bug,
}

/// An error that knows its class.
pub(crate) trait Classified: std::error::Error {
    /// The reaction it asks for.
    fn class(&self) -> Class;
    /// Its word in conditions, Events and metric labels: never data.
    fn reason(&self) -> Reason;

    /// The error as data.
    fn problem(&self) -> Problem
    where
        Self: Sized + 'static,
    {
        Problem { class: self.class(), reason: self.reason(), message: chain(self) }
    }
}

/// A classified error as data. Its message is fit for conditions and events: it holds no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The reaction it asks for.
    pub class: Class,
    /// Its word in conditions, Events and metric labels.
    pub reason: Reason,
    /// One line for a person.
    pub message: String,
}

impl Classified for Problem {
    fn class(&self) -> Class {
        self.class
    }

    fn reason(&self) -> Reason {
        self.reason
    }
}

impl Problem {
    pub fn new(class: Class, reason: Reason, message: impl Into<String>) -> Self {
        Self { class, reason, message: message.into() }
    }

    pub fn invalid(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Class::Invalid, reason, message)
    }

    /// Something that cannot happen did.
    pub fn bug(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(Class::Bug, Reason::InternalError, chain(error))
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        let class = match error.class() {
            ntro_journal::ErrorClass::Invalid => Class::Invalid,
            ntro_journal::ErrorClass::Waiting => Class::Waiting { after: JOURNAL_RETRY },
            ntro_journal::ErrorClass::Transient => Class::Transient,
            ntro_journal::ErrorClass::Bug => Class::Bug,
        };
        Self::new(class, Reason::named(error.reason()), chain(&error))
    }
}

impl From<kube::Error> for Problem {
    fn from(error: kube::Error) -> Self {
        error.problem()
    }
}

impl Classified for kube::Error {
    fn class(&self) -> Class {
        match self {
            // A precondition that failed or an object that is gone was read from a cache that lags.
            Self::Api(status) if matches!(status.code, 404 | 409) => Class::Transient,
            Self::Api(status) if status.code == 403 => Class::Waiting { after: FORBIDDEN_RETRY },
            Self::Api(status) if matches!(status.code, 400 | 405 | 415 | 422) => Class::Bug,
            _ => Class::Transient,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Api(status) => match status.code {
                403 => Reason::KubernetesForbidden,
                404 => Reason::KubernetesNotFound,
                409 => Reason::KubernetesConflict,
                400 | 405 | 415 | 422 => Reason::KubernetesRefused,
                _ => Reason::KubernetesUnavailable,
            },
            _ => Reason::KubernetesUnavailable,
        }
    }
}

/// When what the journal waits for is looked for again.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// Rights are granted by people: asking more often than this would not help.
const FORBIDDEN_RETRY: Duration = Duration::from_secs(30);

/// The message of an error and of everything that caused it, as one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = message(error);
    let mut last = error;
    // What the API server says is all there is to it.
    while let Some(cause) = last.source().filter(|_| !matches!(last.downcast_ref(), Some(kube::Error::Api(_)))) {
        let cause_text = message(cause);
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        last = cause;
    }
    truncate(&text.replace(['\n', '\r'], " "), MAX_MESSAGE)
}

/// The message of one error. The API server's own is a sentence; what wraps it repeats it with all its fields.
fn message(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) if !status.message.is_empty() => status.message.clone(),
        _ => error.to_string(),
    }
}

/// Longest message of a condition or an event, bytes. Events allow 1 KiB.
pub(crate) const MAX_MESSAGE: usize = 1000;

/// Cuts a text at a character boundary.
pub(crate) fn truncate(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max.saturating_sub(3)).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    format!("{}...", &text[..end])
}

/// When an object that a problem of this class befell is reconciled again. `delay` is its back-off, see [`Backoff::delay`].
pub(crate) fn requeue(class: Class, delay: Duration) -> Requeue {
    match class {
        Class::Invalid => Requeue::OnChange,
        Class::Waiting { after } => Requeue::After(after),
        Class::Transient => Requeue::After(delay),
        Class::Bug => Requeue::After(delay.max(Backoff::DEFAULT.cap / 2)),
    }
}

/// Exponential back-off with a cap and jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// Delay after the first failure.
    pub base: Duration,
    /// Longest delay, before jitter.
    pub cap: Duration,
}

impl Backoff {
    /// One second, doubling to five minutes.
    pub(crate) const DEFAULT: Self = Self { base: Duration::from_secs(1), cap: Duration::from_mins(5) };

    /// Delay after `failures` failures in a row (from 1). `jitter` in 0..1 spreads it over 80 % to 120 %.
    pub(crate) fn delay(self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let plain = self.base.saturating_mul(1_u32 << doublings).min(self.cap);
        plain.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
    }
}

/// Failures in a row, per object.
#[derive(Debug)]
pub(crate) struct Failures<K> {
    counts: Mutex<HashMap<K, u32>>,
}

impl<K> Default for Failures<K> {
    fn default() -> Self {
        Self { counts: Mutex::new(HashMap::new()) }
    }
}

impl<K: Eq + Hash> Failures<K> {
    /// Counts one more failure and says how many there were in a row.
    pub(crate) fn record(&self, key: K) -> u32 {
        let mut counts = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = counts.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    /// Forgets an object, because it succeeded or is gone. Says whether it had failed before.
    pub(crate) fn forget(&self, key: &K) -> bool {
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_stay_within_their_jitter() {
        let backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_mins(1) };
        let plain: Vec<u64> = (1..=8).map(|n| backoff.delay(n, 0.5).as_secs()).collect();
        assert_eq!(plain, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.delay(1, 0.0), Duration::from_millis(800));
        assert_eq!(backoff.delay(u32::MAX, 1.0), Duration::from_secs(72));
    }

    #[test]
    fn failures_are_counted_per_object_until_forgotten() {
        let failures = Failures::default();
        assert_eq!([failures.record("a"), failures.record("a"), failures.record("b")], [1, 2, 1]);
        assert!(failures.forget(&"a"));
        assert!(!failures.forget(&"a"));
        assert_eq!(failures.record("a"), 1);
    }

    #[test]
    fn an_invalid_object_waits_for_its_change() {
        let delay = Duration::from_secs(5);
        assert_eq!(requeue(Class::Invalid, delay), Requeue::OnChange);
        let after = Duration::from_secs(7);
        assert_eq!(requeue(Class::Waiting { after }, delay), Requeue::After(after));
        assert_eq!(requeue(Class::Transient, delay), Requeue::After(delay));
        assert!(matches!(requeue(Class::Bug, delay), Requeue::After(later) if later > delay));
    }

    #[test]
    fn the_api_servers_sentence_is_enough() {
        let status = kube::core::Status::failure("secrets \"x\" is forbidden", "Forbidden").with_code(403);
        let error = kube::Error::Api(Box::new(status));
        assert_eq!(error.problem().message, "secrets \"x\" is forbidden");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(truncate("ääää", 8), "ääää");
        assert_eq!(truncate("äääää", 8), "ää...");
    }
}
