//! Names of what the operator creates: short enough for a label, and no two things get the same.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// Longest name of a Workflow or Runbook.
pub const WORKFLOW_MAX: usize = 30;
/// Longest name of a run.
pub const RUN_MAX: usize = 46;
/// Longest name of anything: what fits a label.
pub const NAME_MAX: usize = 63;

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Name of the run of a slot: `<workflow>-<yyyymmddthhmm>z`, in UTC, to the minute.
pub fn slot_run(workflow: &str, slot: Timestamp) -> String {
    format!("{workflow}-{}", slot.strftime("%Y%m%dt%H%Mz"))
}

/// Name of a run a person started: `<workflow>-<5 letters or digits>`, made from 64 random bits.
pub fn manual_run(workflow: &str, random: u64) -> String {
    let bytes = random.to_be_bytes();
    format!("{workflow}-{}", base32(&bytes, 5))
}

/// Name of the Job of a segment: `<run>-<n>`.
pub fn job(run: &str, segment: u64) -> String {
    format!("{run}-{segment}")
}

/// Name of a gate: `<run>-<start of the step>-<8 characters of a hash>`.
pub fn gate(run: &str, step: &str, gate_id: &str) -> String {
    let hash = base32(&digest(&[run, step, gate_id]), 8);
    let length = NAME_MAX.saturating_sub(run.len() + 2 + hash.len());
    let step = slug(step, length);
    if step.is_empty() { format!("{run}-{hash}") } else { format!("{run}-{step}-{hash}") }
}

/// What distinguishes a user action: the same one gets the same name, another one gets another.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserActionIdentity<'a> {
    /// User who acts.
    pub actor: &'a str,
    /// Verb, as in `spec.verb`.
    pub verb: &'a str,
    /// UUID of the run.
    pub run_id: &'a str,
    /// UUID of the gate.
    pub gate_id: Option<&'a str>,
    /// Revision of the gate.
    pub revision: Option<i64>,
    /// Digest of the revision.
    pub digest: Option<&'a str>,
    /// Digest of the draft.
    pub draft_digest: Option<&'a str>,
    /// Digest of the comment.
    pub comment_digest: Option<&'a str>,
    /// Hash of the one-time key.
    pub key_hash: Option<&'a str>,
    /// Anything else that tells one user action from another: a signal's name, the effects to repeat, or a number drawn by the caller.
    pub other: Option<&'a str>,
}

/// Name of a user action on `target`, a gate's or run's name: `<start of the target>-<12 characters of a hash>`.
pub fn user_action(target: &str, identity: &UserActionIdentity<'_>) -> String {
    let revision = identity.revision.map(|n| n.to_string());
    let hash = digest(&[
        target,
        identity.actor,
        identity.verb,
        identity.run_id,
        identity.gate_id.unwrap_or_default(),
        revision.as_deref().unwrap_or_default(),
        identity.digest.unwrap_or_default(),
        identity.draft_digest.unwrap_or_default(),
        identity.comment_digest.unwrap_or_default(),
        identity.key_hash.unwrap_or_default(),
        identity.other.unwrap_or_default(),
    ]);
    format!("{}-{}", slug(target, NAME_MAX - 13), base32(&hash, 12))
}

/// Name of a Workflow that shares its runbook with one of another entity: `<start of the slug>-<8 characters of a hash>`.
pub fn workflow_for(slug: &str, entity: &str) -> String {
    format!("{}-{}", self::slug(slug, WORKFLOW_MAX - 9), base32(&digest(&[slug, entity]), 8))
}

/// Class of a gate, `<runbook>.<step>`: the name roles know it by.
pub fn gate_class(runbook: &str, step: &str) -> String {
    format!("{runbook}.{step}")
}

/// SHA-256 over the parts, each with its length in front, so that no two lists of parts are the same bytes.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// The first `length` characters of `bytes` in base 32, five bits each.
fn base32(bytes: &[u8], length: usize) -> String {
    let bit = |i: usize| bytes.get(i / 8).map_or(0, |byte| (byte >> (7 - i % 8)) & 1);
    (0..length)
        .map(|c| (0..5).fold(0_usize, |value, b| value << 1 | usize::from(bit(c * 5 + b))))
        .map(|value| char::from(BASE32[value]))
        .collect()
}

