//! What pods ask.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use super::{Beside, Journal};
use crate::blobs::BlobOf;
use crate::error::JournalError;
use crate::machine::{self, Append, Attach, NotHolder, Refusal, RunState};
use crate::protocol::{
    AppendRequest, AttachReply, BlockCode, ChainHash, EntriesReply, ErrorCode, LogLine, LogRequest, PollRequest,
    RunnerVersions, Session, Sha256Digest,
};
use crate::retention::RunPart;
use crate::store::StoredLine;

/// The longest a poll waits.
const POLL_MAX: Duration = Duration::from_secs(20);

/// The head of a journal as it was last published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedHead {
    /// Number of entries.
    pub length: u64,
    /// Keyed digest of the last one's hash.
    pub head: String,
}

/// A pod whose identity the operator has checked.
#[derive(Debug, Clone)]
pub struct AttachPod {
    /// Its name.
    pub pod_name: String,
    /// Its UID.
    pub pod_uid: String,
    /// The UID of the Job that controls it.
    pub job_uid: String,
    /// What the runner is.
    pub versions: RunnerVersions,
    /// The head last published about the run; a journal that does not continue it blocks the run.
    pub published: Option<PublishedHead>,
}

impl Journal {
    /// Makes the pod the run's holder. The same pod keeps its epoch.
    pub async fn attach(&self, run_id: Uuid, pod: AttachPod) -> Result<AttachReply, JournalError> {
        let behind = match &pod.published {
            Some(published) => self.is_behind(run_id, published).await?,
            None => false,
        };
        let attach = Attach {
            pod_name: pod.pod_name,
            pod_uid: pod.pod_uid,
            job_uid: pod.job_uid,
            versions: pod.versions,
            behind,
        };
        let pod_uid = attach.pod_uid.clone();
        let decide = move |state: &RunState, now| machine::attach(state, &attach, now);
        let changed = self.change(run_id, Beside::default(), decide).await?;
        let attached = changed.reply?;
        self.cell(run_id).heard_of_holder(self.inner.clock.listened());
        let state = changed.state;
        let page = self.page(&state, 0).await?;
        Ok(AttachReply {
            session: self.inner.session_key.token(&Session { run_id, epoch: attached.epoch, pod_uid }),
            run_id,
            namespace: state.namespace.clone(),
            name: state.name.clone(),
            segment: attached.segment,
            epoch: attached.epoch,
            entries: page.entries,
            more: page.more,
            pin: state.pin.as_ref().clone(),
            settings: self.inner.settings.for_pods(),
        })
    }

    /// True if the journal is shorter than, or differs from, what was published about it.
    pub async fn is_behind(&self, run_id: Uuid, published: &PublishedHead) -> Result<bool, JournalError> {
        let state = self.state(run_id).await?;
        if published.length == 0 {
            return Ok(false);
        }
        if published.length > state.length {
            return Ok(true);
        }
        if published.length == state.length {
            return Ok(published.head != state.head_digest());
        }
        let entry = self.entry(run_id, published.length - 1).await?;
        Ok(entry.is_none_or(|entry| published.head != state.keyed(&entry.hash.0)))
    }

