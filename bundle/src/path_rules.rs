//! Which paths a bundle may hold. The same rules hold when packing and when unpacking, so that whatever is packed can be
//! unpacked anywhere, and nothing unpacked can leave its directory.

use std::collections::HashMap;

use thiserror::Error;

/// Longest path, in bytes.
const MAX_PATH: usize = 512;
/// Longest component, in bytes.
const MAX_COMPONENT: usize = 255;

/// Why a path is refused. Reads as the end of a sentence that starts with the path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum PathError {
    #[error("is empty")]
    Empty,
    #[error("is absolute")]
    Absolute,
    #[error("has a `..`, `.` or empty component")]
    Traversal,
    #[error("has a backslash, colon or control character")]
    Character,
    #[error("is too long")]
    TooLong,
    #[error("is nested deeper than {0} levels")]
    TooDeep(usize),
    /// Also if the paths differ only in upper and lower case.
    #[error("clashes with `{0}`")]
    Clash(String),
}

/// Checks one relative path written with `/`.
pub fn check(path: &str, max_depth: usize) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    let bytes = path.as_bytes();
    let drive = matches!(bytes, [letter, b':', ..] if letter.is_ascii_alphabetic());
    if bytes.starts_with(b"/") || bytes.starts_with(b"\\") || drive {
        return Err(PathError::Absolute);
    }
    // A colon starts a stream or a drive on some systems.
    if path.chars().any(|c| c == '\\' || c == ':' || c.is_control()) {
        return Err(PathError::Character);
    }
    if path.split('/').any(|component| matches!(component, "" | "." | "..")) {
        return Err(PathError::Traversal);
    }
    if path.len() > MAX_PATH || path.split('/').any(|component| component.len() > MAX_COMPONENT) {
        return Err(PathError::TooLong);
    }
    if path.split('/').count() > max_depth {
        return Err(PathError::TooDeep(max_depth));
    }
    Ok(())
}

/// Remembers the paths of one bundle and refuses those that could not exist beside each other on every file system.
#[derive(Debug, Default)]
pub struct PathSet {
    /// Folded path to the path as first seen and whether it is a directory.
    seen: HashMap<String, (String, bool)>,
}

impl PathSet {
    /// Adds a file whose path passed [`check`].
    pub fn add_file(&mut self, path: &str) -> Result<(), PathError> {
        self.add_parents(path)?;
        self.add(path, false)
    }

    /// Adds a directory whose path passed [`check`], as an entry of its own.
    pub fn add_directory(&mut self, path: &str) -> Result<(), PathError> {
        self.add_parents(path)?;
        self.add(path, true)
    }

    fn add_parents(&mut self, path: &str) -> Result<(), PathError> {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            match self.seen.get(&fold(parent)) {
                Some((first, true)) if first == parent => {}
                Some((first, _)) => return Err(PathError::Clash(first.clone())),
                None => {
                    self.seen.insert(fold(parent), (parent.to_owned(), true));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &str, directory: bool) -> Result<(), PathError> {
        match self.seen.insert(fold(path), (path.to_owned(), directory)) {
            None => Ok(()),
            Some((first, _)) => Err(PathError::Clash(first)),
        }
    }
}

fn fold(path: &str) -> String {
    path.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_the_directory_are_refused() {
        for (path, expected) in [
            ("", PathError::Empty),
            ("/etc/passwd", PathError::Absolute),
            ("\\\\host\\share", PathError::Absolute),
            ("C:/windows", PathError::Absolute),
            ("c:evil", PathError::Absolute),
            ("../x", PathError::Traversal),
            ("a/../../x", PathError::Traversal),
            ("a/..", PathError::Traversal),
            ("./a", PathError::Traversal),
            ("a//b", PathError::Traversal),
            ("a/", PathError::Traversal),
            ("a\\..\\b", PathError::Character),
            ("a\0b", PathError::Character),
            ("a\nb", PathError::Character),
            ("data/x:y", PathError::Character),
            ("a/b/c/d/e", PathError::TooDeep(4)),
        ] {
            assert_eq!(check(path, 4), Err(expected), "{path:?}");
        }
        assert_eq!(check(&"a".repeat(300), 4), Err(PathError::TooLong));
        for path in ["runbook.md", "data/2026-10/Trial Balance (final).xlsx", "..a/b..", ".ntroignore", "é/ü.csv"] {
            assert_eq!(check(path, 4), Ok(()), "{path:?}");
        }
    }

    #[test]
    fn clashes_are_found_in_files_and_parents() {
        let mut set = PathSet::default();
        set.add_file("data/a.csv").unwrap();
        set.add_file("data/b.csv").unwrap();
        for path in ["data/a.csv", "data/A.csv", "DATA/c.csv", "data/a.csv/x", "data"] {
            assert!(matches!(set.add_file(path), Err(PathError::Clash(_))), "{path}");
        }
        let mut set = PathSet::default();
        set.add_directory("data").unwrap();
        set.add_file("data/a").unwrap();
        assert!(set.add_directory("data").is_err());
    }
}
