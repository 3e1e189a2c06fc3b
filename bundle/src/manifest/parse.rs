//! Reads the frontmatter. Every finding is collected; unknown keys are warnings, since published bundles carry some.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::reader::ManifestReader;
use super::{
    MAX_ACTIVITIES, MAX_OUTPUTS, MAX_SLUG, MAX_STEPS, ManifestActivity, ManifestEffect, ManifestStep, Parsed,
    RunbookManifest, Template, is_valid_slug, is_valid_step_id,
};
use crate::config_schema::ConfigSchema;
use crate::finding::{Finding, one_line};
use crate::frontmatter;
use crate::path_rules;
use crate::yaml::{self, Node, NodeKind};

const TOP_KEYS: &[&str] = &[
    "id",
    "slug",
    "name",
    "description",
    "classification",
    "tags",
    "jurisdictions",
    "version",
    "visibility",
    "state",
    "author",
    "steps",
    "templates",
    "config_schema",
    "configSchema",
    "activities",
    "outputs",
    "handles_cancel",
    "handlesCancel",
];
const STEP_KEYS: &[&str] = &[
    "id",
    "label",
    "title",
    "component",
    "responsibility",
    "activity",
    "timeout_minutes",
    "timeoutMinutes",
    "config",
    "description",
    "expectedDurationDays",
    "expected_duration_days",
    "icon",
    "requires",
    "effect",
];

pub(super) fn parse(text: &str) -> Parsed {
    let mut reader = ManifestReader { file: "runbook.md", findings: Vec::new(), first_line: 1 };
    let manifest = reader.document(text);
    let failed = reader.findings.iter().any(Finding::is_error);
    reader.findings.sort_by_key(|finding| finding.line);
    Parsed { manifest: manifest.filter(|_| !failed), findings: reader.findings }
}

impl ManifestReader {
    fn document(&mut self, text: &str) -> Option<RunbookManifest> {
        let split = match frontmatter::split(text) {
            Ok(split) => split,
            Err(error) => {
                self.findings.push(Finding::error("FRONTMATTER_MISSING", error.to_string()).at(self.file, Some(1)));
                return None;
            }
        };
        self.first_line = split.first_line;
        let top = match yaml::parse(split.yaml) {
            Ok(top) => top,
            Err(error) => {
                let line = error.line.map(|line| self.file_line(line));
                self.findings.push(Finding::error("FRONTMATTER_PARSE_ERROR", error.message).at(self.file, line));
                return None;
            }
        };
        if !matches!(top.kind, NodeKind::Mapping(_)) {
            let message = format!("the frontmatter must be a mapping, not {}", top.type_name());
            self.error("FRONTMATTER_NOT_MAPPING", &message, &top);
            return None;
        }
        self.manifest(&top, split.body)
    }

    fn manifest(&mut self, top: &Node, body: &str) -> Option<RunbookManifest> {
        self.unknown_keys(top, TOP_KEYS, "");
        let slug = self.required(top, "slug");
        let name = self.required(top, "name");
        let version = self.version(top);
        let state = self.required(top, "state");
        let author = self.required(top, "author");
        if let (Some(slug), Some(node)) = (&slug, top.get("slug"))
            && !is_valid_slug(slug)
        {
            let message = format!(
                "invalid slug `{}`: use at most {MAX_SLUG} lowercase letters, digits and inner hyphens",
                one_line(slug)
            );
            self.error("SLUG_INVALID", &message, node);
        }
        let (steps, mut activities) = self.steps(top);
        self.activities(top, &mut activities);
        self.check_requires(&steps, &activities);
        let config_schema = self.config_schema(top, &steps);
        let outputs = self.outputs(top);
        let handles_cancel = self.flag(top, ["handles_cancel", "handlesCancel"]);
        let templates = self.templates(top);
        let id = self.text(top, "id", "id");
        let (description, classification, visibility) = (
            self.long_text(top, "description", "description"),
            self.text(top, "classification", "classification"),
            self.text(top, "visibility", "visibility"),
        );
        let (tags, jurisdictions) = (self.texts(top, "tags"), self.texts(top, "jurisdictions"));
        let slug = slug?;
        Some(RunbookManifest {
            id: id.unwrap_or_else(|| format!("rb-{slug}")),
            slug,
            name: name?,
            description,
            version: version?,
            state: state?,
            author: author?,
            classification,
            visibility,
            tags,
            jurisdictions,
            steps,
            templates,
            activities: activities.into_iter().map(|(name, (policy, _))| (name, policy)).collect(),
            outputs,
            handles_cancel,
            config_schema,
            body: body.to_owned(),
        })
    }

    fn version(&mut self, top: &Node) -> Option<semver::Version> {
        let node = top.get("version");
        if let Some(node) = node
            && matches!(node.kind, NodeKind::Number(_))
        {
            self.error("VERSION_INVALID", "version must be a semantic version such as `1.0.0`, not a number", node);
            return None;
        }
        let text = self.required(top, "version")?;
        match text.parse() {
            Ok(version) => Some(version),
            Err(error) => {
                let message = format!("invalid version `{}`: not a semantic version: {error}", one_line(&text));
                self.error("VERSION_INVALID", &message, node?);
                None
            }
        }
    }

