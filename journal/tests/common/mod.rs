//! What the tests of the journal begin their runs with.

use ntro_journal::protocol::{Payload, Pin, RunTrigger, RunWorkflow, entries};
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
