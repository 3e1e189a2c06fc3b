//! Which files of a bundle directory belong to the bundle.
//!
//! Everything does, except version control, caches of tools, virtual environments, `tests/` at the top (not needed at run
//! time) and what `.ntroignore` lists. Links and special files are refused rather than skipped, since a silent skip
//! loses files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::finding::Finding;
use crate::limits::{BundleLimits, MAX_RUNBOOK_MD};
use crate::path_rules::{self, PathSet};

/// Names that are never packed, wherever they are.
const EXCLUDED_NAMES: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".DS_Store",
    ".gitignore",
    ".ntroignore",
    "__pycache__",
    ".venv",
    "venv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".tox",
    ".idea",
    ".vscode",
];
/// Directory at the top that is never packed.
const EXCLUDED_TOP: &str = "tests";
const IGNORE_FILE: &str = ".ntroignore";

/// A file to pack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Path inside the bundle, with `/`.
    pub path: String,
    /// Where it lies.
    pub source: PathBuf,
    /// Bytes.
    pub size: u64,
}

/// The files of a bundle directory in byte order of their paths, and what is wrong with them.
pub fn list(dir: &Path, limits: &BundleLimits) -> io::Result<(Vec<File>, Vec<Finding>)> {
    let mut walk = Walk { limits, ignore: Vec::new(), files: Vec::new(), findings: Vec::new() };
    walk.read_ignore_file(&dir.join(IGNORE_FILE))?;
    walk.directory(dir, "")?;
    walk.files.sort();
    walk.check_set();
    Ok((walk.files, walk.findings))
}

struct Walk<'a> {
    limits: &'a BundleLimits,
    ignore: Vec<Pattern>,
    files: Vec<File>,
    findings: Vec<Finding>,
}

impl Walk<'_> {
    fn read_ignore_file(&mut self, path: &Path) -> io::Result<()> {
        let text = match read_text(path, MAX_RUNBOOK_MD) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with('!') {
                let message = format!("pattern `{line}`: exceptions with `!` are not supported");
                self.findings.push(Finding::error("NTROIGNORE_INVALID", message).at(IGNORE_FILE, Some(number)));
            } else {
                self.ignore.push(Pattern::new(line));
            }
        }
        Ok(())
    }

    fn directory(&mut self, dir: &Path, prefix: &str) -> io::Result<()> {
        let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str() else {
                let path = format!("{prefix}{}", file_name.to_string_lossy());
                self.findings.push(Finding::error("PATH_INVALID", "the name is not UTF-8").at(&path, None));
                continue;
            };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if self.is_excluded(&path, name, kind.is_dir()) {
                continue;
            }
            if let Err(error) = path_rules::check(&path, self.limits.depth) {
                self.findings.push(Finding::error("PATH_INVALID", format!("the path {error}")).at(&path, None));
            } else if kind.is_dir() {
                self.directory(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() {
                let size = entry.metadata()?.len();
                self.files.push(File { path, source: entry.path(), size });
            } else if kind.is_symlink() {
                let message = "symbolic links cannot be packed; copy the file or list it in .ntroignore";
                self.findings.push(Finding::error("SYMLINK_REFUSED", message).at(&path, None));
            } else {
                let message = "only regular files and directories can be packed";
                self.findings.push(Finding::error("SPECIAL_FILE_REFUSED", message).at(&path, None));
            }
            if self.files.len() > self.limits.entries {
                return Ok(());
            }
        }
        Ok(())
    }

    fn is_excluded(&self, path: &str, name: &str, directory: bool) -> bool {
        EXCLUDED_NAMES.contains(&name)
            || (path == EXCLUDED_TOP && directory)
            || Path::new(name).extension().is_some_and(|extension| extension == "pyc")
            || self.ignore.iter().any(|pattern| pattern.matches(path, directory))
    }

    fn check_set(&mut self) {
        let mut paths = PathSet::default();
        for file in &self.files {
            if let Err(error) = paths.add_file(&file.path) {
                self.findings.push(Finding::error("PATH_INVALID", format!("the path {error}")).at(&file.path, None));
            }
            if file.size > self.limits.file {
                let message = format!("{} bytes, at most {} are allowed", file.size, self.limits.file);
                self.findings.push(Finding::error("FILE_TOO_LARGE", message).at(&file.path, None));
            }
        }
        let total: u64 = self.files.iter().map(|file| file.size).sum();
        if total > self.limits.uncompressed {
            let message = format!("{total} bytes in total, at most {} are allowed", self.limits.uncompressed);
            self.findings.push(Finding::error("BUNDLE_TOO_LARGE", message));
        }
        if self.files.len() > self.limits.entries {
            let message = format!("more than {} files", self.limits.entries);
            self.findings.push(Finding::error("BUNDLE_TOO_LARGE", message));
        }
    }
}

/// Reads a text file of at most `max` bytes.
pub(crate) fn read_text(path: &Path, max: u64) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    let read = fs::File::open(path)?.take(max + 1).read_to_string(&mut text)?;
    if read as u64 > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {max} bytes")));
    }
    Ok(text)
}