    fn steps(&mut self, top: &Node) -> (Vec<ManifestStep>, Policies) {
        let mut steps: Vec<ManifestStep> = Vec::new();
        let mut policies = Policies::new();
        let Some(nodes) = self.list(top, "steps") else { return (steps, policies) };
        if nodes.len() > MAX_STEPS {
            self.error("STEPS_TOO_MANY", &format!("{} steps, at most {MAX_STEPS} are allowed", nodes.len()), top);
            return (steps, policies);
        }
        for (index, node) in nodes.iter().enumerate() {
            let place = format!("steps[{index}]");
            if !matches!(node.kind, NodeKind::Mapping(_)) {
                self.invalid(&place, "a mapping", node);
                continue;
            }
            self.unknown_keys(node, STEP_KEYS, &format!("{place}."));
            let Some(step) = self.step(node, &place) else { continue };
            if steps.iter().any(|earlier| earlier.id == step.id) {
                self.error("STEP_ID_DUPLICATE", &format!("step id `{}` is used twice", step.id), node);
                continue;
            }
            self.step_policy(node, &place, &step, &mut policies);
            steps.push(step);
        }
        (steps, policies)
    }

    fn step(&mut self, node: &Node, place: &str) -> Option<ManifestStep> {
        let Some(id_node) = node.get("id").filter(|id| !id.is_null()) else {
            self.error("FRONTMATTER_FIELD_MISSING", &format!("field `{place}.id` is required"), node);
            return None;
        };
        let id = self.text(node, "id", &format!("{place}.id"))?;
        if !is_valid_step_id(&id) {
            let message = format!(
                "invalid step id `{}`: use at most 63 letters, digits, `_` and `-`, starting with a letter or digit",
                one_line(&id)
            );
            self.error("STEP_ID_INVALID", &message, id_node);
            return None;
        }
        let title = self.text(node, "title", &format!("{place}.title"));
        let label = self.text(node, "label", &format!("{place}.label"));
        let timeout_minutes = node.get("timeout_minutes").or_else(|| node.get("timeoutMinutes")).and_then(|timeout| {
            match &timeout.kind {
                NodeKind::Number(number) if number.as_u64().is_some_and(|n| n > 0) => number.as_u64(),
                NodeKind::Null => None,
                _ => {
                    self.invalid(&format!("{place}.timeout_minutes"), "a positive whole number", timeout);
                    None
                }
            }
        });
        Some(ManifestStep {
            title: title.or(label).unwrap_or_else(|| id.clone()),
            component: self.text(node, "component", &format!("{place}.component")),
            responsibility: self.text(node, "responsibility", &format!("{place}.responsibility")),
            activity: self.text(node, "activity", &format!("{place}.activity")),
            timeout_minutes,
            description: self.long_text(node, "description", &format!("{place}.description")),
            config: node.get("config").filter(|config| !config.is_null()).map(Node::to_json),
            id,
        })
    }

    /// A policy written inside the step that runs the activity.
    fn step_policy(&mut self, node: &Node, place: &str, step: &ManifestStep, policies: &mut Policies) {
        let policy = self.policy(node, place);
        if policy == ManifestActivity::default() {
            return;
        }
        match &step.activity {
            Some(activity) => self.add_policy(activity, policy, node, policies),
            None => self.error(
                "ACTIVITY_MISSING",
                &format!("{place} has `requires` or `effect` but names no `activity`"),
                node,
            ),
        }
    }

    fn activities(&mut self, top: &Node, policies: &mut Policies) {
        let Some(node) = top.get("activities").filter(|node| !node.is_null()) else { return };
        let NodeKind::Mapping(entries) = &node.kind else {
            self.invalid("activities", "a mapping of activity names", node);
            return;
        };
        if entries.len() > MAX_ACTIVITIES {
            let message = format!("{} activities, at most {MAX_ACTIVITIES} are allowed", entries.len());
            self.error("ACTIVITIES_TOO_MANY", &message, node);
            return;
        }
        for (name, entry) in entries {
            let place = format!("activities.{}", one_line(name));
            if !matches!(entry.kind, NodeKind::Mapping(_)) {
                self.invalid(&place, "a mapping with `requires` and `effect`", entry);
                continue;
            }
            if let NodeKind::Mapping(keys) = &entry.kind {
                for (key, value) in keys.iter().filter(|(key, _)| !matches!(key.as_str(), "requires" | "effect")) {
                    // An error, unlike elsewhere: a misspelt `requires` would silently drop a protection.
                    let message = format!("unknown field `{place}.{}`", one_line(key));
                    self.error("ACTIVITY_FIELD_UNKNOWN", &message, value);
                }
            }
            let policy = self.policy(entry, &place);
            self.add_policy(name, policy, entry, policies);
        }
    }

