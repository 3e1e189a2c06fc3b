//! How a caller reacts to an error.

/// Error classes by the reaction they ask for, shared by every error type of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BundleErrorClass {
    /// The input is wrong: retrying without changing it is useless.
    Invalid,
    /// Something outside has to happen first (a push, a Secret): requeue.
    Waiting,
    /// Likely to go away by itself: retry with backoff.
    Transient,
    /// A defect of this program.
    Bug,
}
