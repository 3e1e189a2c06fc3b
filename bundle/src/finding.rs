//! Findings about a bundle, for people and for machines.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a finding makes the bundle unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The bundle cannot be used.
    Error,
    /// The bundle works; the author may want to know.
    Warning,
}

/// One finding. Prints as one line: `runbook.md:12: FRONTMATTER_FIELD_MISSING: field "slug" is required`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code in upper snake case.
    pub code: String,
    /// Whether it makes the bundle unusable.
    pub severity: Severity,
    /// One line for a person.
    pub message: String,
    /// Path inside the bundle, with `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Line of that file, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

impl Finding {
    /// A finding that makes the bundle unusable.
    pub fn error(code: &str, message: impl AsRef<str>) -> Self {
        Self {
            code: code.to_owned(),
            severity: Severity::Error,
            message: one_line(message.as_ref()),
            path: None,
            line: None,
        }
    }

    /// A finding that does not.
    pub fn warning(code: &str, message: impl AsRef<str>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, path: &str, line: Option<u64>) -> Self {
        self.path = Some(one_line(path));
        self.line = line;
        self
    }

    /// Whether the bundle is unusable because of this.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, self.line) {
            (Some(path), Some(line)) => write!(f, "{path}:{line}: ")?,
            (Some(path), None) => write!(f, "{path}: ")?,
            (None, _) => {}
        }
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Replaces control characters, so that text from a bundle stays on its line and cannot steer a terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}
