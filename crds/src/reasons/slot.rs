//! Reasons of slots.

reasons! {
    /// Why a slot gives no run, or waits.
    SlotReason {
        /// Nothing could be started within `startingDeadlineSeconds`.
        DeadlineExceeded,
        /// A later slot was due as well when something could be started again.
        LaterSlotDue,
        /// `missedRunPolicy` says to leave missed slots alone.
        MissedRunPolicySkip,
        /// A run of the same period is unfinished.
        RunUnfinished,
        /// A run of the same period waits for a person, a time or a signal.
        RunWaiting,
        /// A run of the same period is blocked until a person retries or cancels it.
        RunBlocked,
        /// A run of the same period is being cancelled for this one.
        Replacing,
        /// Its run, or that of an earlier slot, could not be started yet.
        NotStarted,
        /// It was due once; the clock has been set back since.
        ClockSetBack,
        /// As many slots wait as `maxQueuedRuns` allows.
        QueueFull,
        /// The schedule was edited, or the Workflow suspended, while the slot waited.
        ScheduleChanged,
        /// A run that does not belong to this Workflow has the slot's name.
        NameTaken,
    }
}

impl SlotReason {
    /// Whether a slot can be skipped for it, and not only wait.
    pub fn skips(self) -> bool {
        !matches!(self, Self::Replacing | Self::NotStarted | Self::ClockSetBack)
    }
}
