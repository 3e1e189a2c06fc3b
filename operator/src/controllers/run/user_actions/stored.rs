//! Until when the API server has stored what people did. Pure.

use jiff::{SignedDuration, Timestamp};

/// An object is stored, and listed, a moment after it was given its `creationTimestamp`: admission lies in between. What is a
/// matter of hours or days, a gate's deadline, can wait for that.
const STORING: SignedDuration = SignedDuration::from_secs(5);
/// A `creationTimestamp` has no fraction: it is up to this much earlier than the truth.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The time until which every user action with such a `creationTimestamp` is stored, when the API server's clock shows `now`.
pub(super) fn stored_upto(now: Timestamp) -> Timestamp {
    let made = now.checked_sub(STORING + SECOND).unwrap_or(Timestamp::MIN);
    Timestamp::from_second(made.as_second()).unwrap_or(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_of_that_second_is_over_and_stored() {
        let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
        assert_eq!(stored_upto(at(106_000)), at(100_000), "made until 100.999, stored until 105.999");
        assert_eq!(stored_upto(at(106_999)), at(100_000));
        assert_eq!(stored_upto(at(105_999)), at(99_000));
    }
}
