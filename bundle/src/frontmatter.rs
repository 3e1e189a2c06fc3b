//! Splits `runbook.md` into its YAML frontmatter and its Markdown body.

/// The two halves of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// The YAML between the two `---` lines.
    pub yaml: &'a str,
    /// Line of the file, counted from 1, that the YAML starts on.
    pub first_line: u64,
    /// Everything after the second `---` line.
    pub body: &'a str,
}

/// Why there is no frontmatter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum SplitError {
    #[error("the file must start with a line `---` followed by the frontmatter")]
    Missing,
    #[error("the frontmatter opened on line 1 is not closed by a line `---`")]
    Unclosed,
}

/// Finds the frontmatter. A byte order mark and CRLF line ends are tolerated.
pub fn split(text: &str) -> Result<Split<'_>, SplitError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split_inclusive('\n');
    let opening = lines.next().filter(|line| line.trim_end() == "---").ok_or(SplitError::Missing)?;
    let mut end = opening.len();
    for line in lines {
        if line.trim_end() == "---" {
            return Ok(Split { yaml: &text[opening.len()..end], first_line: 2, body: &text[end + line.len()..] });
        }
        end += line.len();
    }
    Err(SplitError::Unclosed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_with_any_line_ends() {
        let split = split("\u{feff}---\r\na: 1\r\n---\r\nBody\r\n---\r\n").unwrap();
        assert_eq!((split.yaml, split.first_line, split.body), ("a: 1\r\n", 2, "Body\r\n---\r\n"));
    }

    #[test]
    fn says_what_is_missing() {
        assert_eq!(split("# Title\n---\na: 1\n---\n"), Err(SplitError::Missing));
        assert_eq!(split(""), Err(SplitError::Missing));
        assert_eq!(split("---\na: 1\n"), Err(SplitError::Unclosed));
        assert_eq!(split("---\n---").unwrap().yaml, "");
    }
}
