//! What a run is: the fold of its entries.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::parts::{
    Activity, BlockedState, CancelRequest, Gate, Holder, ParkedState, SegmentJob, SegmentState, Terminal, Timer,
    TimerState, UserActionOutcome, WantedSegment,
};
use crate::protocol::entries::SignalIgnored;
use crate::protocol::{
    BlockCode, ChainHash, Entry, EntryBody, OutputFile, Payload, Phase, Pin, ReleaseCause, RunSecret, RunTenant,
    RunTrigger, RunWorkflow, Sha256Digest, Site, StepProgress, WaitTarget,
};

/// How long after its end an epoch may report what became of its effects.
const LATE_MAX: SignedDuration = SignedDuration::from_mins(2);

/// What an entry takes in the store beside its text, in bytes.
pub const ENTRY_COST: u64 = 64;

/// How many ignored signals the state remembers: the newest ones.
pub(super) const IGNORED_MAX: usize = 64;

/// The state of a run: a fold over its entries. Everything a projection needs is here; of payload only the input.
///
/// Every change works on a copy, so what grows with the run is kept in maps that share what they have in common: the
/// thousandth entry costs what the first one does.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// The key of its published digests.
    pub(super) secret: RunSecret,
    /// Its identity.
    pub run_id: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Whose it is.
    pub tenant: RunTenant,
    /// Its name.
    pub name: String,
    /// Its Workflow.
    pub workflow: RunWorkflow,
    /// Its slot, if a schedule made it.
    pub slot: Option<String>,
    /// What made it.
    pub trigger: RunTrigger,
    /// What it is fixed to.
    pub pin: Arc<Pin>,
    /// The input envelope.
    pub input: Arc<Payload>,
    /// Number of entries.
    pub length: u64,
    /// What they take in the store: their canonical texts, and [`ENTRY_COST`] each.
    pub bytes: u64,
    /// Hash of the last entry.
    pub head: ChainHash,
    /// Time of the last entry.
    pub head_time: Timestamp,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its first pod attached.
    pub started_at: Option<Timestamp>,
    /// The number of the current segment, from 1; 0 before the first is wanted.
    pub segment: u32,
    /// Where that segment stands.
    pub segment_state: SegmentState,
    /// The last Job recorded, of this segment or an earlier one.
    pub job: Option<SegmentJob>,
    /// The last epoch given; 0: none.
    pub epoch: u64,
    /// UID of the last holder's pod.
    pub(super) last_pod: String,
    /// The segment that each epoch belongs to.
    pub epochs: OrdMap<u64, u32>,
    /// Why the last epoch ended, if it has.
    pub last_release: Option<ReleaseCause>,
    /// When the last epoch that has ended did.
    pub released_at: Option<Timestamp>,
    /// What blocked the run since the last attach, also after a retry or the run's end: a holder whose reply was lost
    /// says it again.
    pub(super) last_block: Option<(BlockCode, Option<Site>)>,
    /// The number of the next command.
    pub next_command: u64,
    /// `seq` of every delivery, in order.
    pub deliveries: Vector<u64>,
    /// The newest signals that reached no handler.
    pub ignored_signals: Vector<SignalIgnored>,
    /// The last delivery a command says was handed over.
    pub seen_upto: u64,
    /// The rest the run is at, until a command or a new holder.
    pub parked: Option<ParkedState>,
    /// The steps.
    pub steps: Vec<StepProgress>,
    /// The gates by the command that opened them.
    pub gates: OrdMap<u64, Gate>,
    /// The timers by the command that started them.
    pub timers: OrdMap<u64, Timer>,
    /// The activities by the command that scheduled them.
    pub activities: OrdMap<u64, Activity>,
    /// The newest output of every name.
    pub outputs: OrdMap<String, OutputFile>,
    /// Segments lost since the last command or completion.
    pub attempts: u32,
    /// Segments in a row whose pod could not even attach, as the operator was out of its reach.
    pub unattached: u32,
    /// Why it cannot continue.
    pub blocked: Option<BlockedState>,
    /// Who asked for its end.
    pub cancel_requested: Option<CancelRequest>,
    /// How it ended.
    pub terminal: Option<Terminal>,
    /// What became of user actions, by UID.
    pub user_actions: OrdMap<String, UserActionOutcome>,
    /// A person wants the next segment whatever else holds.
    pub(super) retry_wanted: bool,
    /// The latest time a fired timer was due.
    pub(super) fired_upto: Option<Timestamp>,
    /// The commands of the current epoch, each with the digest of what was said: it is known again when its
    /// acknowledgement was lost.
    pub(super) marks: OrdMap<u64, Sha256Digest>,
    /// The activities with an attempt that the current epoch began, that has not ended and that is still wanted.
    pub(super) under_way: OrdSet<u64>,
    /// Reads recorded since the reader's last `viewOpened`.
    pub(super) reads: BTreeSet<(String, String)>,
    /// Completions already kept as evidence.
    pub(super) late: OrdSet<(u64, u64, u32)>,
}

