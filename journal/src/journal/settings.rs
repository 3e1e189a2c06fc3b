//! What an operator can set.

use std::path::PathBuf;
use std::time::Duration;

use crate::machine::{AppendLimits, RunState};
use crate::protocol::{INLINE_MAX, PodSettings};

/// Bounds of what a run and a tenant may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalLimits {
    /// Largest entry, in bytes.
    pub entry_max: usize,
    /// Number of entries from which no further command is accepted and the run is blocked.
    pub entries_max: u64,
    /// Bytes of a run's entries from which no further command is accepted and the run is blocked.
    pub entry_bytes_max: u64,
    /// Largest blob, in bytes.
    pub blob_max: u64,
    /// Bytes of a run's blobs; one that does not fit is refused, which blocks the run.
    pub blobs_max: u64,
    /// Longest log line, in bytes; the rest of a longer one is cut off.
    pub log_line_max: usize,
    /// Bytes of a run's log; lines after that are dropped.
    pub log_max: u64,
    /// Bytes of drafts that wait for their user action, by run; further ones are refused.
    pub drafts_max: u64,
    /// Free bytes of the volume that are left to entries: below that no blob and no log line is taken.
    pub reserve: u64,
    /// Bytes of everything a tenant keeps; with so many no run begins and no blob of a pod is taken.
    pub tenant_max: u64,
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self {
            entry_max: 512 * 1024,
            entries_max: 50_000,
            entry_bytes_max: 64 << 20,
            blob_max: 256 << 20,
            blobs_max: 1 << 30,
            log_line_max: 32 * 1024,
            log_max: 64 << 20,
            drafts_max: 64 << 20,
            reserve: 64 << 20,
            tenant_max: 5 << 30,
        }
    }
}

impl JournalLimits {
    /// Whether a run has used most of what its journal may hold: people should know before it is blocked.
    pub fn nearly_full(&self, run: &RunState) -> bool {
        run.length >= self.entries_max / 4 * 3 || run.bytes >= self.entry_bytes_max / 4 * 3
    }

    pub(crate) fn for_append(&self) -> AppendLimits {
        AppendLimits {
            inline_max: INLINE_MAX,
            entry_max: self.entry_max,
            entries_max: self.entries_max,
            bytes_max: self.entry_bytes_max,
        }
    }
}

/// Where a journal lies and the times it goes by.
#[derive(Debug, Clone)]
pub struct JournalSettings {
    /// The directory of the store and the blobs.
    pub dir: PathBuf,
    /// How long a silent holder keeps its lease.
    pub lease: Duration,
    /// What is added to the lease, and to the grace of a cancelled run, before the operator acts on it.
    pub grace: Duration,
    /// How long a parked pod stays.
    pub linger: Duration,
    /// How long a pod waits for an operator that does not answer.
    pub outage_wait: Duration,
    /// How long a cancelled run may continue.
    pub cancel_grace: Duration,
    /// How long a draft is kept for its user action.
    pub draft_ttl: Duration,
    /// Bounds; a tenant may have smaller ones of its own.
    pub limits: JournalLimits,
}

impl JournalSettings {
    /// The defaults, in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            lease: Duration::from_secs(30),
            grace: Duration::from_secs(15),
            linger: Duration::from_secs(20),
            outage_wait: Duration::from_mins(15),
            cancel_grace: Duration::from_secs(30),
            draft_ttl: Duration::from_hours(1),
            limits: JournalLimits::default(),
        }
    }

    /// What a pod is told.
    pub fn for_pods(&self) -> PodSettings {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        PodSettings {
            lease_ms: ms(self.lease),
            linger_ms: ms(self.linger),
            outage_wait_ms: ms(self.outage_wait),
            cancel_grace_ms: ms(self.cancel_grace),
            inline_max: INLINE_MAX as u64,
        }
    }
}
