//! Values as they appear in tables; what is absent is `-`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Age as kubectl prints it: `45s`, `7m`, `3h`, `12d`.
pub(crate) fn age(since: Option<&Time>, now: Timestamp) -> String {
    let Some(since) = since else { return "-".into() };
    let seconds = now.as_second().saturating_sub(since.0.as_second()).max(0);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

pub(crate) fn time(time: Option<&Time>) -> String {
    time.map_or_else(|| "-".into(), |t| t.0.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

pub(crate) fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |v| v.to_string())
}

/// A unit variant as the API spells it.
pub(crate) fn variant<T: serde::Serialize>(value: Option<T>) -> String {
    value
        .and_then(|v| serde_json::to_value(v).ok())
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_else(|| "-".into())
}

pub(crate) fn condition<'a>(conditions: Option<&'a Vec<Condition>>, kind: &str) -> Option<&'a Condition> {
    conditions.into_iter().flatten().find(|c| c.type_ == kind)
}
