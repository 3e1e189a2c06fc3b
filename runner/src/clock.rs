//! The time of day, as reports and the log write it.

use jiff::Timestamp;

/// RFC 3339, UTC, microseconds.
pub(crate) fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_has_microseconds_and_is_utc() {
        let now = super::now();
        assert_eq!((now.len(), now.as_bytes()[19], now.ends_with('Z')), (27, b'.', true), "{now}");
    }
}
