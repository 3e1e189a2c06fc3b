//! Checks a bundle directory without running any of its code. All findings are collected.

use std::io;
use std::path::Path;

use crate::content::{self, File, read_text};
use crate::finding::Finding;
use crate::limits::{BundleLimits, MAX_RUNBOOK_MD};
use crate::manifest::{RunbookManifest, workflow_class};

const RUNBOOK: &str = "runbook.md";
const INIT: &str = "templates/__init__.py";
const WORKFLOW: &str = "templates/workflow.py";
const ACTIVITIES: &str = "templates/activities.py";

/// What a check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The manifest, if `runbook.md` itself is in order.
    pub manifest: Option<RunbookManifest>,
    /// The files that belong to the bundle, in byte order of their paths.
    pub files: Vec<File>,
    /// Everything found, errors first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether the bundle can be used.
    pub fn is_ok(&self) -> bool {
        !self.findings.iter().any(Finding::is_error)
    }

    /// Findings that make the bundle unusable.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_error())
    }

    /// Findings that do not.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.is_error())
    }
}

/// Checks a bundle directory or an unpacked bundle. Fails only if a directory cannot be read.
pub fn check(dir: &Path) -> io::Result<Report> {
    check_within(dir, &BundleLimits::default())
}

/// The same with other size limits.
pub fn check_within(dir: &Path, limits: &BundleLimits) -> io::Result<Report> {
    let mut report = Report { manifest: None, files: Vec::new(), findings: Vec::new() };
    if let Some(finding) = directory_problem(dir) {
        report.findings.push(finding);
        return Ok(report);
    }
    let (files, findings) = content::list(dir, limits)?;
    report.findings = findings;
    let has = |path: &str| files.iter().any(|file| file.path == path);

    let slug = if has(RUNBOOK) { read_runbook(dir, &mut report) } else { None };
    let required = [
        (RUNBOOK, "RUNBOOK_MD_MISSING"),
        (INIT, "TEMPLATES_INIT_MISSING"),
        (WORKFLOW, "WORKFLOW_PY_MISSING"),
        (ACTIVITIES, "ACTIVITIES_PY_MISSING"),
    ];
    for (path, code) in required.into_iter().filter(|(path, _)| !has(path)) {
        let message =
            if dir.join(path).is_file() { "the file is excluded by .ntroignore" } else { "the file is missing" };
        report.findings.push(Finding::error(code, message).at(path, None));
    }
    if let Some(slug) = slug.filter(|_| has(WORKFLOW)) {
        find_class(dir, &workflow_class(&slug), &mut report.findings);
    }
    if let Some(manifest) = &report.manifest {
        for template in manifest.templates.iter().filter(|template| !has(&template.path)) {
            let message = format!("`{}` is listed under `templates` but does not exist", template.path);
            report.findings.push(Finding::warning("TEMPLATE_FILE_MISSING", message).at(RUNBOOK, None));
        }
    }
    report.files = files;
    report.findings.sort_by_key(|finding| !finding.is_error());
    Ok(report)
}

fn directory_problem(dir: &Path) -> Option<Finding> {
    let shown = dir.display().to_string();
    if !dir.exists() {
        return Some(Finding::error("RUNBOOK_DIR_NOT_FOUND", "the directory does not exist").at(&shown, None));
    }
    (!dir.is_dir()).then(|| Finding::error("RUNBOOK_DIR_NOT_A_DIR", "not a directory").at(&shown, None))
}

/// Parses `runbook.md` into the report; returns the slug if it is in order.
fn read_runbook(dir: &Path, report: &mut Report) -> Option<String> {
    let text = match read_text(&dir.join(RUNBOOK), MAX_RUNBOOK_MD) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot read the file: {error}");
            report.findings.push(Finding::error("RUNBOOK_MD_UNREADABLE", message).at(RUNBOOK, None));
            return None;
        }
    };
    let parsed = RunbookManifest::parse(&text);
    report.findings.extend(parsed.findings);
    report.manifest = parsed.manifest;
    report.manifest.as_ref().map(|manifest| manifest.slug.clone())
}

/// Looks for the class textually: importing the module would run the bundle's code.
fn find_class(dir: &Path, class: &str, findings: &mut Vec<Finding>) {
    match read_text(&dir.join(WORKFLOW), BundleLimits::default().file) {
        Ok(source) if defines_class(&source, class) => {}
        Ok(_) => {
            let message = format!("class `{class}` is not defined; the name follows from the slug");
            findings.push(Finding::error("WORKFLOW_CLASS_NOT_FOUND", message).at(WORKFLOW, None));
        }
        Err(error) => {
            let message = format!("cannot read the file: {error}");
            findings.push(Finding::error("WORKFLOW_PY_UNREADABLE", message).at(WORKFLOW, None));
        }
    }
}

