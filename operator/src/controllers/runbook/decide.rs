//! When the repository is asked again. Pure.
//!
//! Passes happen for many reasons, a change of a Workflow being one. Registries are only asked on the interval, when the
//! spec changed, when a person asks for it, and after a failure not before its back-off is over.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::validate::Pin;

/// What makes an earlier answer of the repository void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// UID of the object.
    pub uid: Option<String>,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// The annotation that asks for a pass now.
    pub requested_at: Option<String>,
    /// The other versions needed.
    pub pins: BTreeSet<Pin>,
}

/// The last time the repository was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What was asked.
    pub question: Question,
    /// Not before this instant again, unless the question changes.
    pub again: Timestamp,
}

/// Whether to ask now, or in how long.
pub fn wait(asked: Option<&Asked>, question: &Question, now: Timestamp) -> Option<Duration> {
    let asked = asked.filter(|asked| asked.question == *question)?;
    let left = asked.again.duration_since(now);
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// The interval with a tenth of jitter either way, so that many Runbooks do not ask together. `jitter` in 0..1.
pub fn spread(interval: Duration, jitter: f64) -> Duration {
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
            pins: BTreeSet::new(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_same_question_waits_for_its_time_and_another_does_not() {
        let asked = Asked { question: question(1, None), again: at(100) };
        assert_eq!(wait(None, &question(1, None), at(1)), None);
        assert_eq!(wait(Some(&asked), &question(1, None), at(40)), Some(Duration::from_mins(1)));
        assert_eq!(wait(Some(&asked), &question(1, None), at(100)), None);
        assert_eq!(wait(Some(&asked), &question(1, None), at(101)), None);
        assert_eq!(wait(Some(&asked), &question(2, None), at(40)), None);
        assert_eq!(wait(Some(&asked), &question(1, Some("now")), at(40)), None);
    }
}
