//! The small closed vocabularies of the entries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident, $case:literal { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = $case)]
        pub enum $name {
            $($(#[$vmeta])* $variant),+
        }

        impl $name {
            /// All of them, in the order of the docs.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(super) use vocabulary;

vocabulary! {
    /// Why a segment is wanted.
    SegmentCause, "camelCase" {
        /// The first one.
        Start = "start",
        /// A parked run has something to be told.
        Wake = "wake",
        /// A person asked for it.
        Retry = "retry",
        /// The segment before ended without reaching a rest.
        Lost = "lost",
    }
}

vocabulary! {
    /// Why a holder is no longer one.
    ReleaseCause, "camelCase" {
        /// The pod left after parking.
        Parked = "parked",
        /// The pod left after the run's end.
        Finished = "finished",
        /// The pod left after blocking the run.
        Blocked = "blocked",
        /// The pod left because the run was cancelled, or its grace was over.
        Cancelled = "cancelled",
        /// The pod's Job is finished, deleted or replaced.
        PodGone = "podGone",
        /// The pod's Job was suspended: its queue gave the place to another.
        Evicted = "evicted",
        /// The pod could not reach the operator for as long as it waits.
        Outage = "outage",
        /// The pod was silent for longer than its lease.
        LeaseExpired = "leaseExpired",
    }
}

vocabulary! {
    /// What an activity does to the world, as its runbook declares.
    Effect, "camelCase" {
        /// Nothing.
        None = "none",
        /// Something that may safely be done again.
        Idempotent = "idempotent",
        /// Something that must not be done twice.
        External = "external",
        /// The runbook does not say; treated as `external`.
        Undeclared = "undeclared",
    }
}

impl Effect {
    /// True if it may be attempted again without a person saying so.
    pub fn repeatable(self) -> bool {
        matches!(self, Self::None | Self::Idempotent)
    }
}

vocabulary! {
    /// Why an activity is attempted again.
    RetryCause, "camelCase" {
        /// Its code reported a failure that its retry policy covers.
        Failure = "failure",
        /// Its pod was lost in the middle.
        Crash = "crash",
    }
}

vocabulary! {
    /// What a gate asks for.
    GateKind, "camelCase" {
        /// A judgement of something shown.
        Review = "review",
        /// Something to be handed in.
        Submission = "submission",
    }
}

vocabulary! {
    /// Why workflow code closed a gate.
    GateCloseCause, "camelCase" {
        /// A person decided it.
        Decided = "decided",
        /// Something else satisfied it.
        Satisfied = "satisfied",
        /// Its time ran out.
        Expired = "expired",
        /// Workflow code went on without it.
        Abandoned = "abandoned",
    }
}

vocabulary! {
    /// What a person says to a gate.
    Verb, "camelCase" {
        /// Yes.
        Approve = "approve",
        /// No.
        Reject = "reject",
        /// Yes, with these values instead.
        Correct = "correct",
        /// Here it is.
        Submit = "submit",
    }
}

vocabulary! {
    /// How far a step is.
    StepStatus, "camelCase" {
        /// Not begun.
        Pending = "pending",
        /// Begun.
        Active = "active",
        /// Done.
        Completed = "completed",
    }
}

vocabulary! {
    /// What kind of thing a parked run waits for.
    WaitKind, "camelCase" {
        /// A person's decision.
        Gate = "gate",
        /// A timer.
        Timer = "timer",
        /// A signal.
        Signal = "signal",
    }
}

vocabulary! {
    /// Why a signal reached no handler.
    IgnoredReason, "PascalCase" {
        /// The workflow has no handler of this name.
        UnknownName = "UnknownName",
        /// Its arguments are not those of the handler.
        ArgumentsDoNotFit = "ArgumentsDoNotFit",
    }
}

vocabulary! {
    /// Why a run cannot continue before a person repairs something.
    BlockCode, "PascalCase" {
        /// Replay gave another command than the journal has.
        Divergence = "Divergence",
        /// The same command, with other arguments.
        ArgsDrift = "ArgsDrift",
        /// Workflow code raised what is no failure of the run.
        CodeError = "CodeError",
        /// Workflow code used the SDK in a way it does not allow.
        SdkMisuse = "SdkMisuse",
        /// Two gates were open on one instance.
        GateOverlap = "GateOverlap",
        /// The bundle cannot be loaded.
        BundleInvalid = "BundleInvalid",
        /// The runner speaks only older versions of the protocol.
        RuntimeTooOld = "RuntimeTooOld",
        /// The runner speaks only newer versions of the protocol.
        RuntimeTooNew = "RuntimeTooNew",
        /// An effect may or may not have happened.
        EffectUnknown = "EffectUnknown",
        /// An activity's gate was not approved.
        RequirementNotMet = "RequirementNotMet",
        /// An activity failed more often than its policy allows.
        ActivityRetriesExhausted = "ActivityRetriesExhausted",
        /// Too many segments were lost without progress.
        AttemptsExhausted = "AttemptsExhausted",
        /// A queue held the Job of a segment back for longer than it may.
        QueueTimeout = "QueueTimeout",
        /// The pod of a segment did not start in time.
        PendingTimeout = "PendingTimeout",
        /// A pod executed the run for longer than it may at a stretch.
        RunDeadlineExceeded = "RunDeadlineExceeded",
        /// The run's name or slot has been executed before.
        AlreadyRan = "AlreadyRan",
        /// The store is older than what was published about the run.
        JournalBehind = "JournalBehind",
        /// The journal is full.
        TooLarge = "TooLarge",
    }
}

vocabulary! {
    /// Why the journal itself refuses a user action. The operator has reasons of its own.
    RefusalReason, "PascalCase" {
        /// The run has ended.
        RunEnded = "RunEnded",
        /// The run is being cancelled, or was asked to be already.
        RunCancelled = "RunCancelled",
        /// The run has no such gate.
        UnknownGate = "UnknownGate",
        /// Somebody was first.
        AlreadyDecided = "AlreadyDecided",
        /// Workflow code closed the gate without an answer.
        Closed = "Closed",
        /// Its time ran out.
        Expired = "Expired",
        /// What was seen is not what is shown now.
        Superseded = "Superseded",
        /// The gate does not offer the verb.
        NotOffered = "NotOffered",
        /// A retry of a run that is not blocked.
        NotBlocked = "NotBlocked",
        /// A retry that leaves an unknown effect undecided.
        EffectUnknown = "EffectUnknown",
        /// A retry that allows to repeat what needs no allowance.
        NothingToRepeat = "NothingToRepeat",
        /// A signal whose name belongs to the gates.
        Reserved = "Reserved",
        /// It names a draft that is not there.
        DraftMissing = "DraftMissing",
        /// What it carries is not what its verb takes, such as arguments of a signal that are not a JSON array.
        Malformed = "Malformed",
    }
}

vocabulary! {
    /// What a run is, from its entries alone.
    Phase, "PascalCase" {
        /// No Job was recorded yet.
        Pending = "Pending",
        /// The Job of the current segment has no pod yet.
        Queued = "Queued",
        /// A pod executes workflow code.
        Running = "Running",
        /// Everything waits for something outside.
        Waiting = "Waiting",
        /// Ended well.
        Succeeded = "Succeeded",
        /// Ended by workflow code with an error.
        Failed = "Failed",
        /// Ended by a person.
        Cancelled = "Cancelled",
        /// Cannot continue before a person repairs something.
        Blocked = "Blocked",
    }
}

impl Phase {
    /// True if it never changes again.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::{BlockCode, Phase, RefusalReason, ReleaseCause};

    #[test]
    fn the_word_is_the_one_serde_writes() {
        for cause in [ReleaseCause::PodGone, ReleaseCause::LeaseExpired, ReleaseCause::Parked] {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
        }
        assert_eq!(serde_json::to_value(BlockCode::RuntimeTooOld).unwrap(), BlockCode::RuntimeTooOld.as_str());
        assert_eq!(serde_json::to_value(Phase::Waiting).unwrap(), Phase::Waiting.as_str());
    }

    #[test]
    fn the_contract_lists_every_code_and_reason() {
        let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md"));
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        let codes: Vec<_> = BlockCode::ALL.iter().map(|code| code.as_str()).collect();
        assert!(page.contains(&format!("Codes of `blocked`: `{}`", codes.join(", "))), "{codes:?}");
        let reasons: Vec<_> = RefusalReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert!(page.contains(&format!("that the journal gives: `{}`", reasons.join(", "))), "{reasons:?}");
    }
}
