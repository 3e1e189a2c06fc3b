//! Reasons of conditions, of Events and of reconciles.

use super::ConditionReason;

reasons! {
    /// Reasons of conditions, of the Events that report them, and of reconciles.
    Reason {
        /// Workflow: a run can be started.
        Available,
        /// Runbook: a version was found and verified.
        Resolved,
        /// Runbook: what had failed works again.
        Recovered,
        /// `spec.suspend` is true.
        Suspended,
        /// Workflow: no slot is left before `notAfter`.
        ScheduleEnded,
        /// Workflow: a slot is waiting.
        Queued,
        /// Workflow: its schedule, or its configuration, is valid.
        Valid,
        /// Workflow: its latest run succeeded.
        RunSucceeded,
        /// Workflow: its latest run failed.
        RunFailed,
        /// Workflow: its latest run was cancelled.
        RunCancelled,
        /// Gate: it can be answered.
        Open,
        /// Gate: it can no longer be answered.
        Closed,
        /// UserAction: it counts.
        Accepted,
        /// WorkflowRun: it is under way.
        Progressing,
        /// WorkflowRun: it waits, and no pod is running.
        Waiting,
        /// WorkflowRun: a person has to retry or cancel it.
        Blocked,
        /// WorkflowRun: it ended well.
        Succeeded,
        /// WorkflowRun: its code raised an error.
        Failed,
        /// WorkflowRun: a person ended it.
        Cancelled,
        /// WorkflowRun: a person ended it, and nobody knows whether all of its activities had their effect.
        CancelledEffectUnknown,
        /// The Workflow of a run does not exist.
        WorkflowMissing,
        /// The schedule, the calendar or the zone is invalid.
        ScheduleInvalid,
        /// The configuration does not match the runbook's schema.
        ConfigInvalid,
        /// The gate policy does not fit the runbook.
        GatePolicyInvalid,
        /// A run is asked for before its slot.
        SlotNotDue,
        /// A run is requested at a time that is not a slot.
        NotASlot,
        /// A run is asked for with another period than its slot has.
        PeriodMismatch,
        /// The period is not one of the Workflow's unit.
        PeriodInvalid,
        /// The Runbook of a Workflow does not exist.
        RunbookMissing,
        /// The Runbook has no verified version yet.
        RunbookNotReady,
        /// The version that is asked for is not verified.
        VersionNotVerified,
        /// The runner's image is named by a tag and not by its digest.
        ImageNotPinned,
        /// User actions on a run could not be read or answered: nothing expires until they are.
        UserActionsUnknown,
        /// The namespace is not a tenant's any more.
        TenantUnknown,
        /// A tenant keeps all that it may, or the volume of the operator is almost full: no further run begins.
        StorageFull,
        /// WorkflowRun: its journal is nearly as large as it may be.
        JournalNearlyFull,
        /// The pin of a run cannot be read.
        PinUnreadable,
        /// WorkflowRun: its pods leave because they cannot reach the operator.
        OperatorUnreachable,
        /// A foreign Job has the name of the run's next one.
        JobNameTaken,
        /// The journal is older than, or differs from, what was published.
        JournalBehind,
        /// The name or the slot of a run has been executed before.
        AlreadyRan,
        /// The namespace is not a tenant.
        NotATenant,
        /// The namespace lacks what a tenant needs.
        TenantNotPrepared,
        /// Runbook: the interval is invalid.
        IntervalInvalid,
        /// Runbook: the bundle is that of another runbook.
        SlugMismatch,
        /// Runbook: the bundle is of another version than its tag.
        VersionMismatch,
        /// Runbook: the bundle declares more activities than are kept.
        TooManyActivities,
        /// Runbook: the registry has more versions than are looked at.
        TooManyVersions,
        /// Runbook: a newer version cannot be fetched.
        FetchFailed,
        /// The Secret with the credentials does not exist.
        SecretMissing,
        /// The Secret with the credentials may not be read.
        SecretForbidden,
        /// The Secret is not of the type of registry credentials.
        SecretInvalid,
        /// The Runbook of a pinned bundle is gone.
        SourceGone,
        /// The operator's volume failed.
        VolumeFailed,
        /// `spec.url` is invalid.
        UrlInvalid = "URLInvalid",
        /// A tag is invalid.
        TagInvalid,
        /// A digest is invalid.
        DigestInvalid,
        /// `spec.version` is invalid.
        VersionInvalid,
        /// The registry has no such version.
        VersionNotFound,
        /// The credentials are invalid.
        CredentialsInvalid,
        /// The operator's settings for the registry are invalid.
        RegistrySettingsInvalid,
        /// The registry does not answer.
        RegistryUnreachable,
        /// The registry answers that it cannot serve.
        RegistryUnavailable,
        /// The registry does not accept the credentials.
        AuthenticationFailed,
        /// The registry has no such artifact.
        NotFound,
        /// The manifest is not that of a bundle.
        ManifestInvalid,
        /// What the registry gave is not what was asked for.
        DigestMismatch,
        /// The version exists with other content.
        VersionExists,
        /// A tag names another digest than it did.
        TagMismatch,
        /// The registry does not speak the protocol.
        RegistryProtocol,
        /// The registry refused the request.
        RegistryRefused,
        /// An archive reaches outside its directory.
        ArchiveUnsafe,
        /// An archive is larger than is allowed.
        ArchiveTooLarge,
        /// An archive is damaged.
        ArchiveInvalid,
        /// A bundle's destination exists.
        DestinationExists,
        /// A bundle could not be written.
        WriteFailed,
        /// The API server did not allow a request.
        KubernetesForbidden,
        /// An object is gone.
        KubernetesNotFound,
        /// Somebody else changed an object.
        KubernetesConflict,
        /// The API server found a request invalid.
        KubernetesRefused,
        /// The API server does not answer.
        KubernetesUnavailable,
        /// The journal does not know the run.
        UnknownRun,
        /// A journal is damaged.
        JournalCorrupt,
        /// Another process has the store open.
        StoreInUse,
        /// Another write came first.
        StoreRaced,
        /// The store was written by an older version.
        FormatTooOld,
        /// The store was written by a newer version.
        FormatTooNew,
        /// The store failed.
        StoreFailed,
        /// A blob is missing.
        BlobMissing,
        /// A blob is not what its digest says.
        BlobMismatch,
        /// Blobs cannot be read or written.
        BlobsFailed,
        /// Something is larger than is allowed.
        TooLarge,
        /// The journal is being closed.
        Stopped,
        /// The journal refused an entry: not yet.
        NotYet,
        /// The journal refused an entry: there is a newer holder.
        Fenced,
        /// The journal refused an entry: the run has ended.
        Sealed,
        /// WorkflowRun: its journal, or what was asked for of it, was purged.
        Purged,
        /// The journal refused an entry: replay gave something else.
        Diverged,
        /// The journal refused an entry: deliveries are unread.
        Unread,
        /// The journal refused an entry: its gate is not approved.
        RequirementNotMet,
        /// The journal refused an entry: the effect may not be repeated.
        NotAllowedToRepeat,
        /// The journal refused an entry: no common version of the protocol.
        Version,
        /// The journal refused an entry: not of this protocol.
        Invalid,
        /// The journal refused an entry: not allowed.
        Forbidden,
        /// A defect of the operator.
        InternalError,
    }
}

impl Reason {
    /// The reason of this word, and `InternalError` for a word that no reason has.
    pub fn named(word: &str) -> Self {
        Self::try_from(word).unwrap_or(Self::InternalError)
    }
}

impl ConditionReason for Reason {
    fn word(self) -> &'static str {
        self.as_str()
    }
}
