//! The accounting period of a time.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use thiserror::Error;

/// Length of a period, which shows in how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Written `2026-10-31`.
    Day,
    /// Written `2026-10`.
    Month,
    /// Written `2026-Q4`.
    Quarter,
    /// Written `2026`.
    Year,
}

/// The offset leads to a year that no date has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("period offset {0} is out of range")]
pub struct OutOfRange(pub i32);

/// The period that `time` falls into in `zone`, `offset` periods away: -1 is the one before.
pub fn of(time: Timestamp, zone: &TimeZone, unit: Unit, offset: i32) -> Result<String, OutOfRange> {
    let date = time.to_zoned(zone.clone()).date();
    let span = Span::new();
    let span = match unit {
        Unit::Day => span.try_days(offset),
        Unit::Month => span.try_months(offset),
        Unit::Quarter => span.try_months(offset.saturating_mul(3)),
        Unit::Year => span.try_years(offset),
    };
    let span = span.map_err(|_| OutOfRange(offset))?;
    // Months are counted from their first day: a month before 31 March is February, whatever its length.
    let start = if unit == Unit::Day { date } else { date.first_of_month() };
    let date = start.checked_add(span).map_err(|_| OutOfRange(offset))?;
    Ok(match unit {
        Unit::Day => date.to_string(),
        Unit::Month => format!("{:04}-{:02}", date.year(), date.month()),
        Unit::Quarter => format!("{:04}-Q{}", date.year(), (date.month() - 1) / 3 + 1),
        Unit::Year => format!("{:04}", date.year()),
    })
}

/// The unit of a written period; `None` if there is no such period.
pub fn unit_of(period: &str) -> Option<Unit> {
    let (year, rest) = period.split_at_checked(4).filter(|(year, _)| is_number(year))?;
    match rest.strip_prefix('-') {
        None => rest.is_empty().then_some(Unit::Year),
        Some("Q1" | "Q2" | "Q3" | "Q4") => Some(Unit::Quarter),
        Some(month) if month.len() == 2 => is_date(&format!("{year}-{month}-01")).then_some(Unit::Month),
        Some(_) => is_date(period).then_some(Unit::Day),
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.split('-').all(is_number) && text.parse::<Date>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_says_how_long_it_is() {
        let table = [
            ("2026", Some(Unit::Year)),
            ("2026-Q4", Some(Unit::Quarter)),
            ("2026-12", Some(Unit::Month)),
            ("2028-02-29", Some(Unit::Day)),
        ];
        for (period, unit) in table {
            assert_eq!(unit_of(period), unit, "{period}");
        }
        for bad in [
            "",
            "20",
            "-026",
            "2026-",
            "2026-0",
            "2026-00",
            "2026-13",
            "2026-+1",
            "2026-Q5",
            "2026-02-30",
            "2026-1-1",
            "2026-10-31T",
            "２０２６",
        ] {
            assert_eq!(unit_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn periods_as_documented() {
        let table = [
            ("2026-11-05T08:00:00Z", "UTC", Unit::Month, -1, "2026-10"),
            ("2026-01-05T08:00:00Z", "UTC", Unit::Month, -1, "2025-12"),
            ("2026-03-31T08:00:00Z", "UTC", Unit::Month, -1, "2026-02"),
            ("2026-11-05T08:00:00Z", "UTC", Unit::Quarter, -1, "2026-Q3"),
            ("2026-11-05T08:00:00Z", "UTC", Unit::Year, 0, "2026"),
            ("2026-11-01T00:30:00Z", "UTC", Unit::Day, -1, "2026-10-31"),
            // Still October in New York.
            ("2026-11-01T02:00:00Z", "America/New_York", Unit::Month, 0, "2026-10"),
        ];
        for (time, zone, unit, offset, period) in table {
            let zone = TimeZone::get(zone).unwrap();
            assert_eq!(of(time.parse().unwrap(), &zone, unit, offset).unwrap(), period, "{time} {unit:?} {offset}");
        }
    }

    #[test]
    fn an_offset_out_of_range_is_refused() {
        let time = Timestamp::UNIX_EPOCH;
        assert_eq!(of(time, &TimeZone::UTC, Unit::Year, 100_000), Err(OutOfRange(100_000)));
    }
}
