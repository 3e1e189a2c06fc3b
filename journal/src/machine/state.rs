//! What a run is: the fold of its entries.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use uuid::Uuid;

use crate::protocol::{
    BlockCode, ChainHash, Effect, Entry, EntryBody, GateCloseCause, GateKind, Output, Payload, Phase,
    Pin, ReleaseCause, RunKey, SegmentCause, Sha256Digest, Site, Step, Trigger, Verb, WaitingFor,
    WorkflowRef,
};

/// A Job that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedSegment {
    /// Its number, from 1.
    pub segment: u32,
    /// Not before this time.
    pub not_before: Timestamp,
    /// Why.
    pub cause: SegmentCause,
}

/// The Job of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRef {
    /// Which segment it executes.
    pub segment: u32,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Hash of the template it was made from.
    pub template_hash: String,
}

/// The pod that may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its epoch.
    pub epoch: u64,
    /// Its segment.
    pub segment: u32,
    /// Its name.
    pub pod_name: String,
    /// Its UID.
    pub pod_uid: String,
    /// The UID of its Job.
    pub job_uid: String,
}

/// Where the current segment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentState {
    /// Its Job is to be made.
    Wanted(WantedSegment),
    /// Its Job exists and has no pod yet.
    Queued,
    /// A pod holds the run.
    Held(Holder),
    /// It is over and no next one is wanted: the run is parked, blocked or has ended.
    Over,
}

/// How far a gate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateState {
    /// It waits for a person.
    Open,
    /// A person decided it; never changes again.
    Decided,
    /// Workflow code closed it undecided; never changes again.
    Closed(GateCloseCause),
}

/// A person's decision of a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What was said.
    pub verb: Verb,
    /// By whom.
    pub actor: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// UID of the act.
    pub act: String,
    /// Which revision they saw.
    pub revision: u32,
    /// When they said it.
    pub acted_at: Timestamp,
    /// `seq` of the entry.
    pub seq: u64,
}

/// A gate of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The command that opened it.
    pub command: u64,
    /// Its identity.
    pub id: Uuid,
    /// Its step.
    pub step: String,
    /// What it asks for.
    pub kind: GateKind,
    /// How it wants to be shown.
    pub component: String,
    /// What it offers.
    pub actions: Vec<String>,
    /// The current revision, from 1.
    pub revision: u32,
    /// Keyed digest of what the current revision shows.
    pub content_digest: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Until when an answer counts.
    pub due: Option<Timestamp>,
    /// `seq` of the entry that holds the current content.
    pub content_seq: u64,
    /// How far it is.
    pub state: GateState,
    /// The decision, if there is one.
    pub decision: Option<Decision>,
    /// When it stopped being open.
    pub resolved_at: Option<Timestamp>,
}

/// How far a timer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerState {
    /// It runs.
    Open,
    /// It fired.
    Fired,
    /// It was cancelled.
    Cancelled,
}

/// A timer of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// When it is due.
    pub fires_at: Timestamp,
    /// How far it is.
    pub state: TimerState,
}

/// How far an activity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityState {
    /// An attempt was begun and its end is not known.
    Running,
    /// The last attempt failed and another may follow.
    AttemptFailed,
    /// It has a result.
    Completed,
    /// It failed for good.
    Failed,
}

/// An activity of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Its name.
    pub name: String,
    /// Its step.
    pub step: Option<String>,
    /// What it does to the world.
    pub effect: Effect,
    /// The step whose gate it needs.
    pub requires: Option<String>,
    /// Keyed digest of its arguments.
    pub args_digest: String,
    /// The last attempt begun, from 1.
    pub attempt: u32,
    /// The epoch that began it.
    pub attempt_epoch: u64,
    /// How far it is.
    pub state: ActivityState,
    /// True if workflow code no longer wants it.
    pub cancel_requested: bool,
    /// True if a person allowed one more attempt.
    pub repeat_allowed: bool,
    /// Digest of what ended the last attempt, to know it again.
    pub(super) ended: Option<Sha256Digest>,
}

impl Activity {
    /// True if nobody knows whether its effect happened, and it must not be repeated without a person.
    pub fn unknown_effect(&self) -> bool {
        self.state == ActivityState::Running
            && !self.effect.repeatable()
            && !self.cancel_requested
            && !self.repeat_allowed
    }
}

/// A rest: everything waits for something outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The last delivery handed over.
    pub seen_upto: u64,
    /// What it waits for.
    pub waiting_for: Vec<WaitingFor>,
    /// Since when.
    pub since: Timestamp,
}

/// Why the run cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The class.
    pub code: BlockCode,
    /// Where in the bundle.
    pub site: Option<Site>,
    /// Which activity.
    pub activity: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// `seq` of the entry.
    pub seq: u64,
}

/// How the run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// `Succeeded`, `Failed` or `Cancelled`.
    pub phase: Phase,
    /// The class of the error, if it failed.
    pub error: Option<String>,
    /// When.
    pub at: Timestamp,
    /// `seq` of the entry.
    pub seq: u64,
}

/// What became of a person's act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActOutcome {
    /// It stands in the journal as this entry.
    Applied {
        /// `seq` of the entry.
        seq: u64,
    },
    /// It had no effect.
    Refused {
        /// A bounded reason.
        reason: String,
        /// `seq` of the entry.
        seq: u64,
    },
}

