//! How much a tenant may keep by the annotations of its namespace. Pure.

use std::collections::BTreeMap;

use ntro_crds::labels::{LIMITS_RUN_BLOBS, LIMITS_RUN_JOURNAL, LIMITS_RUN_LOG, LIMITS_TENANT};
use ntro_crds::quantity::bytes;
use ntro_journal::TenantLimits;

/// Bounds that a tenant has of its own, within the operator's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OwnLimits {
    /// Those that its namespace names.
    pub bounds: TenantLimits,
    /// Annotations that cannot be read: in their place the operator's bounds count.
    pub unreadable: Vec<&'static str>,
}

impl OwnLimits {
    /// Reads the annotations of a tenant's namespace. One that is not there, or empty, bounds nothing.
    pub(crate) fn of(annotations: &BTreeMap<String, String>) -> Self {
        let mut unreadable = Vec::new();
        let mut read = |name: &'static str| {
            let text = annotations.get(name).filter(|text| !text.is_empty())?;
            bytes(text).map_err(|_| unreadable.push(name)).ok()
        };
        let bounds = TenantLimits {
            entry_bytes_max: read(LIMITS_RUN_JOURNAL),
            blobs_max: read(LIMITS_RUN_BLOBS),
            log_max: read(LIMITS_RUN_LOG),
            tenant_max: read(LIMITS_TENANT),
        };
        Self { bounds, unreadable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(annotations: &[(&str, &str)]) -> OwnLimits {
        OwnLimits::of(&annotations.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn a_namespace_names_the_bounds_that_its_tenant_has_of_its_own() {
        assert_eq!(of(&[]), OwnLimits::default());
        assert_eq!(of(&[(LIMITS_TENANT, ""), (LIMITS_RUN_LOG, "")]), OwnLimits::default(), "as the chart writes it");
        let own = of(&[
            (LIMITS_RUN_JOURNAL, "8Mi"),
            (LIMITS_RUN_BLOBS, "1Gi"),
            (LIMITS_RUN_LOG, "65536"),
            (LIMITS_TENANT, "2Ti"),
        ]);
        let bounds = TenantLimits {
            entry_bytes_max: Some(8 << 20),
            blobs_max: Some(1 << 30),
            log_max: Some(65_536),
            tenant_max: Some(2 << 40),
        };
        assert_eq!(own, OwnLimits { bounds, unreadable: Vec::new() });
    }

    #[test]
    fn what_cannot_be_read_bounds_nothing_and_is_named() {
        for text in ["0", "much", "5G", "-1Gi", "1.5Gi", " 1Gi", "1Gi ", "Gi"] {
            let own = of(&[(LIMITS_RUN_BLOBS, text), (LIMITS_TENANT, "1Gi")]);
            let bounds = TenantLimits { tenant_max: Some(1 << 30), ..TenantLimits::default() };
            assert_eq!(own, OwnLimits { bounds, unreadable: vec![LIMITS_RUN_BLOBS] }, "{text:?}");
        }
        let all = [LIMITS_RUN_JOURNAL, LIMITS_RUN_BLOBS, LIMITS_RUN_LOG, LIMITS_TENANT];
        assert_eq!(of(&all.map(|name| (name, "much"))).unreadable, all);
    }
}