/// At most `length` characters of `text` that may stand in a name, no dash at either end.
fn slug(text: &str, length: usize) -> String {
    let lower = text.to_ascii_lowercase();
    let safe: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(length).collect();
    safe.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn workflow() -> impl Strategy<Value = String> {
        "[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?"
    }

    fn run() -> impl Strategy<Value = String> {
        prop_oneof![
            (workflow(), any::<u64>()).prop_map(|(w, r)| manual_run(&w, r)),
            (workflow(), 0_i64..250_000_000_000).prop_map(|(w, s)| slot_run(&w, Timestamp::from_second(s).unwrap())),
        ]
    }

    fn is_name(name: &str) -> bool {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        name.len() <= NAME_MAX
            && name.chars().all(|c| plain(c) || c == '-')
            && name.starts_with(plain)
            && name.ends_with(plain)
    }

    #[test]
    fn names_look_as_documented() {
        let slot: Timestamp = "2026-11-05T08:00:00Z".parse().unwrap();
        assert_eq!(slot_run("nav-monthly", slot), "nav-monthly-20261105t0800z");
        assert_eq!(manual_run("nav-monthly", 0), "nav-monthly-aaaaa");
        assert_eq!(job("nav-monthly-aaaaa", 2), "nav-monthly-aaaaa-2");
        let gate = gate("nav-monthly-aaaaa", "Review_Journal", "g");
        assert!(gate.starts_with("nav-monthly-aaaaa-review-journal-"), "{gate}");
        assert_eq!(gate_class("nav-monthly", "review_journal"), "nav-monthly.review_journal");
    }

    proptest! {
        #[test]
        fn every_name_is_a_label(run in run(), n in 1_u64..1_000_000_000_000, step in "[A-Za-z0-9][-_A-Za-z0-9]{0,62}", id in "[0-9a-f-]{36}", actor in ".{0,80}") {
            prop_assert!(run.len() <= RUN_MAX && is_name(&run), "{run}");
            prop_assert!(is_name(&job(&run, n)));
            let gate = gate(&run, &step, &id);
            prop_assert!(is_name(&gate), "{gate}");
            let action = user_action(&gate, &UserActionIdentity { actor: &actor, ..UserActionIdentity::default() });
            prop_assert!(is_name(&action), "{action}");
        }

        #[test]
        fn a_run_name_tells_its_workflow(workflow in workflow(), random: u64) {
            let name = manual_run(&workflow, random);
            prop_assert_eq!(name.rsplit_once('-').unwrap().0, workflow);
        }

        #[test]
        fn slots_and_workflows_never_share_a_name(pairs in prop::collection::vec((workflow(), 0_i64..4_000_000), 2..40)) {
            let mut seen = HashMap::new();
            for (workflow, minute) in pairs {
                let name = slot_run(&workflow, Timestamp::from_second(minute * 60).unwrap());
                let before = seen.insert(name, (workflow.clone(), minute));
                prop_assert!(before.is_none() || before == Some((workflow, minute)));
            }
        }

        #[test]
        fn segments_of_all_runs_have_their_own_jobs(runs in prop::collection::vec((run(), 1_u64..50), 2..40)) {
            let mut seen = HashMap::new();
            for (run, n) in runs {
                let before = seen.insert(job(&run, n), (run.clone(), n));
                prop_assert!(before.is_none() || before == Some((run, n)));
            }
        }

        #[test]
        fn gates_differ_by_identity(run in run(), step in "[a-z_]{1,40}", a in "[0-9a-f]{8}", b in "[0-9a-f]{8}") {
            prop_assert_eq!(gate(&run, &step, &a) == gate(&run, &step, &b), a == b);
        }

        #[test]
        fn user_actions_differ_by_every_field(field in 0_usize..9, value in "[a-z0-9:]{1,20}") {
            let plain = UserActionIdentity { actor: "amy", verb: "approve", run_id: "r", ..UserActionIdentity::default() };
            let mut other = plain;
            match field {
                0 => other.actor = &value,
                1 => other.verb = &value,
                2 => other.gate_id = Some(&value),
                3 => other.revision = Some(1),
                4 => other.digest = Some(&value),
                5 => other.draft_digest = Some(&value),
                6 => other.comment_digest = Some(&value),
                7 => other.key_hash = Some(&value),
                _ => other.other = Some(&value),
            }
            prop_assume!(value != "amy" && value != "approve");
            prop_assert_ne!(user_action("gate", &plain), user_action("gate", &other));
            prop_assert_eq!(user_action("gate", &other), user_action("gate", &other));
        }
    }
}