/// Whether Python source has the class at its top level.
fn defines_class(source: &str, class: &str) -> bool {
    source.lines().any(|line| {
        line.strip_prefix("class ")
            .and_then(|rest| rest.trim_start().strip_prefix(class))
            .is_some_and(|rest| rest.trim_start().starts_with(['(', ':']))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOOD: &str = "---\nslug: nav-monthly\nname: NAV\nversion: 1.0.0\nstate: DRAFT\nauthor: Us\n---\nBody\n";

    fn bundle(runbook: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("templates")).unwrap();
        for (path, text) in [(INIT, ""), (ACTIVITIES, ""), (WORKFLOW, "class NavMonthlyWorkflow(NtroWorkflow):\n")] {
            fs::write(dir.path().join(path), text).unwrap();
        }
        if let Some(runbook) = runbook {
            fs::write(dir.path().join(RUNBOOK), runbook).unwrap();
        }
        dir
    }

    fn lines(dir: &Path) -> Vec<String> {
        let report = check(dir).unwrap();
        assert_eq!(report.is_ok(), report.errors().next().is_none());
        report.findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_complete_bundle_passes() {
        let dir = bundle(Some(GOOD));
        let report = check(dir.path()).unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.manifest.unwrap().slug, "nav-monthly");
        assert_eq!(report.files.len(), 4);
    }

    #[test]
    fn missing_files_are_all_named() {
        let dir = bundle(None);
        for path in [INIT, ACTIVITIES, WORKFLOW] {
            fs::remove_file(dir.path().join(path)).unwrap();
        }
        assert_eq!(
            lines(dir.path()),
            [
                "runbook.md: RUNBOOK_MD_MISSING: the file is missing",
                "templates/__init__.py: TEMPLATES_INIT_MISSING: the file is missing",
                "templates/workflow.py: WORKFLOW_PY_MISSING: the file is missing",
                "templates/activities.py: ACTIVITIES_PY_MISSING: the file is missing",
            ]
        );
    }

    #[test]
    fn broken_frontmatter_names_the_line() {
        let dir = bundle(Some(&GOOD.replace("name: NAV", "name: [NAV")));
        let lines = lines(dir.path());
        assert!(lines.len() == 1 && lines[0].contains(": FRONTMATTER_PARSE_ERROR: "), "{lines:?}");
        assert!(lines[0].starts_with("runbook.md:3: ") || lines[0].starts_with("runbook.md:4: "), "{lines:?}");
    }

    #[test]
    fn the_workflow_class_must_follow_from_the_slug() {
        let dir = bundle(Some(GOOD));
        for source in ["class OtherWorkflow(X):", "# class NavMonthlyWorkflow(X):", "class NavMonthlyWorkflowX(X):"] {
            fs::write(dir.path().join(WORKFLOW), source).unwrap();
            assert_eq!(
                lines(dir.path()),
                [
                    "templates/workflow.py: WORKFLOW_CLASS_NOT_FOUND: class `NavMonthlyWorkflow` is not defined; the name follows from the slug"
                ],
                "{source}"
            );
        }
        fs::write(dir.path().join(WORKFLOW), "@runbook.defn\nclass NavMonthlyWorkflow :\r\n").unwrap();
        assert!(check(dir.path()).unwrap().is_ok());
    }

    #[test]
    fn no_directory() {
        let dir = bundle(Some(GOOD));
        assert!(lines(&dir.path().join("nowhere"))[0].contains("RUNBOOK_DIR_NOT_FOUND"));
        assert!(lines(&dir.path().join(RUNBOOK))[0].contains("RUNBOOK_DIR_NOT_A_DIR"));
    }

    #[test]
    fn warnings_do_not_fail_and_come_last() {
        let text = GOOD.replace("author: Us", "author: Us\nicon: Calendar\ntemplates: [{path: templates/gone.py}]");
        let dir = bundle(Some(&text));
        let report = check(dir.path()).unwrap();
        assert!(report.is_ok());
        let codes: Vec<_> = report.warnings().map(|p| p.code.as_str()).collect();
        assert_eq!(codes, ["FRONTMATTER_FIELD_UNKNOWN", "TEMPLATE_FILE_MISSING"]);
    }

    #[test]
    fn a_required_file_must_not_be_ignored() {
        let dir = bundle(Some(GOOD));
        fs::write(dir.path().join(".ntroignore"), "runbook.md\n").unwrap();
        assert_eq!(lines(dir.path()), ["runbook.md: RUNBOOK_MD_MISSING: the file is excluded by .ntroignore"]);
    }
}
