//! Cron schedules: `croner` behind a strict layer of five fields.
//!
//! Fields are minute, hour, day of month, month and day of week, or an alias (`@hourly`, `@daily`, `@midnight`, `@weekly`,
//! `@monthly`, `@yearly`, `@annually`). Day of month and day of week, both set, mean either. `H` is a value of the field that
//! follows from the workflow's name, so that many workflows do not all start at once; `H(a-b)` keeps it within a range.
//!
//! Daylight saving: a fixed time fires once a day, at the end of the gap if it falls into one, at its first occurrence if
//! it occurs twice. Lists, ranges and steps fire in real time: not in a gap, and at both occurrences. A day that a zone
//! skipped has no slot.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use sha2::{Digest, Sha256};
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

/// Names of values stand for numbers from `first` on.
struct CronField {
    name: &'static str,
    min: u32,
    max: u32,
    words: &'static [&'static str],
    first: u32,
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [CronField; 5] = [
    CronField { name: "minute", min: 0, max: 59, words: &[], first: 0 },
    CronField { name: "hour", min: 0, max: 23, words: &[], first: 0 },
    CronField { name: "day of month", min: 1, max: 31, words: &[], first: 0 },
    CronField { name: "month", min: 1, max: 12, words: MONTHS, first: 1 },
    CronField { name: "day of week", min: 0, max: 7, words: DAYS, first: 0 },
];

impl CronField {
    /// Without values that repeat another: 7 is Sunday again.
    fn last(&self) -> u32 {
        if self.max == 7 { 6 } else { self.max }
    }

    /// The highest value that `H` takes: every month has a 28th.
    fn last_hashed(&self) -> u32 {
        if self.max == 31 { 28 } else { self.last() }
    }
}

/// Why a schedule is invalid. Positions are characters of the text, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum BadSchedule {
    #[error(
        "invalid schedule `{text}`, character {at}: has {found} fields, expected 5: `minute hour day-of-month month day-of-week`, for example `0 8 5 * *`"
    )]
    Fields { text: String, at: usize, found: usize },
    #[error(
        "invalid schedule `{0}`: unknown alias, use @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually"
    )]
    Alias(String),
    #[error("invalid schedule `{text}`, character {at}, {field}: {problem}")]
    Field { text: String, at: usize, field: &'static str, problem: String },
    #[error("invalid schedule `{text}`, character {at}: never fires, none of its months has such a day")]
    Never { text: String, at: usize },
    /// The path of the field that names the zone comes first, as in every message about a spec.
    #[error("timeZone {0}")]
    Zone(#[from] UnknownZone),
}

/// A cron schedule in its zone, `H` resolved.
#[derive(Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({} {})", self.cron.pattern, self.zone.iana_name().unwrap_or("-"))
    }
}

/// Offset changes looked through for one that skips a day: more than lie between any two such days.
const TRANSITIONS: usize = 400;
/// An offset change that leaves a day out.
const DAY_SKIPPED: i32 = 20 * 3600;

impl Schedule {
    /// `zone` is an IANA name, UTC if absent; `H` follows from `seed`, which is `namespace/name` of the Workflow.
    pub fn parse(text: &str, zone: Option<&str>, seed: &str) -> Result<Self, BadSchedule> {
        let zone = zone::parse(zone)?;
        let pattern = strict(text, seed)?;
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&pattern).map_err(|e| BadSchedule::Field {
            text: text.to_owned(),
            at: 1,
            field: "pattern",
            problem: e.to_string(),
        })?;
        let schedule = Self { cron, zone };
        // 29 February comes within eight years of any date; what has not fired by then never does.
        if schedule.next_after(Timestamp::UNIX_EPOCH).is_none() {
            let day = text.split_whitespace().nth(2).unwrap_or(text);
            return Err(BadSchedule::Never { text: text.to_owned(), at: position(text, day) });
        }
        Ok(schedule)
    }

    /// The first time it fires strictly after `time`.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let find = |from: Timestamp| self.cron.find_next_occurrence(&self.local(from), false).ok();
        // `croner` gives up at a day that the zone skipped (Apia, 30 December 2011): search on after it.
        let found = find(time).or_else(|| {
            let skipped = self.zone.following(time).take(TRANSITIONS).map(|change| change.timestamp());
            skipped
                .filter(|at| self.skips_day(*at))
                .find_map(|at| self.cron.find_next_occurrence(&self.local(at), true).ok())
        });
        found.map(|found| found.timestamp()).filter(|found| *found > time)
    }

    /// The last time it fired at or before `now` and strictly after `after`.
    pub fn last_due(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let find = |from: Timestamp| self.cron.find_previous_occurrence(&self.local(from), true).ok();
        let found = find(now).or_else(|| {
            let skipped = self.zone.preceding(now).take(TRANSITIONS).map(|change| change.timestamp());
            skipped.take_while(|at| *at > after).filter(|at| self.skips_day(*at)).find_map(|at| find(before(at)))
        });
        found.map(|found| found.timestamp()).filter(|last| *last > after && *last <= now)
    }

    /// The zone in which its fields are local time.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    fn local(&self, time: Timestamp) -> Zoned {
        time.to_zoned(self.zone.clone())
    }

    fn skips_day(&self, change: Timestamp) -> bool {
        let offset = |time| self.zone.to_offset(time).seconds();
        offset(change) - offset(before(change)) >= DAY_SKIPPED
    }
}

/// The last instant before `time`.
fn before(time: Timestamp) -> Timestamp {
    time.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(time)
}