/// A command of the current epoch, kept to know it again when its acknowledgement was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommandMark {
    pub(super) command: u64,
    pub(super) said: Sha256Digest,
}

/// The state of a run: a fold over its entries. Everything a projection needs is here; payload is not.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// The key of its published digests.
    pub(super) key: RunKey,
    /// Its identity.
    pub run_id: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its Workflow.
    pub workflow: WorkflowRef,
    /// Its slot, if a schedule made it.
    pub slot: Option<String>,
    /// What made it.
    pub trigger: Trigger,
    /// What it is fixed to.
    pub pin: Pin,
    /// The input envelope.
    pub input: Payload,
    /// Number of entries.
    pub length: u64,
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
    pub job: Option<JobRef>,
    /// The last epoch given; 0: none.
    pub epoch: u64,
    /// UID of the last holder's pod.
    pub(super) last_pod: String,
    /// Why the last epoch ended, if it has.
    pub last_release: Option<ReleaseCause>,
    /// The number of the next command.
    pub next_command: u64,
    /// `seq` of every delivery, in order.
    pub deliveries: Vec<u64>,
    /// The last delivery a command says was handed over.
    pub seen_upto: u64,
    /// The rest the run is at, until a command or a new holder.
    pub parked: Option<Parked>,
    /// The steps.
    pub steps: Vec<Step>,
    /// The gates by the command that opened them.
    pub gates: BTreeMap<u64, Gate>,
    /// The timers by the command that started them.
    pub timers: BTreeMap<u64, Timer>,
    /// The activities by the command that scheduled them.
    pub activities: BTreeMap<u64, Activity>,
    /// The newest output of every name.
    pub outputs: BTreeMap<String, Output>,
    /// Segments lost since the last command or completion.
    pub attempts: u32,
    /// Why it cannot go on.
    pub blocked: Option<Blocked>,
    /// Who asked for its end, and when.
    pub cancel_requested: Option<(String, Timestamp)>,
    /// How it ended.
    pub terminal: Option<Terminal>,
    /// The acts of people by UID.
    pub acts: BTreeMap<String, ActOutcome>,
    /// A person wants the next segment whatever else holds.
    pub(super) retry_wanted: bool,
    /// The latest time a fired timer was due.
    pub(super) fired_upto: Option<Timestamp>,
    /// The commands of the current epoch.
    pub(super) marks: Vec<CommandMark>,
    /// Reads recorded since the reader's last `viewOpened`.
    pub(super) reads: BTreeSet<(String, String)>,
    /// Completions already kept as evidence.
    pub(super) late: BTreeSet<(u64, Sha256Digest)>,
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
    pub fn begin(key: RunKey, first: &Entry) -> Result<Self, Corrupt> {
        let EntryBody::RunCreated { run_id, namespace, name, workflow, slot, trigger, pin, input } = &first.body
        else {
            return Err(Corrupt::NoBeginning);
        };
        if first.seq != 0 {
            return Err(Corrupt::NoBeginning);
        }
        Ok(Self {
            key,
            run_id: *run_id,
            namespace: namespace.clone(),
            name: name.clone(),
            workflow: workflow.clone(),
            slot: slot.clone(),
            trigger: trigger.clone(),
            pin: pin.clone(),
            input: input.clone(),
            length: 1,
            head: first.hash,
            head_time: first.time,
            created_at: first.time,
            started_at: None,
            segment: 0,
            segment_state: SegmentState::Over,
            job: None,
            epoch: 0,
            last_pod: String::new(),
            last_release: None,
            next_command: 0,
            deliveries: Vec::new(),
            seen_upto: 0,
            parked: None,
            steps: Vec::new(),
            gates: BTreeMap::new(),
            timers: BTreeMap::new(),
            activities: BTreeMap::new(),
            outputs: BTreeMap::new(),
            attempts: 0,
            blocked: None,
            cancel_requested: None,
            terminal: None,
            acts: BTreeMap::new(),
            retry_wanted: false,
            fired_upto: None,
            marks: Vec::new(),
            reads: BTreeSet::new(),
            late: BTreeSet::new(),
        })
    }

    /// The state after all of `entries`, whose numbers and chain are checked.
    pub fn replay(key: RunKey, entries: &[Entry]) -> Result<Self, Corrupt> {
        let (first, rest) = entries.split_first().ok_or(Corrupt::NoBeginning)?;
        if !first.follows(ChainHash::ZERO) {
            return Err(Corrupt::Broken { seq: 0 });
        }
        let mut state = Self::begin(key, first)?;
        for entry in rest {
            if entry.seq != state.length {
                return Err(Corrupt::Gap { expected: state.length });
            }
            if !entry.follows(state.head) {
                return Err(Corrupt::Broken { seq: entry.seq });
            }
            state.apply(entry);
        }
        Ok(state)
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
    pub fn current_job(&self) -> Option<&JobRef> {
        self.job.as_ref().filter(|job| job.segment == self.segment)
    }

    /// What it waits for, while it rests.
    pub fn waiting_for(&self) -> &[WaitingFor] {
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
        self.key.keyed(&self.head.0)
    }

    /// The digest of a payload as it may be published.
    pub fn keyed_digest(&self, payload: &Payload) -> String {
        payload.keyed_digest(&self.key)
    }

    /// The digest of bytes as it may be published.
    pub fn keyed(&self, bytes: &[u8]) -> String {
        self.key.keyed(bytes)
    }
}
