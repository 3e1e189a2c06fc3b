//! Reasons of user actions.

use super::ConditionReason;

reasons! {
    /// Why a user action was refused.
    UserActionReason {
        /// It names another run than the one of that name.
        RunMismatch,
        /// Its workflow is not the run's.
        WorkflowMismatch,
        /// Its gate is not the one of that id.
        GateMismatch,
        /// Its class is not the gate's: another right was checked than the gate needs.
        ClassMismatch,
        /// The gate policy does not name the actor.
        NotInPolicy,
        /// The gate policy wants another person.
        NotDistinct,
        /// Nothing proves who acted.
        ApprovalPolicyMissing,
        /// It lacks what its verb needs.
        Incomplete,
        /// There is no run of that name.
        RunMissing,
        /// The journal is older than, or differs from, what was published about the run.
        JournalBehind,
        /// The journal of the run is damaged.
        JournalCorrupt,
        /// The run's name or slot was executed before.
        AlreadyRan,
        /// The run's journal was purged.
        Purged,
        /// The run has ended.
        RunEnded,
        /// The run is being cancelled.
        RunCancelled,
        /// The run has no such gate.
        UnknownGate,
        /// Somebody else answered first.
        AlreadyDecided,
        /// Workflow code closed the gate without an answer.
        Closed,
        /// The gate's time ran out.
        Expired,
        /// What was seen is not what is shown now.
        Superseded,
        /// The gate does not offer the verb.
        NotOffered,
        /// A retry of a run that is not blocked.
        NotBlocked,
        /// A retry that leaves an unknown effect undecided.
        EffectUnknown,
        /// A retry that names an effect that needs no permission.
        NothingToRepeat,
        /// A signal whose name belongs to the gates.
        Reserved,
        /// The draft it names is not there.
        DraftMissing,
        /// What it carries is not what its verb takes, such as arguments of a signal that are no JSON array.
        Malformed,
    }
}

impl UserActionReason {
    /// Whether it may pass, so that the same user action may be made again under another name.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::ApprovalPolicyMissing | Self::DraftMissing | Self::NotInPolicy | Self::RunMissing)
    }
}

impl ConditionReason for UserActionReason {
    fn word(self) -> &'static str {
        self.as_str()
    }
}
