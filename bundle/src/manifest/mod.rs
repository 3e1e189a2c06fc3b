//! What `runbook.md` says about a runbook.

mod parse;
mod reader;

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::finding::Finding;
use crate::reference::Digest;

/// Longest slug: it becomes the name of a Runbook, which prefixes the names of everything that belongs to it.
pub const MAX_SLUG: usize = 30;
/// Most steps of a runbook.
pub const MAX_STEPS: usize = 64;
/// Most outputs a runbook may list.
pub const MAX_OUTPUTS: usize = 64;
/// Most activities with a policy.
pub const MAX_ACTIVITIES: usize = 256;

/// The frontmatter and body of `runbook.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunbookManifest {
    /// Stable id, `rb-<slug>` unless given.
    pub id: String,
    /// Name of the runbook in every system: a DNS label of at most 30 characters.
    pub slug: String,
    /// Title for people.
    pub name: String,
    /// Summary for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Version of this bundle.
    pub version: Version,
    /// Life-cycle state in the author's library, such as `DRAFT`. Not interpreted.
    pub state: String,
    /// Who wrote it.
    pub author: String,
    /// Library category. Not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<String>,
    /// Library visibility. Not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
    /// Library filters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Library filters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jurisdictions: Vec<String>,
    /// Steps in the order people see them.
    #[serde(default)]
    pub steps: Vec<ManifestStep>,
    /// Source files the author describes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<Template>,
    /// Policies by activity name. An activity that is not listed needs no gate and has an undeclared effect.
    #[serde(default)]
    pub activities: BTreeMap<String, ManifestActivity>,
    /// Names of the run's output files that may be shown outside the journal.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// Workflow code is told of a cancellation also if no pod holds its run then, so that it can undo what it has done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handles_cancel: bool,
    /// The configuration schema as written; see [`crate::config_schema`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
    /// The Markdown after the frontmatter.
    #[serde(skip)]
    pub body: String,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestStep {
    /// Id, unique within the runbook: letters, digits, `_` and `-`, at most 63.
    pub id: String,
    /// Title for people; the id unless given.
    pub title: String,
    /// User interface component, such as `DATA_TABLE` or `APPROVAL`. Not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Who acts in this step. Not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responsibility: Option<String>,
    /// The activity the step runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
    /// How long the step may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_minutes: Option<u64>,
    /// What the step does, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Settings of the component. Not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// A described source file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Path inside the bundle.
    pub path: String,
    /// Its duty, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What the runtime must know about an activity before executing it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestActivity {
    /// Id of the step whose gate must be approved in the same run first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<String>,
    /// What the activity does to the outside world; undeclared is treated as [`ManifestEffect::External`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<ManifestEffect>,
}

/// What an activity does to the outside world, which decides whether it may be repeated after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManifestEffect {
    /// Nothing: may be repeated freely.
    None,
    /// Something that may be repeated without harm.
    Idempotent,
    /// Something that must not be repeated without a person saying so.
    External,
}

/// The result of reading `runbook.md`.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The manifest, if nothing is wrong with it.
    pub manifest: Option<RunbookManifest>,
    /// Everything found, warnings included.
    pub findings: Vec<Finding>,
}

impl RunbookManifest {
    /// Reads the text of a `runbook.md`, collecting every finding.
    pub fn parse(text: &str) -> Parsed {
        parse::parse(text)
    }

    /// The class `templates/workflow.py` must define: each part of the slug capitalised, then `Workflow`.
    pub fn workflow_class(&self) -> String {
        workflow_class(&self.slug)
    }

    /// Digest of the configuration schema as written, its keys in sorted order.
    pub fn config_schema_digest(&self) -> Option<Digest> {
        self.config_schema.as_ref().map(|schema| Digest::of(schema.to_string().as_bytes()))
    }
}

/// The workflow class of a slug: `nav-monthly` gives `NavMonthlyWorkflow`.
pub fn workflow_class(slug: &str) -> String {
    let mut class = String::new();
    for part in slug.split('-') {
        let mut letters = part.chars();
        if let Some(first) = letters.next() {
            class.extend(first.to_uppercase());
            class.push_str(letters.as_str());
        }
    }
    class + "Workflow"
}

/// Whether a slug can name a Runbook: a DNS label of at most [`MAX_SLUG`] characters.
pub fn is_valid_slug(slug: &str) -> bool {
    !slug.is_empty()
        && slug.len() <= MAX_SLUG
        && slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !slug.starts_with('-')
        && !slug.ends_with('-')
}

/// Whether an id can name a step.
pub fn is_valid_step_id(id: &str) -> bool {
    id.len() <= 63
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests;
