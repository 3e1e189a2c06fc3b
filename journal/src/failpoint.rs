//! Places where tests end the process, as by SIGKILL: no destructor runs and nothing is flushed. Unset, a place costs
//! one relaxed load. Journal and operator share the mechanism; a place is armed in one of two ways:
//!
//! - `NTRO_FAILPOINT=<name>:<n>` in the environment (read once, by [`arm_from_env`]): the n-th time from now, counted
//!   from 1.
//! - a file named like the place in the directory of [`watch`]: the next time. The file is removed first, so that it is
//!   once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Before a journal transaction is committed.
pub const BEFORE_COMMIT: &str = "before-commit";
/// After it is committed, before anybody hears of it.
pub const AFTER_COMMIT: &str = "after-commit";
/// After a blob is durable, before an entry names it.
pub const AFTER_BLOB: &str = "after-blob";
/// Before a step of a purge.
pub const BEFORE_PURGE_STEP: &str = "before-purge-step";
/// After a step of a purge.
pub const AFTER_PURGE_STEP: &str = "after-purge-step";

static ARMED: AtomicBool = AtomicBool::new(false);
static PLAN: Mutex<Option<(String, u64)>> = Mutex::new(None);
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

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

/// Looks for armed places in this directory from now on.
pub fn watch(directory: PathBuf) {
    let _ = DIRECTORY.set(directory);
    ARMED.store(true, Ordering::SeqCst);
}

/// A place, whose name is one of a fixed set: aborts the process if it is armed and this is the time.
pub fn hit(name: &'static str) {
    if !ARMED.load(Ordering::Relaxed) {
        return;
    }
    if DIRECTORY.get().is_some_and(|directory| std::fs::remove_file(directory.join(name)).is_ok()) {
        std::process::abort();
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
