//! When a Workflow is due, and for which accounting period: pure, no I/O, the time is an argument. Used by the operator,
//! which starts runs, and by the command line, which refuses an invalid schedule before anything is applied.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed assumption is a failed test")
)]

pub mod calendar;
pub mod cron;
pub mod jitter;
pub mod period;
pub mod slots;
pub mod spec;
pub mod zone;
