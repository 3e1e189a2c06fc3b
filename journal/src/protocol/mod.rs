//! The durable protocol's types, exactly as they stand on the wire. `docs/protocol.md` is the contract.

mod canonical;
mod digest;
pub mod entries;
mod entry;
mod kinds;
mod parts;
mod payload;
pub mod reference;
mod request;
mod session;
pub mod time;

pub use canonical::{NotPlain, canonical, check_plain};
pub use digest::{BadDigest, ChainHash, RunSecret, Sha256Digest};
pub use entries::{EntryBody, PodEntry};
pub use entry::Entry;
pub(crate) use entry::{said_digest, unsealed_text, value_of};
pub use kinds::{
    BlockCode, Effect, GateCloseCause, GateKind, IgnoredReason, Phase, RefusalReason, ReleaseCause, RetryCause,
    SegmentCause, StepStatus, Verb, WaitKind,
};
pub use parts::{
    FailureClass, FinalError, OutputFile, Pin, PinnedPolicy, RunTenant, RunTrigger, RunWorkflow, Site, StepProgress,
    Versions, WaitTarget,
};
pub use payload::{INLINE_MAX, Payload};
pub use request::{
    AppendRequest, AttachReply, AttachRequest, EntriesReply, ErrorCode, LOG_LINE_COST, LogLine, LogRequest, LogStream,
    PodSettings, PollRequest, RunnerVersions, WireError,
};
pub use session::{Session, SessionKey};

/// Oldest version of the protocol this crate speaks.
pub const PROTOCOL_MIN: u32 = 1;
/// Newest version of the protocol this crate speaks.
pub const PROTOCOL_MAX: u32 = 1;
/// Attempts of activities that a holder may have under way at once, and with that the effects that nobody knows about: a
/// run with such effects is not held again before a person has answered for them.
pub const RUNNING_MAX: usize = 16;
