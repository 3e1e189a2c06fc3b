//! Places where tests let the operator die. Without a directory for them, a place costs one load.
//!
//! A file named like a place in the directory makes the operator die there, as by SIGKILL, the next time it passes. The file
//! is removed first, so that it dies once.

use std::path::PathBuf;
use std::sync::OnceLock;

static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Looks for armed places in this directory from now on.
pub fn watch(directory: PathBuf) {
    tracing::warn!(directory = %directory.display(), "failpoints are on: this operator dies when told to");
    let _ = DIRECTORY.set(directory);
}

/// A place. Its name is one of a fixed set.
pub fn hit(name: &'static str) {
    let Some(directory) = DIRECTORY.get() else { return };
    if std::fs::remove_file(directory.join(name)).is_ok() {
        std::process::abort();
    }
}
