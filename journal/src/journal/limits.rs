//! The bounds that count for a tenant: those of the journal, and its own within them.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::{Journal, JournalLimits};

/// Bounds that a tenant has of its own. What is not named here has the journal's bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// Bytes of a run's entries.
    pub entry_bytes_max: Option<u64>,
    /// Bytes of a run's blobs.
    pub blobs_max: Option<u64>,
    /// Bytes of a run's log.
    pub log_max: Option<u64>,
    /// Bytes of everything the tenant keeps.
    pub tenant_max: Option<u64>,
}

impl TenantLimits {
    /// The smaller bound of each two: whoever owns the volume says how much there may be at most.
    fn within(&self, limits: JournalLimits) -> JournalLimits {
        let smaller = |own: Option<u64>, most: u64| own.map_or(most, |own| own.min(most));
        JournalLimits {
            entry_bytes_max: smaller(self.entry_bytes_max, limits.entry_bytes_max),
            blobs_max: smaller(self.blobs_max, limits.blobs_max),
            log_max: smaller(self.log_max, limits.log_max),
            tenant_max: smaller(self.tenant_max, limits.tenant_max),
            ..limits
        }
    }
}

/// The bounds of tenants by UID of their namespaces.
#[derive(Default)]
pub(super) struct LimitsOfTenants(RwLock<HashMap<String, TenantLimits>>);

impl Journal {
    /// Bounds the tenant whose namespace has this UID, from now on. Nothing that is kept already goes because of it. Until a
    /// journal that was opened is told, its own bounds count: pods go on while nobody can say what their tenant has.
    pub fn set_limits(&self, namespace_uid: &str, own: TenantLimits) {
        let mut all = self.inner.limits.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(namespace_uid.to_owned(), own);
    }

    /// The bounds that count now for the tenant whose namespace has this UID, and for each of its runs.
    pub fn limits(&self, namespace_uid: &str) -> JournalLimits {
        let all = self.inner.limits.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(namespace_uid).copied().unwrap_or_default().within(self.inner.settings.limits)
    }
}
