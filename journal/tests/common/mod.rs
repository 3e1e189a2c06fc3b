//! What the tests of the journal begin their runs with.

#![allow(dead_code, reason = "each test takes what it needs")]

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use ntro_journal::protocol::{
    AppendRequest, Payload, Pin, PodEntry, RunTenant, RunTrigger, RunWorkflow, RunnerVersions, Sha256Digest, entries,
};
use ntro_journal::{AttachPod, Journal, JournalError, Session};
use uuid::Uuid;

/// The first entry of a run that a person asked for, without a slot and with an empty pin and input.
pub fn run_created(run_id: Uuid, name: &str) -> entries::RunCreated {
    entries::RunCreated {
        run_id,
        namespace: "acme".to_owned(),
        tenant: RunTenant { slug: "acme".to_owned(), namespace_uid: "acme".to_owned() },
        name: name.to_owned(),
        workflow: RunWorkflow { name: "nav".to_owned(), uid: "w".to_owned() },
        slot: None,
        trigger: RunTrigger { kind: "Manual".to_owned(), initiator: "ann".to_owned() },
        pin: Pin::default(),
        input: Payload::inline("{}"),
    }
}

/// A pod of a Job, with a runner of today and no published head.
pub fn pod(job: &str) -> AttachPod {
    let text = || "1".to_owned();
    AttachPod {
        pod_name: format!("pod-of-{job}"),
        pod_uid: format!("uid-of-{job}"),
        job_uid: job.to_owned(),
        versions: RunnerVersions { runtime: text(), protocol_min: 1, protocol_max: 1, python: text(), sdk: text() },
        published: None,
    }
}

/// These bytes, as they come from a pod.
pub fn pieces(bytes: &[u8]) -> impl Stream<Item = Result<Bytes, std::io::Error>> + use<> {
    let pieces: Vec<_> = bytes.chunks(3).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    futures::stream::iter(pieces)
}

/// Keeps these bytes as a blob of the session's run.
pub async fn put_blob(journal: &Journal, session: &Session, bytes: &[u8]) -> Result<Sha256Digest, JournalError> {
    let digest = Sha256Digest::of(bytes);
    journal.put_blob(session, digest, bytes.len() as u64, pieces(bytes)).await?;
    Ok(digest)
}

/// A blob, whole.
pub async fn get_blob(journal: &Journal, run: Uuid, digest: Sha256Digest) -> Result<Vec<u8>, JournalError> {
    let pieces: Vec<Bytes> = journal.get_blob(run, digest).await?.pieces.try_collect().await?;
    Ok(pieces.concat())
}

/// The export of a run, whole.
pub async fn export(journal: &Journal, run: Uuid) -> String {
    journal.audit_export(run).await.unwrap().try_collect().await.unwrap()
}

/// Appends as the holder that knows all there is.
pub async fn append(journal: &Journal, session: &Session, entries: Vec<PodEntry>) -> Result<(), JournalError> {
    let head = journal.state(session.run_id).await?.length - 1;
    let request = AppendRequest { epoch: session.epoch, head, head_hash: None, entries };
    journal.append(session, request).await.map(drop)
}
