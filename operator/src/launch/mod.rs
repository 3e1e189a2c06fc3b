//! How a run is begun: pinned, admitted to the journal, given its object, and its first Job released. Whoever wants a run,
//! a schedule or a person, comes through here.

mod admit;
pub(crate) mod burst;
pub(crate) mod pin;
mod request;
pub(crate) mod run_object;
pub(crate) mod slot;

pub(crate) use admit::Admitted;
pub(crate) use burst::Burst;

use crate::cache::{Cache, RunRef};
use crate::context::Context;
use crate::queue::Queue;

/// Begins runs. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Launcher {
    pub context: Context,
    pub cache: Cache,
    pub burst: Burst,
    pub run_queue: Queue<RunRef>,
}
