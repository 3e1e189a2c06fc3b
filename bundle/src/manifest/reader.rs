//! Reads typed values from a YAML tree and collects findings with their lines.

use crate::finding::{Finding, one_line};
use crate::yaml::{Node, NodeKind};

/// Longest text shown outside the journal, in characters.
const MAX_TITLE: usize = 200;

pub(super) struct ManifestReader {
    /// Path of the file inside the bundle.
    pub(super) file: &'static str,
    pub(super) findings: Vec<Finding>,
    /// Line of the file that the YAML starts on.
    pub(super) first_line: u64,
}

impl ManifestReader {
    pub(super) fn required(&mut self, top: &Node, key: &str) -> Option<String> {
        if let Some(node) = top.get(key).filter(|node| !node.is_null()) {
            let text = self.text(top, key, key);
            if text.as_deref().is_some_and(|text| text.trim().is_empty()) {
                self.error("FRONTMATTER_FIELD_MISSING", &format!("field `{key}` must not be empty"), node);
                return None;
            }
            return text;
        }
        self.error("FRONTMATTER_FIELD_MISSING", &format!("field `{key}` is required"), top);
        None
    }

    /// A short text: one line that may be shown anywhere.
    pub(super) fn text(&mut self, node: &Node, key: &str, place: &str) -> Option<String> {
        let text = self.long_text(node, key, place)?;
        if text.chars().count() > MAX_TITLE || text.chars().any(char::is_control) {
            let at = node.get(key).unwrap_or(node);
            let message = format!("field `{place}` must be one line of at most {MAX_TITLE} characters");
            self.error("FRONTMATTER_FIELD_INVALID", &message, at);
            return None;
        }
        Some(text)
    }

    pub(super) fn long_text(&mut self, node: &Node, key: &str, place: &str) -> Option<String> {
        let node = node.get(key)?;
        match &node.kind {
            NodeKind::String(text) => Some(text.clone()),
            NodeKind::Null => None,
            _ => {
                self.invalid(place, "a string", node);
                None
            }
        }
    }

    /// True or false; false if neither spelling of the key is there.
    pub(super) fn flag(&mut self, top: &Node, keys: [&str; 2]) -> bool {
        let Some((key, node)) = keys.into_iter().find_map(|key| Some((key, top.get(key)?))) else { return false };
        match node.kind {
            NodeKind::Bool(value) => value,
            NodeKind::Null => false,
            _ => {
                self.invalid(key, "true or false", node);
                false
            }
        }
    }

    pub(super) fn texts(&mut self, top: &Node, key: &str) -> Vec<String> {
        let nodes = self.list(top, key).unwrap_or_default();
        let mut texts = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            match &node.kind {
                NodeKind::String(text) => texts.push(text.clone()),
                _ => self.invalid(&format!("{key}[{index}]"), "a string", node),
            }
        }
        texts
    }

    pub(super) fn list<'n>(&mut self, top: &'n Node, key: &str) -> Option<&'n [Node]> {
        let node = top.get(key)?;
        match &node.kind {
            NodeKind::Sequence(items) => Some(items),
            NodeKind::Null => None,
            _ => {
                self.invalid(key, "a list", node);
                None
            }
        }
    }

    pub(super) fn unknown_keys(&mut self, node: &Node, known: &[&str], prefix: &str) {
        let NodeKind::Mapping(entries) = &node.kind else { return };
        for (key, value) in entries.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            let message = format!("unknown field `{prefix}{}` has no effect", one_line(key));
            self.warning("FRONTMATTER_FIELD_UNKNOWN", &message, value);
        }
    }

    pub(super) fn invalid(&mut self, place: &str, expected: &str, node: &Node) {
        let message = format!("field `{place}` must be {expected}, not {}", node.type_name());
        self.error("FRONTMATTER_FIELD_INVALID", &message, node);
    }

    pub(super) fn error(&mut self, code: &str, message: &str, node: &Node) {
        self.error_at(code, message, node.line);
    }

    pub(super) fn error_at(&mut self, code: &str, message: &str, yaml_line: u64) {
        let line = self.file_line(yaml_line);
        self.findings.push(Finding::error(code, message).at(self.file, Some(line)));
    }

    pub(super) fn warning(&mut self, code: &str, message: &str, node: &Node) {
        let line = self.file_line(node.line);
        self.findings.push(Finding::warning(code, message).at(self.file, Some(line)));
    }

    pub(super) fn file_line(&self, yaml_line: u64) -> u64 {
        yaml_line.max(1) + self.first_line - 1
    }
}
