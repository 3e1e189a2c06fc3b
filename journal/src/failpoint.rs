//! Places where a crash test ends the process. Unset, a place costs one relaxed load.
//!
//! `NTRO_FAILPOINT=<name>:<n>` in the environment (read once, by [`arm_from_env`]) aborts the process when the place `<name>` is
//! reached for the n-th time, counted from 1. No destructor runs and nothing is flushed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Before a journal transaction is committed.
pub const BEFORE_COMMIT: &str = "before-commit";
/// After it is committed, before anybody hears of it.
pub const AFTER_COMMIT: &str = "after-commit";
/// After a blob is durable, before an entry names it.
pub const AFTER_BLOB: &str = "after-blob";

static ARMED: AtomicBool = AtomicBool::new(false);
static PLAN: Mutex<Option<(String, u64)>> = Mutex::new(None);

/// Aborts when the place `name` is reached for the `n`-th time from now.
pub fn arm(name: &str, n: u64) {
    *PLAN.lock().unwrap_or_else(PoisonError::into_inner) = Some((name.to_owned(), n));
    ARMED.store(true, Ordering::SeqCst);
}

/// Arms what `NTRO_FAILPOINT` names, if it is set.
pub fn arm_from_env() {
    if let Ok(text) = std::env::var("NTRO_FAILPOINT") {
        let (name, n) = text.rsplit_once(':').unwrap_or((&text, "1"));
        arm(name, n.parse().unwrap_or(1));
    }
}

/// A place: aborts the process if it is armed and this is the time.
pub fn hit(name: &str) {
    if !ARMED.load(Ordering::Relaxed) {
        return;
    }
    let mut plan = PLAN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((place, left)) = plan.as_mut()
        && place == name
    {
        *left = left.saturating_sub(1);
        if *left == 0 {
            std::process::abort();
        }
    }
}
