//! Times as the journal writes them: RFC 3339, UTC, exactly six digits of a second.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer};

/// `time` without what is finer than a microsecond.
pub fn micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

/// The wire text of a time, e.g. `2026-10-05T08:00:00.000000Z`.
pub fn text(time: Timestamp) -> String {
    format!("{time:.6}")
}

pub(crate) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*time))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    Timestamp::deserialize(deserializer)
}

/// The same for a field that may be absent.
pub(crate) mod option {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the signature serde asks for")]
    pub(crate) fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Option::<Timestamp>::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_text_always_has_six_digits() {
        let time: jiff::Timestamp = "2026-10-05T08:00:00Z".parse().unwrap();
        assert_eq!(super::text(time), "2026-10-05T08:00:00.000000Z");
        let fine: jiff::Timestamp = "2026-10-05T08:00:00.123456789Z".parse().unwrap();
        assert_eq!(super::text(super::micros(fine)), "2026-10-05T08:00:00.123456Z");
    }
}