    fn policy(&mut self, node: &Node, place: &str) -> ManifestActivity {
        let requires = self.text(node, "requires", &format!("{place}.requires"));
        let effect = self.text(node, "effect", &format!("{place}.effect")).and_then(|effect| match effect.as_str() {
            "none" => Some(ManifestEffect::None),
            "idempotent" => Some(ManifestEffect::Idempotent),
            "external" => Some(ManifestEffect::External),
            other => {
                let message = format!("invalid {place}.effect `{}`: use none, idempotent or external", one_line(other));
                self.error("EFFECT_INVALID", &message, node.get("effect").unwrap_or(node));
                None
            }
        });
        ManifestActivity { requires, effect }
    }

    fn add_policy(&mut self, activity: &str, policy: ManifestActivity, node: &Node, policies: &mut Policies) {
        let line = node.get("requires").unwrap_or(node).line;
        let (known, _) = policies.entry(activity.to_owned()).or_insert_with(|| (ManifestActivity::default(), line));
        let conflict = (known.requires.is_some() && policy.requires.is_some() && known.requires != policy.requires)
            || (known.effect.is_some() && policy.effect.is_some() && known.effect != policy.effect);
        known.requires = known.requires.take().or(policy.requires);
        known.effect = known.effect.take().or(policy.effect);
        if conflict {
            let message = format!("activity `{}` is declared twice with different policies", one_line(activity));
            self.error("ACTIVITY_CONFLICT", &message, node);
        }
    }

    fn check_requires(&mut self, steps: &[ManifestStep], policies: &Policies) {
        let ids: BTreeSet<&str> = steps.iter().map(|step| step.id.as_str()).collect();
        for (activity, (policy, line)) in policies {
            if let Some(requires) = policy.requires.as_deref().filter(|requires| !ids.contains(requires)) {
                let message = format!(
                    "activity `{}` requires step `{}`, which is not declared under `steps`",
                    one_line(activity),
                    one_line(requires)
                );
                self.error_at("REQUIRES_UNKNOWN_STEP", &message, *line);
            }
        }
    }

    fn config_schema(&mut self, top: &Node, steps: &[ManifestStep]) -> Option<Value> {
        let node = ["config_schema", "configSchema"].iter().find_map(|key| top.get(key)).filter(|n| !n.is_null())?;
        let raw = node.to_json();
        match ConfigSchema::parse(&raw) {
            Ok(schema) => {
                for step in schema.step_ids().filter(|id| !steps.iter().any(|step| step.id == *id)) {
                    let message = format!("config_schema.steps.{step} is not a declared step");
                    self.warning("CONFIG_SCHEMA_UNKNOWN_STEP", &message, node);
                }
                if !schema.is_mapped() {
                    let message = "config_schema has neither `global` nor `steps`, so it describes no field";
                    self.warning("CONFIG_SCHEMA_EMPTY", message, node);
                }
            }
            Err(errors) => {
                for error in errors {
                    // The closest ancestor that exists in the file gives the line.
                    let mut at = node;
                    for key in &error.path {
                        at = at.get(key).unwrap_or(at);
                    }
                    self.error("CONFIG_SCHEMA_INVALID", &error.to_string(), at);
                }
            }
        }
        Some(raw)
    }

    fn outputs(&mut self, top: &Node) -> Vec<String> {
        let outputs = self.texts(top, "outputs");
        let Some(node) = top.get("outputs") else { return outputs };
        if outputs.len() > MAX_OUTPUTS {
            let message = format!("{} outputs, at most {MAX_OUTPUTS} are allowed", outputs.len());
            self.error("OUTPUTS_TOO_MANY", &message, node);
        }
        let mut seen = BTreeSet::new();
        for output in &outputs {
            if let Err(error) = path_rules::check(output, 4) {
                self.error("OUTPUT_INVALID", &format!("output `{}` {error}", one_line(output)), node);
            } else if !seen.insert(output) {
                self.error("OUTPUT_INVALID", &format!("output `{output}` is listed twice"), node);
            }
        }
        outputs
    }

    fn templates(&mut self, top: &Node) -> Vec<Template> {
        let nodes = self.list(top, "templates").unwrap_or_default();
        let mut templates = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let place = format!("templates[{index}]");
            match &node.kind {
                NodeKind::String(path) => templates.push(Template { path: path.clone(), description: None }),
                NodeKind::Mapping(_) => {
                    let description = self.long_text(node, "description", &format!("{place}.description"));
                    match self.text(node, "path", &format!("{place}.path")) {
                        Some(path) => templates.push(Template { path, description }),
                        None => self.invalid(&format!("{place}.path"), "a path", node),
                    }
                }
                _ => self.invalid(&place, "a mapping with `path` and `description`", node),
            }
        }
        templates
    }
}

/// Policies by activity name, each with the YAML line that declared it.
type Policies = BTreeMap<String, (ManifestActivity, u64)>;
