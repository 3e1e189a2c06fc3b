//! Cron schedules: `croner` behind a strict layer of five fields.
//!
//! Fields are minute, hour, day of month, month and day of week, or an alias (`@hourly`, `@daily`, `@midnight`, `@weekly`,
//! `@monthly`, `@yearly`, `@annually`). Day of month and day of week, both set, mean either. Daylight saving: a fixed time
//! fires once a day, at the end of the gap if it falls into one; lists, ranges and steps fire in real time.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;

use crate::zone::{self, UnknownZone};

const ALIASES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// A field: its name, its range, and names that stand for numbers, from `first` on.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    words: &'static [&'static str],
    first: u32,
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, words: &[], first: 0 },
    Field { name: "hour", min: 0, max: 23, words: &[], first: 0 },
    Field { name: "day of month", min: 1, max: 31, words: &[], first: 0 },
    Field { name: "month", min: 1, max: 12, words: MONTHS, first: 1 },
    Field { name: "day of week", min: 0, max: 7, words: DAYS, first: 0 },
];

/// Why a schedule was refused. Messages name the field and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadSchedule {
    /// Not five fields.
    #[error(
        "schedule `{text}` has {found} fields: it takes five, `minute hour day-of-month month day-of-week`, for example `0 8 5 * *`"
    )]
    Fields {
        /// What was given.
        text: String,
        /// How many fields it has.
        found: usize,
    },
    /// Not an alias.
    #[error(
        "schedule `{0}` is no alias: there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually"
    )]
    Alias(String),
    /// A field is wrong.
    #[error("schedule `{text}`, {field}: {problem}")]
    Field {
        /// What was given.
        text: String,
        /// Name of the field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// No date fits.
    #[error("schedule `{0}` never fires: no date fits it")]
    Never(String),
    /// The time zone is wrong.
    #[error("timeZone {0}")]
    Zone(#[from] UnknownZone),
}

/// A schedule in its time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Reads a schedule; `zone` is an IANA name, UTC if absent.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, BadSchedule> {
        let zone = zone::parse(zone)?;
        let pattern = strict(text)?;
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&pattern).map_err(|e| BadSchedule::Field {
            text: text.to_owned(),
            field: "pattern",
            problem: e.to_string(),
        })?;
        let schedule = Self { cron, zone };
        // 29 February comes within eight years of any date; what has not fired by then never does.
        if schedule.next_after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(BadSchedule::Never(text.to_owned()));
        }
        Ok(schedule)
    }

    /// The first time it is due strictly after `time`.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let start = time.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&start, false).ok().map(|t| t.timestamp()).filter(|t| *t > time)
    }

    /// The last time it was due at or before `now` and strictly after `after`.
    pub fn last_due(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let start = now.to_zoned(self.zone.clone());
        let last = self.cron.find_previous_occurrence(&start, true).ok()?.timestamp();
        (last > after && last <= now).then_some(last)
    }

    /// The zone it is read in.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }
}

/// Checks every field and rewrites what `croner` spells differently.
fn strict(text: &str) -> Result<String, BadSchedule> {
    let trimmed = text.trim();
    if trimmed.starts_with('@') {
        let lower = trimmed.to_ascii_lowercase();
        let known = ALIASES.iter().find(|(alias, _)| *alias == lower);
        return known.map(|(_, pattern)| (*pattern).to_owned()).ok_or_else(|| BadSchedule::Alias(trimmed.to_owned()));
    }
    let parts: Vec<&str> = trimmed.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Err(BadSchedule::Fields { text: text.to_owned(), found: parts.len() });
    }
    let fields: Result<Vec<String>, BadSchedule> = parts
        .iter()
        .zip(&FIELDS)
        .map(|(part, field)| {
            let bad = |problem| BadSchedule::Field { text: text.to_owned(), field: field.name, problem };
            let items: Result<Vec<String>, String> = part.split(',').map(|item| self::item(item, field)).collect();
            items.map(|items| items.join(",")).map_err(bad)
        })
        .collect();
    Ok(fields?.join(" "))
}

/// One item of a list: `*`, `n`, `a-b`, each with or without `/step`.
fn item(item: &str, field: &Field) -> Result<String, String> {
    if item.is_empty() {
        return Err("an item of the list is empty".to_owned());
    }
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    let step = match step {
        None => None,
        Some(text) => {
            let widest = field.max - field.min;
            let step = text
                .parse::<u32>()
                .ok()
                .filter(|n| text.bytes().all(|b| b.is_ascii_digit()) && (1..=widest).contains(n));
            Some(step.ok_or_else(|| format!("`{item}` has no step from 1 to {widest} after `/`"))?)
        }
    };
    let (low, high) = match range.split_once('-') {
        _ if range == "*" => return Ok(step.map_or_else(|| "*".to_owned(), |n| format!("*/{n}"))),
        Some((low, high)) => (value(low, field)?, value(high, field)?),
        None => {
            let low = value(range, field)?;
            // `5/15` means from 5 on; a day of week stops at Saturday, because 7 is Sunday again.
            (low, if step.is_none() { low } else { field.max.min(if field.max == 7 { 6 } else { field.max }) })
        }
    };
    if low > high {
        return Err(format!("the range `{range}` runs backwards"));
    }
    let range = if low == high { low.to_string() } else { format!("{low}-{high}") };
    Ok(match step {
        Some(step) if low != high => format!("{range}/{step}"),
        _ => range,
    })
}

