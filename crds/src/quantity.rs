//! Numbers of bytes as users write them, in the manner of Kubernetes.

/// A text that is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadBytes;

impl std::fmt::Display for BadBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("must be a number of bytes such as 64Mi or 10Gi")
    }
}

impl std::error::Error for BadBytes {}

/// Parses `1048576`, `64Mi`, `10Gi`, `1Ti`.
///
/// # Errors
/// [`BadBytes`] for any other text, and for 0.
pub fn bytes(text: &str) -> Result<u64, BadBytes> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "Ki" => 10,
        "Mi" => 20,
        "Gi" => 30,
        "Ti" => 40,
        _ => return Err(BadBytes),
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0 && *number < 1 << 20);
    let bytes = number.or_else(|| digits.parse().ok().filter(|number| shift == 0 && *number > 0));
    bytes.map(|number| number << shift).ok_or(BadBytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_in_kubernetes() {
        assert_eq!([bytes("1"), bytes("3000000000")], [Ok(1), Ok(3_000_000_000)]);
        assert_eq!([bytes("64Mi"), bytes("10Gi"), bytes("2Ti")], [Ok(64 << 20), Ok(10 << 30), Ok(2 << 40)]);
        for text in ["", "0", "Gi", "10GB", "64M", "-1Gi", "1.5Gi", " 1Gi", "1Gi ", "much", "9999999Ti"] {
            assert_eq!(bytes(text), Err(BadBytes), "{text:?}");
        }
    }
}
