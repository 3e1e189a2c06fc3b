//! The slots of a Workflow: its schedules, calendar and window combined.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan};

use crate::calendar::Calendar;
use crate::cron::Schedule;

/// How far ahead a slot is searched; what has not fired by then never does.
const REACH: SignedDuration = SignedDuration::from_hours(40 * 366 * 24);

/// A time that several schedules give is one slot.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    /// All in the same zone.
    pub schedules: Vec<Schedule>,
    /// Allowed dates in the zone of the schedules.
    pub calendar: Calendar,
    /// The first instant that can be a slot.
    pub not_before: Option<Timestamp>,
    /// The last instant that can be a slot.
    pub not_after: Option<Timestamp>,
}

impl Slots {
    /// The first slot strictly after `time`.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let from = self.not_before.map_or(time, |first| time.max(before(first)));
        let next = self.schedules.iter().filter_map(|schedule| self.next_of(schedule, from)).min();
        next.filter(|slot| self.not_after.is_none_or(|last| *slot <= last))
    }

    /// The last slot at or before `now` and strictly after `after`.
    pub fn last_due(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let from = self.not_before.map_or(after, |first| after.max(before(first)));
        let until = self.not_after.map_or(now, |last| now.min(last));
        self.schedules.iter().filter_map(|schedule| self.last_of(schedule, from, until)).max()
    }

    /// The latest slots after `after` up to `now`, at most `max`, oldest first; and how many older ones there are, counted
    /// up to [`COUNT_MAX`].
    pub fn due(&self, after: Timestamp, now: Timestamp, max: usize) -> (Vec<Timestamp>, usize) {
        let mut latest = Vec::new();
        let mut until = now;
        while let Some(slot) = self.last_due(after, until) {
            if latest.len() == max {
                let older = self.count(after, slot);
                latest.reverse();
                return (latest, older);
            }
            latest.push(slot);
            until = before(slot);
        }
        latest.reverse();
        (latest, 0)
    }

    fn count(&self, after: Timestamp, last: Timestamp) -> usize {
        let slots = std::iter::successors(self.next_after(after), |slot| self.next_after(*slot));
        slots.take(COUNT_MAX).take_while(|slot| *slot <= last).count()
    }

    /// Whether `time` is exactly a slot.
    pub fn has(&self, time: Timestamp) -> bool {
        self.next_after(before(time)) == Some(time)
    }

    fn next_of(&self, schedule: &Schedule, time: Timestamp) -> Option<Timestamp> {
        if self.calendar.is_open() {
            return schedule.next_after(time);
        }
        let mut at = time;
        loop {
            let slot = schedule.next_after(at)?;
            let date = date(slot, schedule.zone());
            if self.calendar.allows(date) {
                return Some(slot);
            }
            at = before(start(self.calendar.next_allowed(date.tomorrow().ok()?)?, schedule.zone())?).max(slot);
            if at.duration_since(time) > REACH {
                return None;
            }
        }
    }

    fn last_of(&self, schedule: &Schedule, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let mut at = now;
        loop {
            let slot = schedule.last_due(after, at)?;
            let date = date(slot, schedule.zone());
            if self.calendar.allows(date) {
                return Some(slot);
            }
            let allowed = self.calendar.previous_allowed(date.yesterday().ok()?)?;
            at = before(start(allowed.checked_add(1.day()).ok()?, schedule.zone())?).min(before(slot));
        }
    }
}

/// Counting stops here, as each slot is searched for by itself.
pub const COUNT_MAX: usize = 1000;

fn date(time: Timestamp, zone: &TimeZone) -> Date {
    time.to_zoned(zone.clone()).date()
}

fn start(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    date.to_zoned(zone.clone()).ok().map(|start| start.timestamp())
}

