#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
//! The durable protocol of ntro: one append-only journal per run decides what the run is.
//!
//! [`protocol`] holds the types on the wire, [`machine`] the rules as pure functions over a fold of the entries,
//! [`store`] and [`blobs`] what is kept, and [`Journal`] puts them together. `docs/protocol.md` is the contract all of
//! them follow.

pub mod blobs;
pub mod clock;
mod error;
pub mod failpoint;
mod journal;
pub mod machine;
pub mod protocol;
mod retention;
pub mod store;

pub use clock::{Clock, SystemClock, TestClock};
pub use error::{ErrorClass, JournalError};
pub use journal::{
    AttachPod, CreateRun, DraftRef, Export, Journal, JournalLimits, JournalSettings, PAGE_BYTES, PublishedHead,
    TenantLimits, VerifyError, verify,
};
pub use machine::{GateDecision, RunState, UserActionOutcome};
pub use protocol::Session;
pub use retention::{DAYS_MAX, Hold, PurgeRecord, PurgedRun, Retention, RunPart, Skeleton, due_for_purge};
pub use store::{EndedRun, Inserted, ViewKey};
