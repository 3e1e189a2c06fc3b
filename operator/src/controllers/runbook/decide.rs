//! Whether the repository is asked now. Pure.
//!
//! Reconciles happen for many reasons, a change of a Workflow being one. Registries are only asked on the interval, when the
//! spec changed, when a person asks for it, and after a failure not before its back-off is over.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::error::RunbookError;
use super::observe::{Observed, Question};
use super::validate::{Pinned, Wanted};
use crate::error::Requeue;

/// What is to be done.
pub(super) enum Decision {
    /// Nothing for so long.
    Wait(Duration),
    Act(Plan),
}

/// What is to be done now.
pub(super) enum Plan {
    /// The spec says to leave everything as it is.
    Suspend,
    /// Nothing can be asked.
    Fail(RunbookError),
    /// The repository is asked for what is wanted and for what the namespace needs besides.
    Resolve { wanted: Wanted, pinned: BTreeSet<Pinned> },
}

/// The last time the repository was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    question: Question,
    /// Not before this instant again, unless the question changes. Unknown until the reconcile is over.
    again: Option<Timestamp>,
}

impl Asked {
    pub(super) fn now(question: Question) -> Self {
        Self { question, again: None }
    }

    /// Notes when the repository is asked again, once per question.
    pub(super) fn answered(&mut self, requeue: Requeue, now: Timestamp) {
        let wait = match requeue {
            Requeue::After(delay) => SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX),
            Requeue::OnChange => SignedDuration::MAX,
        };
        self.again.get_or_insert(now.saturating_add(wait).unwrap_or(Timestamp::MAX));
    }
}

pub(super) fn decide(
    observed: &Observed,
    validated: Result<Wanted, RunbookError>,
    asked: Option<&Asked>,
    now: Timestamp,
) -> Decision {
    if observed.runbook.spec.suspend == Some(true) {
        return Decision::Act(Plan::Suspend);
    }
    // A tenant that was just prepared does not wait for the interval.
    if let Some(problem) = observed.tenant_problem {
        return Decision::Act(Plan::Fail(problem.error(&observed.key.namespace)));
    }
    if let Some(left) = wait(asked, &observed.question, now) {
        return Decision::Wait(left);
    }
    let pinned = &observed.question.pinned | &observed.executed;
    Decision::Act(validated.map_or_else(Plan::Fail, |wanted| Plan::Resolve { wanted, pinned }))
}

/// In how long the repository may be asked, if not now.
fn wait(asked: Option<&Asked>, question: &Question, now: Timestamp) -> Option<Duration> {
    let asked = asked.filter(|asked| asked.question == *question)?;
    let left = asked.again?.duration_since(now);
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// The interval with a tenth of jitter either way, so that many Runbooks do not ask together. `jitter` in 0..1.
pub(super) fn spread(interval: Duration, jitter: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(generation: i64, requested_at: Option<&str>) -> Question {
        Question {
            uid: Some("u".to_owned()),
            generation: Some(generation),
            requested_at: requested_at.map(str::to_owned),
            pinned: BTreeSet::new(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_same_question_waits_for_its_time_and_another_does_not() {
        let asked = Asked { question: question(1, None), again: Some(at(100)) };
        assert_eq!(wait(None, &question(1, None), at(1)), None);
        assert_eq!(wait(Some(&asked), &question(1, None), at(40)), Some(Duration::from_mins(1)));
        assert_eq!(wait(Some(&asked), &question(1, None), at(100)), None);
        assert_eq!(wait(Some(&asked), &question(1, None), at(101)), None);
        assert_eq!(wait(Some(&asked), &question(2, None), at(40)), None);
        assert_eq!(wait(Some(&asked), &question(1, Some("now")), at(40)), None);
    }
}