/// The last instant before `time`.
fn before(time: Timestamp) -> Timestamp {
    time.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn slots(schedules: &[&str], zone: &str) -> Slots {
        let schedules = schedules.iter().map(|text| Schedule::parse(text, Some(zone), "acme/nav").unwrap()).collect();
        Slots { schedules, ..Slots::default() }
    }

    #[test]
    fn the_same_time_by_two_schedules_is_one_slot() {
        let slots = slots(&["0 8 5 * *", "0 8 * * *"], "UTC");
        let (due, older) = slots.due(at("2026-11-03T09:00:00Z"), at("2026-11-06T07:00:00Z"), 10);
        assert_eq!((due.len(), older), (2, 0));
        let (due, older) = slots.due(at("2026-11-01T09:00:00Z"), at("2026-11-06T09:00:00Z"), 2);
        assert_eq!((due, older), (vec![at("2026-11-05T08:00:00Z"), at("2026-11-06T08:00:00Z")], 3));
    }

    #[test]
    fn the_fifth_business_day_in_london() {
        let mut slots = slots(&["0 8 * * *"], "Europe/London");
        let holidays = ["2026-05-04".to_owned()];
        slots.calendar = Calendar::parse(&[], &holidays, None, &[5, -1]).unwrap();
        let fires = std::iter::successors(slots.next_after(at("2026-04-30T12:00:00Z")), |slot| slots.next_after(*slot));
        let fires: Vec<_> = fires.take(3).map(|slot| slot.to_string()).collect();
        assert_eq!(fires, ["2026-05-08T07:00:00Z", "2026-05-29T07:00:00Z", "2026-06-05T07:00:00Z"]);
        assert_eq!(
            slots.last_due(at("2026-01-01T00:00:00Z"), at("2026-05-28T00:00:00Z")),
            Some(at("2026-05-08T07:00:00Z"))
        );
    }

    #[test]
    fn a_window_bounds_the_slots() {
        let mut slots = slots(&["0 8 * * *"], "UTC");
        slots.not_before = Some(at("2026-11-10T08:00:00Z"));
        slots.not_after = Some(at("2026-11-12T07:59:00Z"));
        assert_eq!(slots.next_after(at("2026-01-01T00:00:00Z")), Some(at("2026-11-10T08:00:00Z")));
        assert_eq!(slots.next_after(at("2026-11-10T08:00:00Z")), Some(at("2026-11-11T08:00:00Z")));
        assert_eq!(slots.next_after(at("2026-11-11T08:00:00Z")), None);
        assert_eq!(
            slots.last_due(at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z")),
            Some(at("2026-11-11T08:00:00Z"))
        );
        assert_eq!(slots.last_due(at("2026-01-01T00:00:00Z"), at("2026-11-09T00:00:00Z")), None);
    }

    #[test]
    fn a_calendar_that_allows_no_date_never_fires() {
        let mut slots = slots(&["0 8 1 * *"], "UTC");
        slots.calendar = Calendar::parse(&[], &[], None, &[23]).unwrap();
        assert_eq!(slots.next_after(Timestamp::UNIX_EPOCH), None);
    }

    proptest! {
        #[test]
        fn no_slot_is_lost_or_doubled_between_two_reconciles(
            second in 1_700_000_000_i64..1_900_000_000,
            steps in prop::collection::vec(1_i64..400_000, 1..12),
            days in prop::collection::btree_set(prop_oneof![1..10_i32, -5..-1_i32], 0..3),
        ) {
            let mut slots = slots(&["0 8 * * *", "30 1,13 * * mon"], "Europe/London");
            slots.calendar = Calendar::parse(&[], &[], None, &days.into_iter().collect::<Vec<_>>()).unwrap();
            let start = Timestamp::from_second(second).unwrap();
            let (mut now, mut seen) = (start, Vec::new());
            for step in steps {
                let next = now.checked_add(SignedDuration::from_secs(step)).unwrap();
                let (due, older) = slots.due(now, next, 1000);
                prop_assert_eq!(older, 0);
                seen.extend(due);
                now = next;
            }
            let all: Vec<_> = std::iter::successors(slots.next_after(start), |slot| slots.next_after(*slot))
                .take_while(|slot| *slot <= now).collect();
            prop_assert_eq!(&seen, &all);
            prop_assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(seen.iter().all(|slot| slots.has(*slot)));
        }
    }
}
