//! What each tenant keeps, in bytes. Nobody but this process writes, so it is counted here after it was asked once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of entries, logs, blobs and drafts, by UID of the tenants' namespaces.
pub(super) struct Accounts(Mutex<HashMap<String, u64>>);

impl Accounts {
    pub(super) fn of(usage: Vec<(String, u64)>) -> Self {
        Self(Mutex::new(usage.into_iter().collect()))
    }

    /// Begins anew with what is kept now.
    pub(super) fn set(&self, usage: Vec<(String, u64)>) {
        *self.lock() = usage.into_iter().collect();
    }

    pub(super) fn add(&self, namespace_uid: &str, bytes: u64) {
        let mut totals = self.lock();
        match totals.get_mut(namespace_uid) {
            Some(total) => *total = total.saturating_add(bytes),
            None => {
                totals.insert(namespace_uid.to_owned(), bytes);
            }
        }
    }

    pub(super) fn take(&self, namespace_uid: &str, bytes: u64) {
        if let Some(total) = self.lock().get_mut(namespace_uid) {
            *total = total.saturating_sub(bytes);
        }
    }

    pub(super) fn total(&self, namespace_uid: &str) -> u64 {
        self.lock().get(namespace_uid).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