/// Why entries are no journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// The first entry is not `runCreated`.
    #[error("a journal begins with runCreated")]
    NoBeginning,
    /// An entry is missing or out of order.
    #[error("entry {expected} is missing")]
    Gap {
        /// The number that should have come.
        expected: u64,
    },
    /// The chain is broken.
    #[error("the hash of entry {seq} does not follow from the one before")]
    Broken {
        /// The entry.
        seq: u64,
    },
}

impl RunState {
    /// The state after the first entry, which must be `runCreated`.
    pub fn begin(secret: RunSecret, first: &Entry, size: u64) -> Result<Self, Corrupt> {
        let EntryBody::RunCreated(run) = &first.body else { return Err(Corrupt::NoBeginning) };
        if first.seq != 0 {
            return Err(Corrupt::NoBeginning);
        }
        Ok(Self {
            secret,
            run_id: run.run_id,
            namespace: run.namespace.clone(),
            tenant: run.tenant.clone(),
            name: run.name.clone(),
            workflow: run.workflow.clone(),
            slot: run.slot.clone(),
            trigger: run.trigger.clone(),
            pin: Arc::new(run.pin.clone()),
            input: Arc::new(run.input.clone()),
            length: 1,
            bytes: size + ENTRY_COST,
            head: first.hash,
            head_time: first.time,
            created_at: first.time,
            started_at: None,
            segment: 0,
            segment_state: SegmentState::Over,
            job: None,
            epoch: 0,
            last_pod: String::new(),
            epochs: OrdMap::new(),
            last_release: None,
            released_at: None,
            last_block: None,
            next_command: 0,
            deliveries: Vector::new(),
            ignored_signals: Vector::new(),
            seen_upto: 0,
            parked: None,
            steps: Vec::new(),
            gates: OrdMap::new(),
            timers: OrdMap::new(),
            activities: OrdMap::new(),
            outputs: OrdMap::new(),
            attempts: 0,
            unattached: 0,
            blocked: None,
            cancel_requested: None,
            terminal: None,
            user_actions: OrdMap::new(),
            retry_wanted: false,
            fired_upto: None,
            marks: OrdMap::new(),
            under_way: OrdSet::new(),
            reads: BTreeSet::new(),
            late: OrdSet::new(),
        })
    }

    /// The state after all of `entries`, whose numbers and chain are checked.
    pub fn replay(secret: RunSecret, entries: &[Entry]) -> Result<Self, Corrupt> {
        let (first, rest) = entries.split_first().ok_or(Corrupt::NoBeginning)?;
        let mut state = Self::first(secret, first)?;
        for entry in rest {
            state.next(entry)?;
        }
        Ok(state)
    }

