//! Where the pod stands in the run's journal: its epoch, and the newest entry that passed.

use std::cell::Cell;

#[derive(Debug)]
pub(crate) struct Position {
    epoch: u64,
    head: Cell<u64>,
}

impl Position {
    pub(crate) fn new(epoch: u64, head: u64) -> Self {
        Self { epoch, head: Cell::new(head) }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn head(&self) -> u64 {
        self.head.get()
    }

    /// An entry with this `seq` passed. Replies may overtake each other.
    pub(crate) fn learn(&self, seq: u64) {
        self.head.set(self.head.get().max(seq));
    }
}