/// Checks every field and rewrites what `croner` spells differently.
fn strict(text: &str, seed: &str) -> Result<String, BadSchedule> {
    let trimmed = text.trim();
    if trimmed.starts_with('@') {
        let lower = trimmed.to_ascii_lowercase();
        let known = ALIASES.iter().find(|(alias, _)| *alias == lower);
        return known.map(|(_, pattern)| (*pattern).to_owned()).ok_or_else(|| BadSchedule::Alias(trimmed.to_owned()));
    }
    let parts: Vec<&str> = trimmed.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        let at = parts.get(FIELDS.len()).map_or(text.chars().count() + 1, |sixth| position(text, sixth));
        return Err(BadSchedule::Fields { text: text.to_owned(), at, found: parts.len() });
    }
    let mut fields = Vec::with_capacity(FIELDS.len());
    for (part, field) in parts.iter().zip(&FIELDS) {
        let mut items = Vec::new();
        for item in part.split(',') {
            let parser = FieldParser { field, seed };
            items.push(parser.item(item).map_err(|(part, problem)| BadSchedule::Field {
                text: text.to_owned(),
                at: position(text, part),
                field: field.name,
                problem,
            })?);
        }
        fields.push(items.join(","));
    }
    Ok(fields.join(" "))
}

/// At which character of `text`, counted from 1, its slice `part` begins.
fn position(text: &str, part: &str) -> usize {
    let from = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    text.get(..from).map_or(0, |before| before.chars().count()) + 1
}

/// The slice of the schedule that is invalid, and why.
type Invalid<'t> = (&'t str, String);

struct FieldParser<'a> {
    field: &'a CronField,
    seed: &'a str,
}

impl FieldParser<'_> {
    /// One item of a list: `*`, `n`, `a-b`, `H`, `H(a-b)`, each with or without `/step`.
    fn item<'t>(&self, item: &'t str) -> Result<String, Invalid<'t>> {
        if item.is_empty() {
            return Err((item, "empty list item".to_owned()));
        }
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(item, step)?)),
            None => (item, None),
        };
        if let Some(hashed) = range.strip_prefix(['H', 'h']) {
            return self.hashed(range, hashed, step);
        }
        if range == "*" {
            return Ok(step.map_or_else(|| "*".to_owned(), |n| format!("*/{n}")));
        }
        let (low, high) = if let Some((low, high)) = range.split_once('-') {
            self.range(range, low, high)?
        } else {
            let low = self.value(range)?;
            // `5/15` means from 5 on.
            (low, if step.is_none() { low } else { self.field.last() })
        };
        Ok(render(low, high, step))
    }

    fn step<'t>(&self, item: &str, text: &'t str) -> Result<u32, Invalid<'t>> {
        let widest = self.field.max - self.field.min;
        let step = text.parse::<u32>().ok().filter(|n| is_digits(text) && (1..=widest).contains(n));
        step.ok_or_else(|| (text, format!("invalid step in `{item}`, use 1 to {widest}")))
    }

    fn range<'t>(&self, range: &'t str, low: &'t str, high: &'t str) -> Result<(u32, u32), Invalid<'t>> {
        let (low, high) = (self.value(low)?, self.value(high)?);
        if low > high {
            return Err((range, format!("range `{range}` runs backwards")));
        }
        Ok((low, high))
    }

    fn value<'t>(&self, text: &'t str) -> Result<u32, Invalid<'t>> {
        let field = self.field;
        let lower = text.to_ascii_lowercase();
        let word = (field.first..).zip(field.words).find(|(_, word)| **word == lower);
        if let Some((index, _)) = word {
            return Ok(index);
        }
        match text.parse::<u32>().ok().filter(|_| is_digits(text)) {
            Some(n) if (field.min..=field.max).contains(&n) => Ok(n),
            Some(n) => Err((text, format!("{n} is out of range {}-{}", field.min, field.max))),
            None => Err((text, format!("invalid value `{text}`"))),
        }
    }

    /// `H`, `H/15`, `H(0-7)`, `H(0-30)/10`: the same seed gives the same value for ever.
    fn hashed<'t>(&self, item: &'t str, rest: &'t str, step: Option<u32>) -> Result<String, Invalid<'t>> {
        let (low, high) = match rest.strip_prefix('(').map(|inner| inner.strip_suffix(')')) {
            None if rest.is_empty() => (self.field.min, self.field.last_hashed()),
            Some(Some(inner)) => {
                let range = inner.split_once('-');
                let (low, high) = range.ok_or_else(|| (inner, format!("`{item}` needs a range, `H(a-b)`")))?;
                self.range(inner, low, high)?
            }
            _ => return Err((item, format!("invalid value `{item}`, use `H`, `H/n`, `H(a-b)` or `H(a-b)/n`"))),
        };
        let width = step.map_or(high - low + 1, |step| step.min(high - low + 1));
        let first = low + self.hash() % width;
        Ok(match step {
            None => first.to_string(),
            Some(step) => render(first, high, Some(step)),
        })
    }

    fn hash(&self) -> u32 {
        let digest = Sha256::digest(format!("{}\n{}", self.seed, self.field.name).as_bytes());
        digest.iter().take(4).fold(0, |value, byte| value << 8 | u32::from(*byte))
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn render(low: u32, high: u32, step: Option<u32>) -> String {
    let range = if low == high { low.to_string() } else { format!("{low}-{high}") };
    match step {
        Some(step) if low != high => format!("{range}/{step}"),
        _ => range,
    }
}

#[cfg(test)]
mod tests;
