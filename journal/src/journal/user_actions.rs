//! User actions.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Beside, Journal};
use crate::error::JournalError;
use crate::machine::{self, GateDecision, Refusal, Retry, RunState, SignalIn, UserActionOutcome};
use crate::protocol::{ErrorCode, Payload, RefusalReason};
use crate::store::{Draft, ViewKey};

/// Names a draft: the hash of the key it was sent under and its keyed digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftRef {
    /// Hash of the key.
    pub key_hash: String,
    /// Keyed digest.
    pub digest: String,
}

impl Journal {
    /// Decides a gate. The drafts it names are used up with it; one that is not there refuses it.
    pub async fn decide(
        &self,
        run_id: Uuid,
        decision: GateDecision<DraftRef>,
    ) -> Result<UserActionOutcome, JournalError> {
        let user_action = &decision.user_action;
        if let Some(outcome) = self.state(run_id).await?.user_actions.get(user_action) {
            return Ok(outcome.clone());
        }
        let (mut used, mut used_bytes, mut payloads) = (Vec::new(), 0, Vec::new());
        for draft in [&decision.comment, &decision.correction] {
            let Some(draft) = draft else {
                payloads.push(None);
                continue;
            };
            let Some(payload) = self.draft(run_id, draft, decision.acted_at).await? else {
                let (verb, reason) = (decision.verb.as_str(), RefusalReason::DraftMissing.as_str());
                return self.refuse(run_id, user_action, &decision.actor, verb, reason).await;
            };
            used.push(draft.digest.clone());
            used_bytes += payload.size();
            payloads.push(Some(payload));
        }
        let correction = payloads.pop().flatten();
        let comment = payloads.pop().flatten();
        let GateDecision { gate_id, revision, digest, verb, actor, groups, user_action, acted_at, .. } = decision;
        let decision =
            GateDecision { gate_id, revision, digest, verb, actor, groups, user_action, acted_at, comment, correction };
        let beside = Beside { drafts: used, ..Beside::default() };
        let changed = self.change(run_id, beside, move |state, now| machine::decide(state, &decision, now)).await?;
        if !changed.entries.is_empty() {
            self.inner.accounts.take(&changed.state.tenant.namespace_uid, used_bytes);
        }
        Ok(changed.reply?)
    }

    /// Sends a signal; `args` is the text of a JSON array.
    pub async fn signal(
        &self,
        run_id: Uuid,
        user_action: &str,
        actor: &str,
        name: &str,
        args: String,
    ) -> Result<UserActionOutcome, JournalError> {
        if serde_json::from_str::<Vec<serde::de::IgnoredAny>>(&args).is_err() {
            let reason = RefusalReason::Malformed.as_str();
            return self.refuse(run_id, user_action, actor, "signal", reason).await;
        }
        let state = self.state(run_id).await?;
        let args = self.payload((&state.namespace, &state.tenant), run_id, args).await?;
        let signal =
            SignalIn { name: name.to_owned(), args, actor: actor.to_owned(), user_action: user_action.to_owned() };
        self.changed(run_id, move |state, now| machine::signal(state, &signal, now)).await
    }

    /// Asks for the run's end.
    pub async fn cancel(
        &self,
        run_id: Uuid,
        user_action: &str,
        actor: &str,
    ) -> Result<UserActionOutcome, JournalError> {
        let (user_action, actor) = (user_action.to_owned(), actor.to_owned());
        self.changed(run_id, move |state, now| machine::cancel(state, &user_action, &actor, now)).await
    }

    /// Resumes a blocked run; `repeat_effects` are the commands of the unknown effects that may be repeated.
    pub async fn retry(
        &self,
        run_id: Uuid,
        user_action: &str,
        actor: &str,
        repeat_effects: Vec<u64>,
    ) -> Result<UserActionOutcome, JournalError> {
        let retry = Retry { actor: actor.to_owned(), user_action: user_action.to_owned(), repeat_effects };
        self.changed(run_id, move |state, now| machine::retry(state, &retry, now)).await
    }

    /// Records a user action that has no effect, for a reason the operator found: a bounded word of its own or a
    /// [`RefusalReason`].
    pub async fn refuse(
        &self,
        run_id: Uuid,
        user_action: &str,
        actor: &str,
        verb: &str,
        reason: &'static str,
    ) -> Result<UserActionOutcome, JournalError> {
        let (user_action, actor, verb) = (user_action.to_owned(), actor.to_owned(), verb.to_owned());
        self.changed(run_id, move |state, now| machine::refuse(state, (&user_action, &actor, &verb), reason, now)).await
    }

