//! The holder writes.

use jiff::Timestamp;

use super::parts::ActivityState;
use super::state::RunState;
use super::{Consequence, Refusal, Transition};
use crate::protocol::entries::{LateCompletion, Said};
use crate::protocol::{
    AppendRequest, BlockCode, EntryBody, ErrorCode, Payload, PodEntry, ReleaseCause, Sha256Digest, canonical,
    said_digest, value_of,
};

/// The longest timer, timeout or deadline: a hundred years.
const DURATION_MAX_MS: u64 = 100 * 366 * 24 * 3600 * 1000;

/// Bounds of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendLimits {
    /// Largest payload in an entry, in bytes.
    pub inline_max: usize,
    /// Largest entry, in bytes of its canonical text.
    pub entry_max: usize,
    /// Number of entries from which no further command or attempt is accepted.
    pub entries_max: u64,
    /// Bytes of entries, as [`RunState::bytes`] counts them, from which no further one is accepted.
    pub bytes_max: u64,
}

/// An append of a pod whose session was checked.
pub struct Append<'a> {
    /// The pod of the session.
    pub pod_uid: &'a str,
    /// What it asks.
    pub request: &'a AppendRequest,
    /// True for a blob that was uploaded.
    pub has_blob: &'a dyn Fn(Sha256Digest) -> bool,
    /// Bounds.
    pub limits: AppendLimits,
}

