//! How values look in tables.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Age as kubectl prints it: `45s`, `7m`, `3h`, `12d`.
pub fn age(since: Option<&Time>, now: Timestamp) -> String {
    let Some(since) = since else { return "-".into() };
    let seconds = now.as_second().saturating_sub(since.0.as_second()).max(0);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A time, or `-`.
pub fn time(time: Option<&Time>) -> String {
    time.map_or_else(|| "-".into(), |t| t.0.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// A value as text, or `-`.
pub fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |v| v.to_string())
}

/// A unit variant as serde writes it.
pub fn word<T: serde::Serialize>(value: Option<T>) -> String {
    value
        .and_then(|v| serde_json::to_value(v).ok())
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_else(|| "-".into())
}

/// The condition of a type.
pub fn condition<'a>(conditions: Option<&'a Vec<Condition>>, kind: &str) -> Option<&'a Condition> {
    conditions.into_iter().flatten().find(|c| c.type_ == kind)
}
