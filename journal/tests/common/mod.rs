//! What the tests of the journal begin their runs with.

#![allow(dead_code, reason = "each test takes what it needs")]

use ntro_journal::AttachPod;
use ntro_journal::protocol::{Payload, Pin, RunTrigger, RunWorkflow, RunnerVersions, entries};
use uuid::Uuid;

/// The first entry of a run that a person asked for, without a slot and with an empty pin and input.
pub fn run_created(run_id: Uuid, name: &str) -> entries::RunCreated {
    entries::RunCreated {
        run_id,
        namespace: "acme".to_owned(),
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
