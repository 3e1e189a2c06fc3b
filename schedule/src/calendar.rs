//! On which dates a schedule may fire: excluded dates, and the n-th business days of a month.

use std::collections::BTreeSet;

use jiff::civil::{Date, Weekday};
use thiserror::Error;

/// Dates searched before giving up: what allows no date of forty years allows none.
const REACH: usize = 40 * 366;

/// Why a calendar is invalid. Messages begin with the field of the spec.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum BadCalendar {
    #[error("{field}[{index}]: invalid date `{text}`, use the form `2026-12-25`")]
    Date { field: &'static str, index: usize, text: String },
    /// No month has more than 23 business days.
    #[error(
        "businessDays: invalid value {0}, use 1 to 23 to count from the start of the month, or -1 to -23 to count from its end"
    )]
    BusinessDay(i32),
    /// Holidays and weekend only say what a business day is.
    #[error("{0} has no effect without businessDays: set businessDays, or list the dates in excludeDates")]
    Unused(&'static str),
    #[error("weekend: all seven days are weekend, which leaves no business day")]
    Weekend,
}

/// Dates on which a schedule may fire. The default allows all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calendar {
    excluded: BTreeSet<Date>,
    holidays: BTreeSet<Date>,
    weekend: Vec<Weekday>,
    business_days: BTreeSet<i32>,
}

impl Calendar {
    /// `weekend` is Saturday and Sunday if `None`; without `business_days` every date is allowed that is not excluded.
    pub fn parse(
        excluded: &[String],
        holidays: &[String],
        weekend: Option<&[Weekday]>,
        business_days: &[i32],
    ) -> Result<Self, BadCalendar> {
        if let Some(bad) = business_days.iter().find(|n| !(1..=23).contains(&n.abs())) {
            return Err(BadCalendar::BusinessDay(*bad));
        }
        if business_days.is_empty() {
            let unused = [(!holidays.is_empty(), "holidays"), (weekend.is_some(), "weekend")];
            if let Some((_, field)) = unused.into_iter().find(|(given, _)| *given) {
                return Err(BadCalendar::Unused(field));
            }
        }
        let weekend = weekend.map_or_else(|| vec![Weekday::Saturday, Weekday::Sunday], <[_]>::to_vec);
        if weekend.iter().map(|day| day.to_monday_zero_offset()).collect::<BTreeSet<_>>().len() == 7 {
            return Err(BadCalendar::Weekend);
        }
        Ok(Self {
            excluded: dates("excludeDates", excluded)?,
            holidays: dates("holidays", holidays)?,
            weekend,
            business_days: business_days.iter().copied().collect(),
        })
    }

    /// Whether schedules may fire on that date.
    pub fn allows(&self, date: Date) -> bool {
        if self.excluded.contains(&date) {
            return false;
        }
        self.business_days.is_empty() || self.number(date).is_some_and(|(n, back)| self.wants(n) || self.wants(back))
    }

    /// Whether every date is allowed.
    pub fn is_open(&self) -> bool {
        self.excluded.is_empty() && self.business_days.is_empty()
    }

    /// Whether it is neither on a weekend nor a holiday.
    pub fn is_business_day(&self, date: Date) -> bool {
        !self.weekend.contains(&date.weekday()) && !self.holidays.contains(&date)
    }

    /// The first allowed date from `date` on.
    pub fn next_allowed(&self, date: Date) -> Option<Date> {
        std::iter::successors(Some(date), |date| date.tomorrow().ok()).take(REACH).find(|date| self.allows(*date))
    }

    /// The last allowed date up to `date`.
    pub fn previous_allowed(&self, date: Date) -> Option<Date> {
        std::iter::successors(Some(date), |date| date.yesterday().ok()).take(REACH).find(|date| self.allows(*date))
    }

    fn wants(&self, n: i32) -> bool {
        self.business_days.contains(&n)
    }

    /// Which business day of its month a date is, from the first and from the last.
    fn number(&self, date: Date) -> Option<(i32, i32)> {
        if !self.is_business_day(date) {
            return None;
        }
        let (mut n, mut back) = (0, 0);
        let month = std::iter::successors(Some(date.first_of_month()), |day| day.tomorrow().ok());
        for day in month.take_while(|day| day.month() == date.month()).filter(|day| self.is_business_day(*day)) {
            n += i32::from(day <= date);
            back -= i32::from(day >= date);
        }
        Some((n, back))
    }
}

fn dates(field: &'static str, texts: &[String]) -> Result<BTreeSet<Date>, BadCalendar> {
    let parse = |(index, text): (usize, &String)| {
        // Ten characters, as `Date` would ignore a time after the date.
        let date = (text.len() == 10).then(|| text.parse::<Date>().ok()).flatten();
        date.ok_or_else(|| BadCalendar::Date { field, index, text: text.clone() })
    };
    texts.iter().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn business_days_are_counted_without_weekends_and_holidays() {
        // November 2026 begins on a Sunday; the 5th is made a holiday.
        let calendar = Calendar::parse(&[], &texts(&["2026-11-05"]), None, &[1, 4, -1]).unwrap();
        let allowed: Vec<_> = (1..=30).filter(|day| calendar.allows(Date::constant(2026, 11, *day))).collect();
        assert_eq!(allowed, [2, 6, 30]);
        assert_eq!(calendar.next_allowed(date("2026-11-07")), Some(date("2026-11-30")));
        assert_eq!(calendar.previous_allowed(date("2026-11-29")), Some(date("2026-11-06")));
    }

    #[test]
    fn another_weekend() {
        let weekend = [Weekday::Friday, Weekday::Saturday];
        let calendar = Calendar::parse(&[], &[], Some(&weekend), &[1]).unwrap();
        assert!(calendar.allows(date("2026-11-01")), "a Sunday");
        assert!(Calendar::parse(&[], &[], Some(&[]), &[1]).unwrap().allows(date("2026-11-01")));
    }

    #[test]
    fn excluded_dates_are_left_out_whatever_they_are() {
        let calendar = Calendar::parse(&texts(&["2026-12-24"]), &[], None, &[]).unwrap();
        assert!(!calendar.allows(date("2026-12-24")) && calendar.allows(date("2026-12-25")));
    }

    #[test]
    fn an_invalid_calendar_is_refused() {
        let refused = |excluded: &[&str], days: &[i32], weekend: Option<&[Weekday]>| {
            Calendar::parse(&texts(excluded), &[], weekend, days).unwrap_err().to_string()
        };
        assert!(
            refused(&["2026-12-25", "25.12.2026"], &[], None).starts_with("excludeDates[1]: invalid date `25.12.2026`")
        );
        assert!(refused(&["2026-02-30"], &[], None).contains("2026-02-30"));
        assert!(refused(&["2026-12-25T00:00"], &[], None).contains("invalid date"));
        assert!(refused(&[], &[0], None).contains("businessDays: invalid value 0"));
        assert!(refused(&[], &[24], None).contains("businessDays: invalid value 24"));
        let all: Vec<Weekday> = Weekday::Monday.cycle_forward().take(7).collect();
        assert!(refused(&[], &[1], Some(&all)).contains("weekend: all seven days"));
        assert!(refused(&[], &[], Some(&[Weekday::Friday])).contains("weekend has no effect without businessDays"));
        let holidays = Calendar::parse(&[], &texts(&["2026-12-25"]), None, &[]).unwrap_err().to_string();
        assert!(holidays.contains("holidays has no effect without businessDays"), "{holidays}");
    }
}