    /// Writes the holder's entries, all or none, and renews its lease.
    pub async fn append(&self, session: &Session, request: AppendRequest) -> Result<EntriesReply, JournalError> {
        let state = self.state(session.run_id).await?;
        let mut blobs = HashSet::new();
        for blob in request.entries.iter().flat_map(crate::protocol::PodEntry::blobs) {
            if self.inner.blobs.size(BlobOf::run(&state, blob)).await?.is_some() {
                blobs.insert(blob);
            }
        }
        let limits = self.limits(&state.tenant.namespace_uid).for_append();
        let (head, epoch) = (request.head, request.epoch);
        if epoch != session.epoch {
            return Err(JournalError::invalid("epoch differs from the session's"));
        }
        self.check_head(session, head, request.head_hash).await?;
        let pod_uid = session.pod_uid.clone();
        let decide = move |state: &RunState, now| {
            let has_blob = |blob: Sha256Digest| blobs.contains(&blob);
            machine::append(state, &Append { pod_uid: &pod_uid, request: &request, has_blob: &has_blob, limits }, now)
        };
        let changed = self.change(session.run_id, Beside::default(), decide).await?;
        self.renew(session);
        let own = head + 1 == changed.before;
        match changed.reply {
            Ok(()) if own => Ok(EntriesReply { entries: changed.entries, more: false }),
            Ok(()) => self.page(&changed.state, head + 1).await,
            Err(refusal) if refusal.code == ErrorCode::Unread => {
                let entries = self.page(&changed.state, head + 1).await?.entries;
                Err(JournalError::Refused { refusal, entries })
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Waits for entries after `head`, at most `waitMs`, and renews the holder's lease.
    pub async fn poll(&self, session: &Session, request: PollRequest) -> Result<EntriesReply, JournalError> {
        if request.epoch != session.epoch {
            return Err(JournalError::invalid("epoch differs from the session's"));
        }
        self.check_head(session, request.head, request.head_hash).await?;
        let mut growth = self.cell(session.run_id).growth();
        let deadline = tokio::time::Instant::now() + Duration::from_millis(request.wait_ms).min(POLL_MAX);
        loop {
            growth.borrow_and_update();
            let state = self.state(session.run_id).await?;
            if let Err(not) = Self::still_holder(&state, session, request.head) {
                return Err(self.not_holder(session.run_id, not).await);
            }
            self.renew(session);
            if state.length > request.head + 1 {
                return self.page(&state, request.head + 1).await;
            }
            if tokio::time::timeout_at(deadline, growth.changed()).await.is_err() {
                self.renew(session);
                return Ok(EntriesReply { entries: Vec::new(), more: false });
            }
        }
    }

    /// A page of what comes after `from`, and whether there is more of it.
    async fn page(&self, state: &RunState, from: u64) -> Result<EntriesReply, JournalError> {
        let entries = self.entries(state.run_id, from).await?;
        let more = entries.last().is_some_and(|last| last.seq + 1 < state.length);
        Ok(EntriesReply { entries, more })
    }

    /// A pod that was told another entry than the journal has knows more than this copy of it, whatever was written since:
    /// what the pod was told and the copy lacks may have been effects. It is believed once the store was read again.
    async fn check_head(&self, session: &Session, head: u64, hash: Option<ChainHash>) -> Result<(), JournalError> {
        let Some(hash) = hash else { return Ok(()) };
        for read_again in [false, true] {
            if read_again {
                self.cell(session.run_id).lose();
            }
            let state = self.state(session.run_id).await?;
            let here = match state.length.checked_sub(head + 1) {
                // Who is not the holder, or is told so by the length alone, hears that.
                _ if session.epoch != state.epoch => return Ok(()),
                None => None,
                Some(0) => Some(state.head),
                Some(_) => self.entry(state.run_id, head).await?.map(|entry| entry.hash),
            };
            if here == Some(hash) {
                return Ok(());
            }
        }
        let refusal = Refusal::new(ErrorCode::Fenced, "the journal does not have the entry that the pod knows");
        Err(self.not_holder(session.run_id, NotHolder::JournalBehind(refusal)).await)
    }

    async fn not_holder(&self, run_id: Uuid, not: NotHolder) -> JournalError {
        match not {
            NotHolder::Fenced(refusal) => refusal.into(),
            NotHolder::JournalBehind(refusal) => match self.block(run_id, BlockCode::JournalBehind).await {
                Ok(()) => refusal.into(),
                Err(error) => error,
            },
        }
    }

    fn still_holder(state: &RunState, session: &Session, head: u64) -> Result<(), NotHolder> {
        let request = AppendRequest { epoch: session.epoch, head, head_hash: None, entries: Vec::new() };
        machine::standing(state, &session.pod_uid, &request)?;
        if state.terminal.is_some() {
            return Err(NotHolder::Fenced(Refusal::new(ErrorCode::Sealed, "the run has ended")));
        }
        if state.holder().is_none() {
            return Err(NotHolder::Fenced(Refusal::new(ErrorCode::Fenced, "the segment is over")));
        }
        Ok(())
    }

    /// Whether what the session's pod says beside its entries is still heard: logs, and blobs of completions.
    pub(super) fn hears(&self, state: &RunState, session: &Session) -> bool {
        let holder = state.holder().is_some_and(|holder| holder.epoch == session.epoch);
        holder || (session.epoch <= state.epoch && state.hears_late(self.now()))
    }

    /// Renews the lease of a holder: whatever it asks for, it was heard of. A holder that is none any more renews nothing.
    pub fn renew(&self, session: &Session) {
        let cell = self.cell(session.run_id);
        if cell.cached().is_some_and(|state| state.epoch == session.epoch) {
            cell.heard_of_holder(self.inner.clock.listened());
        }
    }

    /// Adds lines to the run's log. Lines already there are ignored; a holder that is none any more may still add its
    /// last ones.
    pub async fn log(&self, session: &Session, request: LogRequest) -> Result<(), JournalError> {
        if request.epoch != session.epoch {
            return Err(JournalError::invalid("epoch differs from the session's"));
        }
        let state = self.state(session.run_id).await?;
        if !self.hears(&state, session) {
            return Err(Refusal::new(ErrorCode::Fenced, "the segment is over").into());
        }
        self.renew(session);
        let cell = self.cell(session.run_id);
        let limits = self.limits(&state.tenant.namespace_uid);
        let mut known = cell.log_bytes().await;
        let before = match *known {
            Some(bytes) => bytes,
            None => self.inner.store.log_bytes(session.run_id).await?,
        };
        let mut bytes = before;
        // What is left of the volume is for entries.
        let room = self.free_bytes()? >= limits.reserve;
        let mut lines: Vec<LogLine> = Vec::with_capacity(request.lines.len());
        for mut line in request.lines {
            line.text.truncate(line.text.floor_char_boundary(limits.log_line_max));
            // What is dropped counts no further: a number that is too large never comes down again.
            if room && bytes + line.cost() <= limits.log_max {
                bytes += line.cost();
                lines.push(line);
            }
        }
        let added = self.inner.store.append_log(session.run_id, request.epoch, &lines).await?;
        *known = Some(before + added);
        drop(known);
        self.inner.accounts.add(&state.tenant.namespace_uid, added);
        cell.log_grew();
        Ok(())
    }

    /// Lines of the run's log after the one numbered `after` (epoch, n), at most `limit`. With a `wait`, waits that
    /// long for one.
    pub async fn read_log(
        &self,
        run_id: Uuid,
        after: Option<(u64, u64)>,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<StoredLine>, JournalError> {
        self.state(run_id).await?;
        let mut growth = self.cell(run_id).log_growth();
        let deadline = tokio::time::Instant::now() + wait.min(POLL_MAX);
        loop {
            growth.borrow_and_update();
            let lines = self.inner.store.read_log(run_id, after, limit).await?;
            // Asked after the lines were read: some of them may have been purged meanwhile.
            self.check_kept(run_id, RunPart::Log).await?;
            if !lines.is_empty() || tokio::time::timeout_at(deadline, growth.changed()).await.is_err() {
                return Ok(lines);
            }
        }
    }
}