    /// The state after entry 0, whose hash is checked.
    pub fn first(secret: RunSecret, first: &Entry) -> Result<Self, Corrupt> {
        let size = first.follows(ChainHash::ZERO).ok_or(Corrupt::Broken { seq: 0 })?;
        Self::begin(secret, first, size)
    }

    /// Applies one entry more, whose number and hash are checked.
    pub fn next(&mut self, entry: &Entry) -> Result<(), Corrupt> {
        if entry.seq != self.length {
            return Err(Corrupt::Gap { expected: self.length });
        }
        let size = entry.follows(self.head).ok_or(Corrupt::Broken { seq: entry.seq })?;
        self.apply(entry, size);
        Ok(())
    }

    /// The phase, from the entries alone.
    pub fn phase(&self) -> Phase {
        if let Some(terminal) = &self.terminal {
            return terminal.phase;
        }
        if self.blocked.is_some() {
            return Phase::Blocked;
        }
        if self.resting() {
            return Phase::Waiting;
        }
        match (&self.segment_state, &self.job) {
            (SegmentState::Held(_), _) => Phase::Running,
            (_, None) => Phase::Pending,
            (_, Some(_)) => Phase::Queued,
        }
    }

    /// True if the run is parked and has been told everything.
    pub fn resting(&self) -> bool {
        self.parked.as_ref().is_some_and(|parked| parked.seen_upto >= self.last_delivery())
    }

    /// The epoch whose holder has its grace, because the run is cancelled.
    pub fn cancel_grace_of(&self) -> Option<u64> {
        self.cancel_requested.as_ref()?;
        Some(self.holder()?.epoch)
    }

    /// `seq` of the last delivery; 0: none.
    pub fn last_delivery(&self) -> u64 {
        self.deliveries.last().copied().unwrap_or(0)
    }

    /// The Job that is to be made, if one is.
    pub fn wanted(&self) -> Option<&WantedSegment> {
        match &self.segment_state {
            SegmentState::Wanted(wanted) => Some(wanted),
            _ => None,
        }
    }

    /// The pod that may write, if there is one.
    pub fn holder(&self) -> Option<&Holder> {
        match &self.segment_state {
            SegmentState::Held(holder) => Some(holder),
            _ => None,
        }
    }

    /// The Job of the current segment, once recorded.
    pub fn current_job(&self) -> Option<&SegmentJob> {
        self.job.as_ref().filter(|job| job.segment == self.segment)
    }

    /// What it waits for, while it rests.
    pub fn waiting_for(&self) -> &[WaitTarget] {
        match &self.parked {
            Some(parked) if self.resting() && self.terminal.is_none() => &parked.waiting_for,
            _ => &[],
        }
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Timestamp> {
        if self.terminal.is_some() {
            return None;
        }
        self.timers.values().filter(|timer| timer.state == TimerState::Open).map(|timer| timer.fires_at).min()
    }

    /// Whether what a pod reports after its epoch has ended is still heard.
    pub fn hears_late(&self, now: Timestamp) -> bool {
        self.released_at.is_none_or(|at| now.duration_since(at) <= LATE_MAX)
    }

    /// The gate with this identity.
    pub fn gate(&self, id: Uuid) -> Option<&Gate> {
        self.gates.values().find(|gate| gate.id == id)
    }

    /// When it ended.
    pub fn completed_at(&self) -> Option<Timestamp> {
        self.terminal.as_ref().map(|terminal| terminal.at)
    }

    /// The head as it may be published: the keyed digest of the last entry's hash.
    pub fn head_digest(&self) -> String {
        self.secret.keyed(&self.head.0)
    }

    /// The digest of a payload as it may be published.
    pub fn keyed_digest(&self, payload: &Payload) -> String {
        payload.keyed_digest(&self.secret)
    }

    /// The digest of bytes as it may be published.
    pub fn keyed(&self, bytes: &[u8]) -> String {
        self.secret.keyed(bytes)
    }
}
