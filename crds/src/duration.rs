//! Durations as users write them in specs.

use std::time::Duration;

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadDuration(pub String);

impl std::fmt::Display for BadDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid duration `{}`: use for example 90s, 5m, 1h30m or 14d", self.0)
    }
}

impl std::error::Error for BadDuration {}

/// Parses `90s`, `5m`, `1h30m`, `14d`. Days are 24 hours.
///
/// # Errors
/// [`BadDuration`] for any other text, and for one that exceeds 100 years.
pub fn parse(text: &str) -> Result<Duration, BadDuration> {
    let bad = || BadDuration(text.to_owned());
    let mut seconds: u64 = 0;
    let mut digits = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(bad()),
        };
        let count: u64 = digits.parse().map_err(|_| bad())?;
        digits.clear();
        seconds = count.checked_mul(unit).and_then(|s| s.checked_add(seconds)).ok_or_else(bad)?;
    }
    if !digits.is_empty() || text.is_empty() || seconds > 100 * 366 * 86_400 {
        return Err(bad());
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_schema_admits() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h30m", 5_400), ("14d", 1_209_600), ("0s", 0)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "5", "m", "5 m", "-5m", "1w", "1.5h", "99999999999999999999s", "999999999d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
