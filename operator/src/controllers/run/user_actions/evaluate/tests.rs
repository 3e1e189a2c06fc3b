use ntro_journal::machine::{self, GateDecision};
use ntro_journal::protocol::Verb as Said;
use serde_json::{Value, json};

use super::*;
use crate::testing::runs::{asking, at, created, held, pin, queued};

/// A run with an open gate of each of two steps.
fn state() -> RunState {
    asking(&asking(&held(&queued(&created())), "prepare"), "review")
}

fn gate<'a>(state: &'a RunState, step: &str) -> &'a Gate {
    state.gates.values().find(|gate| gate.step == step).unwrap()
}

/// The approval of the gate of `review` by Amy as it should be, with one field of its spec replaced.
fn action(state: &RunState, path: &str, value: Value) -> UserAction {
    let gate = gate(state, "review");
    let id = gate.id.to_string();
    let mut act = json!({
        "apiVersion": "ntro.dev/v1alpha1", "kind": "UserAction",
        "metadata": {"name": "act", "uid": "act-uid", "creationTimestamp": at(100).to_string()},
        "spec": {
            "actor": "amy", "groups": ["controllers"], "verb": "approve",
            "workflow": "nav", "run": "nav-abcde", "runId": state.run_id,
            "gate": {
                "name": names::gate("nav-abcde", "review", &id), "gateId": id, "class": "nav-monthly.review",
                "revision": gate.revision, "digest": gate.content_digest,
            },
        },
    });
    if !path.is_empty() {
        *act["spec"].pointer_mut(path).unwrap() = value;
    }
    serde_json::from_value(act).unwrap()
}

fn proof() -> Proof {
    Proof(Some(at(50)))
}

fn refusal(verdict: &Verdict) -> Option<UserActionReason> {
    match verdict {
        Verdict::Refuse(reason) => Some(*reason),
        _ => None,
    }
}

#[test]
fn an_act_that_says_what_it_is_about_is_let_through() {
    let state = state();
    let verdict = evaluate(&action(&state, "", Value::Null), &state, &pin(None), proof());
    assert!(matches!(verdict, Verdict::Decide { gate: id, .. } if id == gate(&state, "review").id), "{verdict:?}");
}

#[test]
fn an_act_about_something_else_is_refused() {
    let state = state();
    let other = gate(&state, "prepare").id.to_string();
    let table = [
        ("/run", json!("nav-other"), UserActionReason::RunMismatch),
        ("/runId", json!(Uuid::from_u128(8)), UserActionReason::RunMismatch),
        ("/workflow", json!("payroll"), UserActionReason::WorkflowMismatch),
        ("/gate/gateId", json!(Uuid::from_u128(9)), UserActionReason::GateMismatch),
        ("/gate/gateId", json!(other), UserActionReason::GateMismatch),
        ("/gate/name", json!("nav-abcde-other"), UserActionReason::GateMismatch),
        ("/gate/class", json!("nav-monthly.prepare"), UserActionReason::ClassMismatch),
        ("/gate/class", json!("payroll.review"), UserActionReason::ClassMismatch),
        ("/verb", json!("correct"), UserActionReason::Incomplete),
    ];
    for (path, value, wanted) in table {
        let verdict = evaluate(&action(&state, path, value.clone()), &state, &pin(None), proof());
        assert_eq!(refusal(&verdict), Some(wanted), "{path} = {value}");
    }
}

#[test]
fn without_a_proof_that_is_older_nothing_counts() {
    let state = state();
    for since in [None, Some(at(100)), Some(at(101))] {
        for verb in ["approve", "cancel"] {
            let action = action(&state, "/verb", json!(verb));
            assert_eq!(
                refusal(&evaluate(&action, &state, &pin(None), Proof(since))),
                Some(UserActionReason::ApprovalPolicyMissing)
            );
        }
    }
}

#[test]
fn the_frozen_policy_says_who() {
    let state = state();
    let table = [
        (json!({}), None),
        (json!({"users": ["amy"]}), None),
        (json!({"users": ["bob"]}), Some(UserActionReason::NotInPolicy)),
        (json!({"groups": ["controllers"]}), None),
        (json!({"groups": ["auditors"]}), Some(UserActionReason::NotInPolicy)),
        (json!({"users": ["bob"], "groups": ["controllers"]}), None),
        (json!({"distinctFrom": ["initiator"]}), None),
        (json!({"distinctFrom": ["policyAuthor"]}), Some(UserActionReason::NotDistinct)),
    ];
    for (rule, wanted) in table {
        let mut of_step = rule.clone();
        of_step["step"] = json!("review");
        for policy in [json!({"author": "amy", "gates": [of_step]}), json!({"author": "amy", "default": rule})] {
            let verdict = evaluate(&action(&state, "", Value::Null), &state, &pin(Some(policy.clone())), proof());
            assert_eq!(refusal(&verdict), wanted, "{policy}");
        }
    }
}

#[test]
fn a_rule_of_another_step_does_not_hold() {
    let state = state();
    let policy = json!({"author": "pat", "gates": [{"step": "prepare", "users": ["bob"]}]});
    assert_eq!(refusal(&evaluate(&action(&state, "", Value::Null), &state, &pin(Some(policy)), proof())), None);
}

#[test]
fn the_initiator_and_other_deciders_can_be_kept_out() {
    let state = state();
    let first = gate(&state, "prepare");
    let decide = GateDecision {
        gate_id: first.id,
        revision: 1,
        digest: None,
        verb: Said::Approve,
        actor: "amy".to_owned(),
        groups: Vec::new(),
        user_action: "earlier".to_owned(),
        acted_at: at(4),
        comment: None,
        correction: None,
    };
    let decided = machine::decide(&state, &decide, at(4)).state;
    let verdict = |state: &RunState, actor: &str, from: &str| {
        let policy = json!({"author": "pat", "default": {"distinctFrom": [from]}});
        refusal(&evaluate(&action(state, "/actor", json!(actor)), state, &pin(Some(policy)), proof()))
    };
    assert_eq!(verdict(&state, "ina", "initiator"), Some(UserActionReason::NotDistinct));
    for from in ["otherDeciders", "gate:prepare"] {
        assert_eq!(verdict(&state, "amy", from), None);
        assert_eq!(verdict(&decided, "amy", from), Some(UserActionReason::NotDistinct));
        assert_eq!(verdict(&decided, "bob", from), None);
    }
    assert_eq!(verdict(&decided, "amy", "gate:review"), None);
}

#[test]
fn acts_on_runs_need_what_their_verb_needs() {
    let state = state();
    let verdict = |verb: &str| evaluate(&action(&state, "/verb", json!(verb)), &state, &pin(None), proof());
    assert_eq!(verdict("cancel"), Verdict::Cancel);
    assert_eq!(verdict("retry"), Verdict::Retry);
    assert_eq!(verdict("view"), Verdict::Refuse(UserActionReason::Incomplete));
    assert_eq!(verdict("signal"), Verdict::Refuse(UserActionReason::Incomplete));
}
