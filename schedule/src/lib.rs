//! When a workflow is due, and which accounting period a time stands for: pure, no I/O, the time is an argument.
//! Used by the operator, which fires, and by the command line, which refuses a bad schedule before anything is applied.
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
