//! How long the runs of a tenant are kept, as the annotations of its namespace say. Pure.

use std::collections::BTreeMap;

use ntro_crds::labels;
use ntro_journal::{DAYS_MAX, Retention};

/// How long the runs of a tenant are kept after their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// As the tenant's retention says.
    For(Retention),
    /// For ever, until the hold on the namespace is lifted.
    Held,
    /// For ever, because this annotation of the namespace cannot be read: what is purged cannot be got back.
    Unreadable(&'static str),
}

impl Keeping {
    /// Reads the annotations of a tenant's namespace. One that is not there has its default.
    pub(crate) fn of(annotations: &BTreeMap<String, String>) -> Self {
        if annotations.contains_key(labels::HOLD) {
            return Self::Held;
        }
        let Retention { journal_days, log_days } = Retention::default();
        let read = |name, default| annotations.get(name).map_or(Some(default), |text| days(text)).ok_or(name);
        let read = (read(labels::RETENTION_JOURNAL, journal_days), read(labels::RETENTION_LOGS, log_days));
        match read {
            (Ok(journal_days), Ok(log_days)) => Self::For(Retention { journal_days, log_days }),
            (Err(name), _) | (_, Err(name)) => Self::Unreadable(name),
        }
    }
}

/// Whole days, written `365d`.
fn days(text: &str) -> Option<u32> {
    let digits = text.strip_suffix('d').filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    digits.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(annotations: &[(&str, &str)]) -> Keeping {
        Keeping::of(&annotations.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn a_namespace_that_says_nothing_keeps_journals_a_year_and_logs_a_month() {
        assert_eq!(of(&[]), Keeping::For(Retention { journal_days: 365, log_days: 30 }));
        let long = of(&[(labels::RETENTION_JOURNAL, "3650d")]);
        assert_eq!(long, Keeping::For(Retention { journal_days: 3650, log_days: 30 }));
        let both = of(&[(labels::RETENTION_JOURNAL, "1d"), (labels::RETENTION_LOGS, "36500d")]);
        assert_eq!(both, Keeping::For(Retention { journal_days: 1, log_days: 36_500 }));
    }

    #[test]
    fn what_cannot_be_read_purges_nothing() {
        for text in ["", "d", "0d", "36501d", "365", "1y", "24h", "+5d", "-5d", " 5d", "5d ", "1.5d", "99999999999d"] {
            let name = labels::RETENTION_LOGS;
            assert_eq!(of(&[(name, text)]), Keeping::Unreadable(name), "{text:?}");
            let name = labels::RETENTION_JOURNAL;
            assert_eq!(of(&[(name, text)]), Keeping::Unreadable(name), "{text:?}");
        }
    }

    #[test]
    fn a_hold_counts_whatever_it_and_the_rest_say() {
        assert_eq!(of(&[(labels::HOLD, ""), (labels::RETENTION_JOURNAL, "1d")]), Keeping::Held);
        assert_eq!(of(&[(labels::HOLD, "lawsuit"), (labels::RETENTION_LOGS, "soon")]), Keeping::Held);
    }
}
