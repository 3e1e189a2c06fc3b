//! What became of the run of a slot.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use kube::api::ListParams;
use ntro_crds::BlockReason;
use ntro_crds::workflow_run::RunPhase;
use ntro_crds::{WorkflowRun, conditions};

use crate::cluster::Cluster;
use crate::commands::run as runs;
use crate::commands::shared::columns;
use crate::error::{Failure, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SlotState {
    InFlight(RunPhase),
    /// For a person.
    Waiting,
    Succeeded,
    /// It was executed and its object deleted before this object was created. It is not executed again.
    RanBefore,
    /// It failed, was cancelled or refused, or is blocked; says which of them.
    Failed(String),
}

/// By name of the run.
pub(super) type SlotStates = BTreeMap<String, SlotState>;

pub(super) async fn list(cluster: &Cluster, workflow: &str) -> Result<SlotStates> {
    let params = ListParams::default().fields(&format!("spec.request.workflowRef.name={workflow}"));
    let what = format!("list WorkflowRuns of Workflow {}/{workflow}", cluster.namespace());
    let list = runs::api(cluster).list(&params).await.map_err(|e| Failure::from_kube(&what, e))?;
    Ok(list.iter().map(|run| (run.name_any(), SlotState::of(run))).collect())
}

impl SlotState {
    fn of(run: &WorkflowRun) -> Self {
        let status = run.status.clone().unwrap_or_default();
        let stalled = columns::condition(status.conditions.as_ref(), conditions::STALLED);
        match status.phase.unwrap_or(RunPhase::Pending) {
            RunPhase::Succeeded => Self::Succeeded,
            RunPhase::Waiting => Self::Waiting,
            RunPhase::Blocked
                if status.blocked.is_some_and(|blocked| blocked.code == BlockReason::AlreadyRan.as_str()) =>
            {
                Self::RanBefore
            }
            phase @ (RunPhase::Failed | RunPhase::Cancelled | RunPhase::Blocked) => {
                Self::Failed(columns::variant(Some(phase)))
            }
            phase @ (RunPhase::Pending | RunPhase::Queued | RunPhase::Running) => {
                match stalled.filter(|c| c.status == "True") {
                    // It stays pending until somebody changes something.
                    Some(why) => Self::Failed(format!("refused ({}: {})", why.reason, why.message)),
                    None => Self::InFlight(phase),
                }
            }
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::InFlight(phase) => columns::variant(Some(phase)),
            Self::Waiting => columns::variant(Some(RunPhase::Waiting)),
            Self::Succeeded => columns::variant(Some(RunPhase::Succeeded)),
            Self::RanBefore => "ran before".to_owned(),
            Self::Failed(how) => how.clone(),
        }
    }

    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self, Self::InFlight(_))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(status: &Value) -> SlotState {
        let trigger = json!({"kind": "Backfill", "initiator": "anna", "scheduledTime": "2026-05-05T08:00:00Z"});
        let spec = json!({"request": {"workflowRef": {"name": "nav"}, "trigger": trigger}});
        let run = json!({"metadata": {"name": "nav-20260505t0800z"}, "spec": spec, "status": status});
        SlotState::of(&serde_json::from_value(run).unwrap())
    }

    fn stalled(status: &str) -> Value {
        json!([{
            "type": "Stalled", "status": status, "reason": "NotASlot", "message": "no slot",
            "lastTransitionTime": "2026-05-05T08:00:00Z",
        }])
    }

    #[test]
    fn a_run_is_in_flight_until_it_ends_or_needs_somebody() {
        assert_eq!(state(&json!({})), SlotState::InFlight(RunPhase::Pending));
        assert_eq!(state(&json!({"phase": "Running"})), SlotState::InFlight(RunPhase::Running));
        assert_eq!(state(&json!({"phase": "Waiting"})), SlotState::Waiting);
        assert_eq!(state(&json!({"phase": "Cancelled"})), SlotState::Failed("Cancelled".to_owned()));
        let blocked =
            |code: &str| json!({"phase": "Blocked", "blocked": {"code": code}, "conditions": stalled("True")});
        assert_eq!(state(&blocked("CodeError")), SlotState::Failed("Blocked".to_owned()));
        assert_eq!(state(&blocked("AlreadyRan")), SlotState::RanBefore);
        let refused = |status| json!({"phase": "Pending", "conditions": stalled(status)});
        assert_eq!(state(&refused("True")).describe(), "refused (NotASlot: no slot)");
        assert_eq!(state(&refused("False")), SlotState::InFlight(RunPhase::Pending));
    }
}