fn value(text: &str, field: &Field) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    if let Some(index) = (field.first..).zip(field.words).find(|(_, word)| **word == lower).map(|(index, _)| index) {
        return Ok(index);
    }
    let number = text.parse::<u32>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    match number {
        Some(n) if (field.min..=field.max).contains(&n) => Ok(n),
        Some(n) => Err(format!("{n} is not from {} to {}", field.min, field.max)),
        None => Err(format!("`{text}` is not understood")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fires(text: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(text, Some(zone)).unwrap();
        let mut at: Timestamp = from.parse().unwrap();
        let mut found = Vec::new();
        while found.len() < count {
            at = schedule.next_after(at).unwrap();
            found.push(at.to_string());
        }
        found
    }

    #[test]
    fn fires_as_documented() {
        let table = [
            ("0 8 5 * *", "UTC", "2026-10-05T08:00:00Z", "2026-11-05T08:00:00Z"),
            ("0 8 5 * *", "Europe/London", "2026-06-01T00:00:00Z", "2026-06-05T07:00:00Z"),
            ("*/15 * * * *", "UTC", "2026-01-01T00:01:00Z", "2026-01-01T00:15:00Z"),
            ("5/15 * * * *", "UTC", "2026-01-01T00:06:00Z", "2026-01-01T00:20:00Z"),
            ("0 0 * * sun", "UTC", "2026-11-23T00:00:00Z", "2026-11-29T00:00:00Z"),
            ("0 0 * * 7", "UTC", "2026-11-23T00:00:00Z", "2026-11-29T00:00:00Z"),
            ("0 0 13 * fri", "UTC", "2026-11-23T00:00:00Z", "2026-11-27T00:00:00Z"),
            ("0 0 29 2 *", "UTC", "2026-11-23T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("@monthly", "UTC", "2026-11-23T00:00:00Z", "2026-12-01T00:00:00Z"),
            // In the gap of spring: once, when the gap ends.
            ("30 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-08T07:00:00Z"),
            // In the overlap of autumn: once, in the first pass.
            ("30 1 * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"),
        ];
        for (text, zone, from, next) in table {
            assert_eq!(fires(text, zone, from, 1), [next], "{text} in {zone} after {from}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        let table = [
            ("", "has 0 fields"),
            ("* * * *", "has 4 fields"),
            ("0 0 0 1 1 *", "has 6 fields"),
            ("61 * * * *", "minute: 61 is not from 0 to 59"),
            ("* 24 * * *", "hour: 24 is not from 0 to 23"),
            ("0 0 0 * *", "day of month: 0 is not from 1 to 31"),
            ("0 0 * * 8", "day of week: 8 is not from 0 to 7"),
            ("0 0 * * +1", "day of week: `+1` is not understood"),
            ("0 0 L * *", "day of month: `L` is not understood"),
            ("0 0 ? * *", "day of month: `?` is not understood"),
            ("0 0 , * *", "day of month: an item of the list is empty"),
            ("*/90 * * * *", "minute: `*/90` has no step from 1 to 59"),
            ("*/0 * * * *", "minute: `*/0` has no step"),
            ("0 22-2 * * *", "hour: the range `22-2` runs backwards"),
            ("0 0 * * fri-mon", "runs backwards"),
            ("0 0 31 2 *", "never fires"),
            ("@every 5m", "is no alias"),
            ("hello", "has 1 fields"),
            ("TZ=UTC 0 0 * * *", "has 6 fields"),
        ];
        for (text, message) in table {
            let error = Schedule::parse(text, None).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
        let error = Schedule::parse("0 0 * * *", Some("Europe/Lunnon")).unwrap_err().to_string();
        assert!(error.contains("Europe/Lunnon"), "{error}");
    }

    fn schedules() -> impl Strategy<Value = Schedule> {
        let minute = prop_oneof![
            Just("*".to_owned()),
            (0..60_u32).prop_map(|n| n.to_string()),
            (1..30_u32).prop_map(|n| format!("*/{n}"))
        ];
        let hour = prop_oneof![
            Just("*".to_owned()),
            (0..24_u32).prop_map(|n| n.to_string()),
            (1..12_u32).prop_map(|n| format!("*/{n}"))
        ];
        let day = prop_oneof![Just("*".to_owned()), (1..29_u32).prop_map(|n| n.to_string())];
        let zone = prop::sample::select(vec!["UTC", "Europe/London", "America/New_York", "Australia/Lord_Howe"]);
        (minute, hour, day, zone)
            .prop_map(|(m, h, d, z)| Schedule::parse(&format!("{m} {h} {d} * *"), Some(z)).unwrap())
    }

    proptest! {
        #[test]
        fn next_is_later_and_nothing_lies_between(schedule in schedules(), second in 1_600_000_000_i64..2_000_000_000) {
            let time = Timestamp::from_second(second).unwrap();
            let next = schedule.next_after(time).unwrap();
            prop_assert!(next > time);
            let before = Timestamp::from_second(next.as_second() - 1).unwrap();
            prop_assert_eq!(schedule.next_after(before), Some(next));
        }

        #[test]
        fn the_last_due_is_one_that_fired(schedule in schedules(), second in 1_600_000_000_i64..2_000_000_000, span in 1_i64..3_000_000) {
            let after = Timestamp::from_second(second).unwrap();
            let now = Timestamp::from_second(second + span).unwrap();
            match schedule.last_due(after, now) {
                Some(last) => {
                    prop_assert!(after < last && last <= now);
                    prop_assert!(schedule.next_after(last).unwrap() > now);
                }
                None => prop_assert!(schedule.next_after(after).unwrap() > now),
            }
        }
    }
}
