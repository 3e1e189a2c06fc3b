//! Reasons of blocks.

reasons! {
    /// Why a run is blocked: the codes of `status.blocked`.
    BlockReason {
        /// Replay gave another command than the journal has.
        Divergence,
        /// The same command, with other arguments.
        ArgsDrift,
        /// Workflow code raised what is no failure of the run.
        CodeError,
        /// Workflow code used the SDK in a way it does not allow.
        SdkMisuse,
        /// Two gates were open on one instance.
        GateOverlap,
        /// The bundle cannot be loaded.
        BundleInvalid,
        /// The runner speaks only older versions of the protocol.
        RuntimeTooOld,
        /// The runner speaks only newer versions of the protocol.
        RuntimeTooNew,
        /// An effect may or may not have happened.
        EffectUnknown,
        /// An activity's gate was not approved.
        RequirementNotMet,
        /// An activity failed more often than its policy allows.
        ActivityRetriesExhausted,
        /// Too many segments were lost without progress.
        AttemptsExhausted,
        /// A queue held the Job of a segment back for longer than it may.
        QueueTimeout,
        /// The pod of a segment did not start in time.
        PendingTimeout,
        /// A pod executed the run for longer than it may at a stretch.
        RunDeadlineExceeded,
        /// The run's name or slot has been executed before.
        AlreadyRan,
        /// The store is older than what was published about the run.
        JournalBehind,
        /// The journal is damaged and cannot be loaded.
        JournalCorrupt,
        /// The journal is full.
        TooLarge,
    }
}
