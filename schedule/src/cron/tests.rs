use proptest::prelude::*;

use super::*;

fn fires(text: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(text, Some(zone), "acme/nav").unwrap();
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
        // The rows on which parsers differ. Steps in both days are either; `?` and the like are refused, see below.
        ("0 0 */2 * mon", "UTC", "2026-11-23T00:00:00Z", "2026-11-25T00:00:00Z"),
        ("0 0 */9 * mon", "UTC", "2026-11-28T12:00:00Z", "2026-11-30T00:00:00Z"),
        ("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
        ("@weekly", "UTC", "2026-11-23T00:00:00Z", "2026-11-29T00:00:00Z"),
        ("@midnight", "UTC", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"),
        ("@Annually", "UTC", "2026-11-23T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("0 0 * * 5-7", "UTC", "2026-11-28T12:00:00Z", "2026-11-29T00:00:00Z"),
        ("0 0 * JAN-mar Sun", "UTC", "2026-11-23T00:00:00Z", "2027-01-03T00:00:00Z"),
        ("50/5 * * * *", "UTC", "2026-11-23T00:56:00Z", "2026-11-23T01:50:00Z"),
        // In the gap of spring: once, when the gap ends.
        ("30 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-08T07:00:00Z"),
        // In the overlap of autumn: once, at the first occurrence.
        ("30 1 * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"),
    ];
    for (text, zone, from, next) in table {
        assert_eq!(fires(text, zone, from, 1), [next], "{text} in {zone} after {from}");
    }
}

/// Daylight saving and other changes of clocks, as documented for users: fixed times once a day, at the end of a gap and
/// at the first occurrence in an overlap; lists and steps in real time.
#[test]
fn clocks_that_change() {
    let table: [(&str, &str, &str, &[&str]); 18] = [
        ("30 2 * * *", "America/New_York", "2026-03-07T08:00:00Z", &["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]),
        ("30 1 * * *", "America/New_York", "2026-10-31T06:00:00Z", &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]),
        ("0 2,3 * * *", "America/New_York", "2026-03-08T05:00:00Z", &["2026-03-08T07:00:00Z", "2026-03-09T06:00:00Z"]),
        ("*/20 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", &["2026-03-09T06:00:00Z"]),
        (
            "0 1,2 * * *",
            "America/New_York",
            "2026-11-01T04:30:00Z",
            &["2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z", "2026-11-01T07:00:00Z"],
        ),
        (
            "*/30 1 * * *",
            "America/New_York",
            "2026-11-01T05:00:00Z",
            &["2026-11-01T05:30:00Z", "2026-11-01T06:00:00Z", "2026-11-01T06:30:00Z", "2026-11-02T06:00:00Z"],
        ),
        ("5 * * * *", "America/New_York", "2026-11-01T05:10:00Z", &["2026-11-01T06:05:00Z", "2026-11-01T07:05:00Z"]),
        ("30 1 * * *", "Europe/London", "2026-03-28T02:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
        ("30 1 * * *", "Europe/London", "2026-10-24T02:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", &["2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"]),
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
        ),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-03T20:00:00Z",
            &["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"],
        ),
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", &["2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z"]),
        ("0 0 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", &["2012-12-29T10:00:00Z"]),
        // Both occurrences in an overlap, in order; the second is not skipped when asked from between them.
        (
            "*/30 * * * *",
            "America/New_York",
            "2026-11-01T04:45:00Z",
            &[
                "2026-11-01T05:00:00Z",
                "2026-11-01T05:30:00Z",
                "2026-11-01T06:00:00Z",
                "2026-11-01T06:30:00Z",
                "2026-11-01T07:00:00Z",
            ],
        ),
        // A month that ends in a gap or an overlap, and the last hour before it.
        ("0 0 1 11 *", "America/New_York", "2026-10-01T00:00:00Z", &["2026-11-01T04:00:00Z", "2027-11-01T04:00:00Z"]),
        ("59 23 31 3 *", "Europe/London", "2024-01-01T00:00:00Z", &["2024-03-31T22:59:00Z", "2025-03-31T22:59:00Z"]),
        ("0 * * * *", "Asia/Kolkata", "2026-11-01T00:00:00Z", &["2026-11-01T00:30:00Z", "2026-11-01T01:30:00Z"]),
    ];
    for (text, zone, from, expected) in table {
        assert_eq!(fires(text, zone, from, expected.len()), expected, "{text} in {zone} after {from}");
        let schedule = Schedule::parse(text, Some(zone), "").unwrap();
        let from: Timestamp = from.parse().unwrap();
        for slot in expected {
            let slot: Timestamp = slot.parse().unwrap();
            assert_eq!(schedule.last_due(from, slot), Some(slot), "{text} in {zone}, looking back at {slot}");
        }
    }
}

#[test]
fn a_hashed_field_is_the_same_for_ever_and_differs_by_name() {
    let of = |text: &str, seed: &str| strict(text, seed).unwrap();
    assert_eq!(of("H H H H H", "acme/nav"), of("H H H H H", "acme/nav"));
    // What is written here is promised to users: a release that changes it moves everybody's schedules.
    assert_eq!(of("H H(0-7) * * *", "acme/nav"), "36 5 * * *");
    let minutes: std::collections::BTreeSet<_> = (0..200).map(|n| of("H 8 5 * *", &format!("acme/spv{n}"))).collect();
    assert!(minutes.len() > 40, "{} minutes of 60 in use by 200 workflows", minutes.len());
    for n in 0..200 {
        let seed = format!("acme/spv{n}");
        let number = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let fields = number(&of("H(10-20) H H H H", &seed));
        assert!((10..=20).contains(&fields[0].parse::<u32>().unwrap()), "{fields:?}");
        assert!((1..=28).contains(&fields[2].parse::<u32>().unwrap()), "{fields:?}");
        assert!((0..=6).contains(&fields[4].parse::<u32>().unwrap()), "{fields:?}");
        let quarter = of("H/15 * * * *", &seed);
        let (first, rest) = quarter.split_once('-').unwrap();
        assert!(first.parse::<u32>().unwrap() < 15 && rest.starts_with("59/15"), "{quarter}");
    }
}

#[test]
fn a_message_points_at_the_character() {
    let table = [
        ("61 8 5 * *", "character 1, minute"),
        ("0  99 5 * *", "character 4, hour"),
        ("0 8 5,40 * *", "character 7, day of month"),
        ("0 8 * H(1-13) *", "character 11, month"),
        (" 0 8 * * H(", "character 10, day of week"),
        ("0 8 1-40 * *", "character 7, day of month"),
        ("*/90 * * * *", "character 3, minute"),
        ("0 0 , * *", "character 5, day of month"),
        ("0 0 * * +1", "character 9, day of week"),
        ("0 0 H(5-x) * *", "character 9, day of month"),
        ("0 0 8 5 * *", "character 11: has 6 fields"),
        ("0 8 *", "character 6: has 3 fields"),
        ("0 0 31 2,4 *", "character 5: never fires"),
    ];
    for (text, place) in table {
        let error = Schedule::parse(text, None, "").unwrap_err().to_string();
        assert!(error.contains(place), "{text}: {error}");
    }
}

#[test]
fn what_is_no_schedule_is_refused() {
    let table = [
        ("", "character 1: has 0 fields"),
        ("* * * *", "character 8: has 4 fields"),
        ("0 0 0 1 1 *", "character 11: has 6 fields"),
        ("61 * * * *", "minute: 61 is out of range 0-59"),
        ("* 24 * * *", "hour: 24 is out of range 0-23"),
        ("0 0 0 * *", "day of month: 0 is out of range 1-31"),
        ("0 0 * * 8", "day of week: 8 is out of range 0-7"),
        ("0 0 * * +1", "day of week: invalid value `+1`"),
        ("0 0 L * *", "day of month: invalid value `L`"),
        ("0 0 ? * *", "day of month: invalid value `?`"),
        ("0 0 , * *", "day of month: empty list item"),
        ("*/90 * * * *", "minute: invalid step in `*/90`, use 1 to 59"),
        ("*/0 * * * *", "minute: invalid step in `*/0`"),
        ("0 22-2 * * *", "hour: range `22-2` runs backwards"),
        ("0 0 * * fri-mon", "runs backwards"),
        ("0 0 31 2 *", "never fires"),
        ("@every 5m", "unknown alias"),
        ("H(5) * * * *", "minute: `H(5)` needs a range"),
        ("H(9-2) * * * *", "runs backwards"),
        ("Hx * * * *", "minute: invalid value `Hx`"),
        ("H-5 * * * *", "minute: invalid value `H-5`"),
        ("0 0 5L * *", "invalid value `5L`"),
        ("0 0 * * 1#2", "invalid value `1#2`"),
        ("0 0 15W * *", "invalid value `15W`"),
        ("0 0 * * Sunday", "invalid value `Sunday`"),
        ("０ 0 * * *", "minute: invalid value `０`"),
        ("hello", "has 1 fields"),
        ("TZ=UTC 0 0 * * *", "has 6 fields"),
    ];
    for (text, message) in table {
        let error = Schedule::parse(text, None, "").unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    let error = Schedule::parse("0 0 * * *", Some("Europe/Lunnon"), "").unwrap_err().to_string();
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
    let zone = prop::sample::select(vec![
        "UTC",
        "Europe/London",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Sao_Paulo",
        "Pacific/Apia",
    ]);
    (minute, hour, day, zone)
        .prop_map(|(m, h, d, z)| Schedule::parse(&format!("{m} {h} {d} * *"), Some(z), "").unwrap())
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