/// Why an entry was not written, and what is written instead.
pub(super) enum Stop {
    /// Nothing of the request.
    Refuse(Refusal),
    /// What came before in the request, and a block.
    Block(BlockCode, Option<String>, Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

pub(super) fn invalid<T>(message: impl Into<String>) -> Result<T, Stop> {
    Err(Refusal::new(ErrorCode::Invalid, message).into())
}

/// Writes the request's entries, all or none; what is already there is accepted as done. Completions of a fenced pod,
/// or of one whose run has ended, are kept as evidence. A requirement that is not met and a full journal block the run;
/// what the request said before that stands.
pub fn append(state: &RunState, append: &Append<'_>, now: Timestamp) -> Consequence<()> {
    let mut transition = Transition::of(state, now);
    let stop = match standing(state, append.pod_uid, append.request) {
        Ok(()) => append.request.entries.iter().try_for_each(|entry| transition.accept(entry, append)),
        Err(NotHolder::Fenced(refusal)) => Err(Stop::from(refusal)),
        Err(NotHolder::JournalBehind(refusal)) => {
            if state.terminal.is_none() && state.blocked.is_none() {
                transition.block(BlockCode::JournalBehind, None);
            }
            return transition.done(Err(refusal));
        }
    };
    match stop {
        Ok(()) => transition.done(Ok(())),
        Err(Stop::Block(code, activity, refusal)) => {
            transition.block(code, activity);
            transition.done(Err(refusal))
        }
        Err(Stop::Refuse(refusal)) => {
            let mut evidence = Transition::of(state, now);
            if matches!(refusal.code, ErrorCode::Fenced | ErrorCode::Sealed) && append.request.epoch <= state.epoch {
                evidence.keep_late(append);
            }
            evidence.done(Err(refusal))
        }
    }
}

/// Why a pod is not the holder it says it is.
#[derive(Debug)]
pub(crate) enum NotHolder {
    /// There is a newer one.
    Fenced(Refusal),
    /// It was told what the journal does not have: the journal is an older copy. What was acknowledged since then is lost, and
    /// effects may be among it.
    JournalBehind(Refusal),
}

/// Checks that the pod is, or was last, the holder it says it is. Its session was checked: it did hold that epoch.
pub(crate) fn standing(state: &RunState, pod_uid: &str, request: &AppendRequest) -> Result<(), NotHolder> {
    let refusal = |message: &str| Refusal::new(ErrorCode::Fenced, message);
    if request.epoch < state.epoch {
        return Err(NotHolder::Fenced(refusal("a newer holder exists")));
    }
    if request.epoch > state.epoch || state.last_pod != pod_uid {
        return Err(NotHolder::JournalBehind(refusal("the journal does not know this holder")));
    }
    if request.head >= state.length {
        return Err(NotHolder::JournalBehind(refusal("the journal is shorter than the pod knows")));
    }
    Ok(())
}

impl Transition {
    fn accept(&mut self, entry: &PodEntry, append: &Append<'_>) -> Result<(), Stop> {
        if self.said_before(entry)? {
            return Ok(());
        }
        let released = matches!(entry, PodEntry::Released(_));
        if self.state.terminal.is_some() && !released {
            return Err(Refusal::new(ErrorCode::Sealed, "the run has ended").into());
        }
        if self.state.holder().is_none() {
            return Err(Refusal::new(ErrorCode::Fenced, "the segment is over").into());
        }
        let said = entry.said();
        let completion = said.completion.is_some();
        if let Some(blocked) = &self.state.blocked
            && !completion
            && !released
        {
            // Who was refused for what blocked the run is told the same again.
            let code = match blocked.code {
                BlockCode::RequirementNotMet => ErrorCode::RequirementNotMet,
                BlockCode::TooLarge => ErrorCode::TooLarge,
                _ => ErrorCode::Invalid,
            };
            return Err(Refusal::new(code, format!("the run is blocked: {}", blocked.code)).into());
        }
        self.check_size(entry, &said, append)?;
        self.check_command(&said)?;
        self.check_rule(entry, append.request)?;
        let body = self.stamp(entry.clone());
        self.write(body);
        if let PodEntry::Released(it) = entry {
            self.decide_next_segment(it.cause != ReleaseCause::Parked);
        }
        Ok(())
    }

    /// Keeps what a holder that is none any more reports about effects soon after its end: one report of each attempt.
    fn keep_late(&mut self, append: &Append<'_>) {
        if !self.state.hears_late(self.now) {
            return;
        }
        let epoch = append.request.epoch;
        for entry in &append.request.entries {
            let said = entry.said();
            let Some((target, attempt)) = said.completion else { continue };
            let begun = self.state.activities.get(&target).is_some_and(|activity| attempt <= activity.attempt);
            let fits = self.check_size(entry, &said, append).is_ok();
            if begun && fits && !self.state.late.contains(&(epoch, target, attempt)) {
                let late = LateCompletion { epoch, entry: Box::new(entry.clone()) };
                self.write(EntryBody::LateCompletion(late));
            }
        }
    }

    /// True if the entry stands in the journal already, said by this holder.
    fn said_before(&self, entry: &PodEntry) -> Result<bool, Stop> {
        let said = entry.said();
        if let Some(number) = said.command {
            return self.commanded_before(entry, number.command);
        }
        if let Some((target, attempt)) = said.completion {
            return self.completed_before(entry, target, attempt);
        }
        Ok(match entry {
            PodEntry::ActivityStarted(it) => {
                let activity = self.state.activities.get(&it.target);
                activity.is_some_and(|activity| {
                    activity.attempt == it.attempt && it.attempt > 0 && activity.attempt_epoch == self.state.epoch
                })
            }
            // They are recorded in the order of the deliveries, so that there is at most one of each.
            PodEntry::SignalIgnored(it) => {
                self.state.ignored_signals.last().is_some_and(|known| known.signal >= it.signal)
            }
            PodEntry::Parked(it) => {
                let parked = self.state.parked.as_ref();
                parked.is_some_and(|parked| parked.seen_upto == it.seen_upto && parked.waiting_for == it.waiting_for)
            }
            PodEntry::Blocked(it) => {
                let last = self.state.last_block.as_ref();
                last.is_some_and(|(code, site)| *code == it.code && *site == it.site)
            }
            PodEntry::Released(it) => self.state.holder().is_none() && self.state.last_release == Some(it.cause),
            PodEntry::ActivityScheduled(_)
            | PodEntry::ActivityAttemptFailed(_)
            | PodEntry::ActivityCompleted(_)
            | PodEntry::ActivityFailed(_)
            | PodEntry::ActivityCancelRequested(_)
            | PodEntry::TimerStarted(_)
            | PodEntry::TimerCancelled(_)
            | PodEntry::GateOpened(_)
            | PodEntry::GateRevised(_)
            | PodEntry::GateClosed(_)
            | PodEntry::StepsChanged(_)
            | PodEntry::RunCompleted(_)
            | PodEntry::RunFailed(_) => false,
        })
    }

    fn commanded_before(&self, entry: &PodEntry, command: u64) -> Result<bool, Stop> {
        if command >= self.state.next_command {
            return Ok(false);
        }
        match self.state.marks.get(&command) {
            Some(said) if *said == said_digest(value_of(entry)) => Ok(true),
            _ => diverged(&format!("command {command}")),
        }
    }

    fn completed_before(&self, entry: &PodEntry, target: u64, attempt: u32) -> Result<bool, Stop> {
        let Some(activity) = self.state.activities.get(&target) else { return Ok(false) };
        if attempt != activity.attempt {
            return Ok(attempt < activity.attempt && activity.attempt_epoch == self.state.epoch);
        }
        match activity.state {
            ActivityState::Scheduled | ActivityState::Running => Ok(false),
            _ if activity.ended == Some(said_digest(value_of(entry))) => Ok(true),
            ActivityState::AttemptFailed if matches!(entry, PodEntry::ActivityFailed(_)) => Ok(false),
            _ => diverged(&format!("the end of attempt {attempt} of {target}")),
        }
    }

    fn check_size(&self, entry: &PodEntry, said: &Said<'_>, append: &Append<'_>) -> Result<(), Stop> {
        let too_large = |message: &str| Err(Refusal::new(ErrorCode::TooLarge, message).into());
        if let Some(Payload::Inline { inline }) = said.payload {
            if inline.len() > append.limits.inline_max {
                return too_large("a payload is too large for an entry; upload it as a blob");
            }
            if serde_json::from_str::<serde::de::IgnoredAny>(inline).is_err() {
                return invalid("a payload is not JSON text");
            }
        }
        if canonical(&value_of(entry)).len() > append.limits.entry_max {
            return too_large("the entry is too large");
        }
        if let Some(missing) = said.blobs().find(|blob| !(append.has_blob)(*blob)) {
            return Err(Refusal::new(ErrorCode::BlobMissing, format!("blob {missing} was not uploaded")).into());
        }
        let continues = said.command.is_some() || matches!(entry, PodEntry::ActivityStarted(_));
        let full = self.state.length >= append.limits.entries_max || self.state.bytes >= append.limits.bytes_max;
        if full && continues {
            let (entries, bytes) = (self.state.length, self.state.bytes);
            let message = format!("the journal is full: {entries} entries of {bytes} bytes");
            return Err(Stop::Block(BlockCode::TooLarge, None, Refusal::new(ErrorCode::TooLarge, message)));
        }
        Ok(())
    }

    /// What holds for every command, and for a rest: its number, what it has seen, its duration.
    fn check_command(&self, said: &Said<'_>) -> Result<(), Stop> {
        if let Some(seen) = said.seen_upto
            && (seen < self.state.seen_upto || (seen > 0 && self.state.deliveries.binary_search(&seen).is_err()))
        {
            return invalid(format!("seenUpto {seen} is not a delivery, or is before an earlier one"));
        }
        if said.command.is_some_and(|number| number.command != self.state.next_command) {
            return invalid(format!("the next command is {}", self.state.next_command));
        }
        if said.duration_ms > DURATION_MAX_MS {
            return invalid("the duration is longer than a hundred years");
        }
        Ok(())
    }
}

fn diverged<T>(what: &str) -> Result<T, Stop> {
    Err(Refusal::new(ErrorCode::Diverged, format!("{what} was written with other content")).into())
}
