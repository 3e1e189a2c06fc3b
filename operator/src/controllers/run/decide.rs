//! What a reconcile of a run is to do before its Jobs are planned. Pure.
//!
//! User actions come first, in the order the API server took them, then gates that nobody answered in time, then Jobs: each of
//! them is decided from what the journal says after the one before, so the plan of Jobs (`jobs/plan.rs`) is made while it is applied.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ntro_crds::UserAction;
use uuid::Uuid;

use super::validate::Open;
use super::{gates, user_actions};
use crate::error::Requeue;

/// Longest sleep until a gate expires, in case the clock jumps.
const LONGEST: Duration = Duration::from_hours(1);

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// User actions without an answer.
    pub user_actions: Vec<Arc<UserAction>>,
    /// Gates whose policy has ended their wait, by identity, and when it did.
    pub expired: Vec<(Uuid, Timestamp)>,
    /// When the next gate expires.
    pub requeue: Requeue,
}

pub(super) fn decide(open: &Open, now: Timestamp) -> Plan {
    let (expired, waiting): (Vec<_>, Vec<_>) =
        gates::expiry::open_until(&open.state, &open.pin).into_iter().partition(|(_, due)| *due <= now);
    let requeue = waiting.iter().map(|(_, due)| Requeue::at(*due, now).at_most(LONGEST));
    Plan {
        user_actions: user_actions::pending(&open.user_actions),
        expired,
        requeue: requeue.fold(Requeue::OnChange, Requeue::sooner),
    }
}