    /// Opens the run's payload to whoever has the key with this hash, until then.
    pub async fn view(
        &self,
        run_id: Uuid,
        user_action: &str,
        actor: &str,
        key_hash: &str,
        until: Timestamp,
    ) -> Result<UserActionOutcome, JournalError> {
        let view = ViewKey {
            key_hash: key_hash.to_owned(),
            namespace_uid: self.state(run_id).await?.tenant.namespace_uid.clone(),
            run_id,
            actor: actor.to_owned(),
            until,
        };
        let (user_action, actor) = (user_action.to_owned(), actor.to_owned());
        let beside = Beside { view: Some(view), ..Beside::default() };
        let decide = move |state: &RunState, now| machine::view(state, &user_action, &actor, until, now);
        Ok(self.change(run_id, beside, decide).await?.reply?)
    }

    /// What a key opens now in the namespace with this UID, if it opens anything.
    pub async fn view_key(&self, namespace_uid: &str, key_hash: &str) -> Result<Option<ViewKey>, JournalError> {
        let view = self.inner.store.view_key(namespace_uid, key_hash).await?;
        Ok(view.filter(|view| view.until > self.now()))
    }

    /// Records that a person has read `what`, once per view.
    pub async fn record_read(&self, run_id: Uuid, actor: &str, what: &str) -> Result<(), JournalError> {
        let (actor, what) = (actor.to_owned(), what.to_owned());
        self.changed(run_id, move |state, now| machine::read(state, &actor, &what, now)).await
    }

    /// Keeps what a person sent (a JSON text) until a user action names it; gives the keyed digest by which it does.
    pub async fn put_draft(&self, run_id: Uuid, key_hash: &str, text: String) -> Result<String, JournalError> {
        let limits = self.inner.settings.limits;
        if text.len() as u64 > limits.blob_max {
            return Err(crate::blobs::BlobError::TooLarge(limits.blob_max).into());
        }
        if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err() {
            return Err(JournalError::invalid("a draft is a JSON text"));
        }
        let state = self.state(run_id).await?;
        let ttl = SignedDuration::try_from(self.inner.settings.draft_ttl).unwrap_or(SignedDuration::MAX);
        let draft = Draft {
            namespace_uid: state.tenant.namespace_uid.clone(),
            run_id,
            key_hash: key_hash.to_owned(),
            digest: state.keyed(text.as_bytes()),
            text,
            expires: self.now().checked_add(ttl).unwrap_or(Timestamp::MAX),
        };
        let sent = self.inner.store.draft(run_id, key_hash, &draft.digest).await?.is_some();
        let size = if sent { 0 } else { draft.text.len() as u64 };
        let full = self.inner.store.draft_bytes(run_id).await? + size > limits.drafts_max;
        if !sent && (full || self.is_full(&draft.namespace_uid)) {
            let message = "too much was sent to the run that no user action names yet; it is thrown away in an hour";
            return Err(Refusal::new(ErrorCode::TooLarge, message).into());
        }
        self.inner.store.put_draft(&draft).await?;
        self.inner.accounts.add(&draft.namespace_uid, size);
        Ok(draft.digest)
    }

    /// The text of a draft whose time was not over when the user action that names it was made, however late that is read.
    pub async fn draft_text(
        &self,
        run_id: Uuid,
        draft: &DraftRef,
        acted_at: Timestamp,
    ) -> Result<Option<String>, JournalError> {
        let found = self.inner.store.draft(run_id, &draft.key_hash, &draft.digest).await?;
        Ok(found.filter(|found| found.expires > acted_at).map(|found| found.text))
    }

    /// The draft with this digest, if that person sent it to the run and it is still there.
    pub async fn draft_sent_by(
        &self,
        run_id: Uuid,
        actor: &str,
        digest: &str,
    ) -> Result<Option<DraftRef>, JournalError> {
        let key_hash = self.inner.store.draft_sent_by(run_id, actor, digest).await?;
        Ok(key_hash.map(|key_hash| DraftRef { key_hash, digest: digest.to_owned() }))
    }

    async fn draft(
        &self,
        run_id: Uuid,
        draft: &DraftRef,
        acted_at: Timestamp,
    ) -> Result<Option<Payload>, JournalError> {
        let state = self.state(run_id).await?;
        match self.draft_text(run_id, draft, acted_at).await? {
            Some(text) => Ok(Some(self.payload((&state.namespace, &state.tenant), run_id, text).await?)),
            None => Ok(None),
        }
    }
}
