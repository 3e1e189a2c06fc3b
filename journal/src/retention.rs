//! How long what is kept of an ended run is kept, and what is left of it afterwards. Pure.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::machine::RunState;
use crate::protocol::{ChainHash, Phase, RunTenant};

/// The longest time anything is kept, in days: a hundred years.
pub const DAYS_MAX: u32 = 36_500;

/// A part of a run that is kept for a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunPart {
    /// The lines of its log.
    Log,
    /// Everything else too: entries, blobs, drafts, and the key of its published digests.
    Journal,
}

impl RunPart {
    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Journal => "journal",
        }
    }

    /// The tenant's setting that says how long it is kept.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Log => "retention.logs",
            Self::Journal => "retention.journal",
        }
    }
}

/// How many days after a run's end its parts are kept: from 1 to [`DAYS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The journal, and with it everything else.
    pub journal_days: u32,
    /// The log.
    pub log_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { journal_days: 365, log_days: 30 }
    }
}

impl Retention {
    /// How many days this part is kept. Less than one is none: a pod that has just ended is still heard.
    pub fn days(&self, part: RunPart) -> u32 {
        let days = match part {
            RunPart::Log => self.log_days,
            RunPart::Journal => self.journal_days,
        };
        days.clamp(1, DAYS_MAX)
    }

    /// What ended at this time or before is kept no longer.
    pub fn cutoff(&self, part: RunPart, now: Timestamp) -> Timestamp {
        let kept = SignedDuration::from_hours(24 * i64::from(self.days(part)));
        now.checked_sub(kept).unwrap_or(Timestamp::MIN)
    }
}

/// What of a run is to be purged now; its log goes with its journal. Nothing of one that has not ended or that is `held`.
pub fn due_for_purge(
    now: Timestamp,
    ended_at: Option<Timestamp>,
    retention: &Retention,
    held: bool,
) -> Option<RunPart> {
    let ended_at = ended_at.filter(|_| !held)?;
    [RunPart::Journal, RunPart::Log].into_iter().find(|part| ended_at <= retention.cutoff(*part, now))
}

/// What keeps a run from being purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Why, in the words of who set it.
    pub reason: String,
    /// UID of the object it was set on: only an object that had it can lift it.
    pub object_uid: String,
}

/// That a part of a run was purged, as it is kept for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PurgeRecord {
    /// What.
    pub part: RunPart,
    /// When.
    pub at: Timestamp,
    /// How many days it was to be kept.
    pub days: u32,
    /// How the run ended.
    pub phase: Phase,
    /// The head of the journal as it was published: the key it was made with is purged.
    pub head: String,
    /// What the entries took, in bytes.
    pub entry_bytes: u64,
}

impl PurgeRecord {
    /// The record of purging this part of a run.
    pub(crate) fn of(state: &RunState, part: RunPart, retention: Retention, at: Timestamp) -> Self {
        let (phase, head, entry_bytes) = (state.phase(), state.head_digest(), state.bytes);
        Self { part, at, days: retention.days(part), phase, head, entry_bytes }
    }
}

/// For people: what is gone, since when, and by which setting.
impl std::fmt::Display for PurgeRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { part, at, days, .. } = self;
        let at = at.strftime("%Y-%m-%dT%H:%M:%SZ");
        let part_name = part.label();
        write!(f, "its {part_name} was purged at {at}: {} of the tenant was {days}d", part.setting())
    }
}

/// What is left of a run whose journal was purged: its row in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgedRun {
    /// The run.
    pub run_id: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Whose it is.
    pub tenant: RunTenant,
    /// Its name.
    pub name: String,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Number of entries it had.
    pub length: u64,
    /// Hash of the last one.
    pub hash: ChainHash,
    /// What was purged, and when.
    pub record: PurgeRecord,
}

impl PurgedRun {
    /// True if the journal had been shorter than, or had differed from, what was published about it. A head that was published
    /// earlier than the last one cannot be compared any more.
    pub fn is_behind(&self, length: u64, head: &str) -> bool {
        length > self.length || (length == self.length && head != self.record.head)
    }
}

/// What is left of an entry whose journal was purged. Whoever has the entry can check by it that it was one of the run's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skeleton {
    /// Its place.
    pub seq: u64,
    /// When it was written, RFC 3339.
    pub time: String,
    /// Its type.
    pub kind: String,
    /// Its hash, which follows from it and the hash before.
    pub hash: ChainHash,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const DAY: i64 = 86_400;

    proptest! {
        #[test]
        fn nothing_is_purged_before_its_time_and_everything_at_it(
            ended in 0_i64..2_000_000_000,
            age in 0_i64..200 * 365 * DAY,
            journal_days in 0_u32..=DAYS_MAX + 5,
            log_days in 0_u32..=DAYS_MAX + 5,
        ) {
            let retention = Retention { journal_days, log_days };
            let due = due_for_purge(at(ended + age), Some(at(ended)), &retention, false);
            let over = |days: u32| age >= DAY * i64::from(days.clamp(1, DAYS_MAX));
            let expected = match (over(journal_days), over(log_days)) {
                (true, _) => Some(RunPart::Journal),
                (false, true) => Some(RunPart::Log),
                (false, false) => None,
            };
            prop_assert_eq!(due, expected);
        }

        #[test]
        fn what_is_open_or_held_is_never_purged(ended in 0_i64..2_000_000_000, now in 0_i64..20_000_000_000) {
            let retention = Retention { journal_days: 1, log_days: 1 };
            prop_assert_eq!(due_for_purge(at(now), None, &retention, false), None);
            prop_assert_eq!(due_for_purge(at(now), Some(at(ended)), &retention, true), None);
        }

        #[test]
        fn what_is_due_stays_due_as_time_passes(
            ended in 0_i64..2_000_000_000, age in 0_i64..3000 * DAY, later in 0_i64..3000 * DAY, days in 1_u32..2000,
        ) {
            let retention = Retention { journal_days: days, log_days: days };
            let due = |age: i64| due_for_purge(at(ended + age), Some(at(ended)), &retention, false).is_some();
            prop_assert!(!due(age) || due(age + later));
        }
    }

    #[test]
    fn a_clock_at_either_end_of_time_purges_nothing_early() {
        let retention = Retention::default();
        assert_eq!(due_for_purge(Timestamp::MIN, Some(at(0)), &retention, false), None);
        assert_eq!(due_for_purge(Timestamp::MAX, Some(at(0)), &retention, false), Some(RunPart::Journal));
    }
}