/// One line of `.ntroignore`: `*` and `?` match within a component, `**` any number of components, a trailing `/`
/// restricts it to directories, and a pattern without another `/` matches at any depth.
#[derive(Debug)]
struct Pattern {
    components: Vec<String>,
    directories_only: bool,
}

impl Pattern {
    fn new(line: &str) -> Self {
        let directories_only = line.ends_with('/');
        let line = line.trim_end_matches('/');
        let anchored = line.contains('/');
        let components = line.trim_start_matches('/').split('/').map(str::to_owned);
        let any_depth = (!anchored).then(|| "**".to_owned());
        Self { components: any_depth.into_iter().chain(components).collect(), directories_only }
    }

    fn matches(&self, path: &str, directory: bool) -> bool {
        if self.directories_only && !directory {
            return false;
        }
        let pattern: Vec<&str> = self.components.iter().map(String::as_str).collect();
        let path: Vec<&str> = path.split('/').collect();
        glob(&pattern, &path, &|component| *component == "**", &|component, name| {
            let (component, name): (Vec<char>, Vec<char>) = (component.chars().collect(), name.chars().collect());
            glob(&component, &name, &|c| *c == '*', &|c, n| *c == '?' || c == n)
        })
    }
}

/// Matches a sequence against a pattern in which some items stand for any run; takes time proportional to the product
/// of the lengths, whatever the pattern.
fn glob<P, T>(pattern: &[P], text: &[T], is_any: &dyn Fn(&P) -> bool, matches: &dyn Fn(&P, &T) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && is_any(&pattern[p]) {
            retry = Some((p, t));
            p += 1;
        } else if p < pattern.len() && matches(&pattern[p], &text[t]) {
            p += 1;
            t += 1;
        } else if let Some((any, from)) = retry {
            retry = Some((any, from + 1));
            p = any + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, path: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    fn paths(dir: &Path) -> Vec<String> {
        let (files, findings) = list(dir, &BundleLimits::default()).unwrap();
        assert_eq!(findings, []);
        files.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn packs_everything_but_tools_and_tests() {
        let dir = tempfile::tempdir().unwrap();
        for path in [
            "runbook.md",
            "requirements.txt",
            "templates/workflow.py",
            "templates/tests/x.py",
            "data/2026-10/tb.xlsx",
            "data.txt",
            "migrations/1.sql",
            "tests/test_it.py",
            ".git/HEAD",
            "templates/__pycache__/w.cpython-311.pyc",
            "templates/old.pyc",
            ".venv/bin/python",
            ".env.example",
        ] {
            write(dir.path(), path);
        }
        fs::create_dir(dir.path().join("empty")).unwrap();
        assert_eq!(
            paths(dir.path()),
            [
                ".env.example",
                "data.txt",
                "data/2026-10/tb.xlsx",
                "migrations/1.sql",
                "requirements.txt",
                "runbook.md",
                "templates/tests/x.py",
                "templates/workflow.py",
            ]
        );
    }

    #[test]
    fn ignore_file_excludes_by_pattern() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a.log", "data/b.log", "data/raw/c.csv", "data/d.csv", "notes/x.md", "keep/notes", "data/x1.tmp"] {
            write(dir.path(), path);
        }
        fs::write(dir.path().join(".ntroignore"), "# comment\n\n*.log\n/data/raw/\nnotes/\ndata/**/x?.tmp\n").unwrap();
        assert_eq!(paths(dir.path()), ["data/d.csv", "keep/notes"]);
    }

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("*.log", "a/b/c.log", true),
            ("*.log", "a/b/c.logs", false),
            ("/a", "b/a", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/**", "a/b/c", true),
            ("**/c", "a/b/c", true),
            ("a*c?e", "abbbcde", true),
            ("a*c?e", "ace", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(path, false), expected, "{pattern} {path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_and_unsafe_names_are_named() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "data/a.csv");
        write(dir.path(), "data/A.csv");
        write(dir.path(), "data/back\\slash");
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("data/link")).unwrap();
        let (_, findings) = list(dir.path(), &BundleLimits::default()).unwrap();
        let found: Vec<_> = findings.iter().map(|p| (p.code.as_str(), p.path.as_deref().unwrap())).collect();
        assert_eq!(
            found,
            [("PATH_INVALID", "data/back\\slash"), ("SYMLINK_REFUSED", "data/link"), ("PATH_INVALID", "data/a.csv")]
        );
    }

    #[test]
    fn large_bundles_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a");
        write(dir.path(), "b");
        fs::write(dir.path().join("c"), [0; 100]).unwrap();
        let limits = BundleLimits { entries: 2, file: 50, uncompressed: 60, ..BundleLimits::default() };
        let codes: Vec<_> = list(dir.path(), &limits).unwrap().1.into_iter().map(|p| p.code).collect();
        assert_eq!(codes, ["FILE_TOO_LARGE", "BUNDLE_TOO_LARGE", "BUNDLE_TOO_LARGE"]);
    }
}
