//! A bundle as an OCI 1.1 artifact: an image manifest with our artifact type, a config blob that describes the runbook
//! and one layer that holds the files.

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::config_schema::ConfigSchema;
use crate::finding::one_line;
use crate::limits::BundleLimits;
use crate::manifest::{ManifestActivity, RunbookManifest};
use crate::reference::Digest;

/// `artifactType` of a bundle.
pub const ARTIFACT_TYPE: &str = "application/vnd.ntro.runbook.v1";
/// Media type of the config blob, a [`BundleConfig`] as JSON.
pub const CONFIG_MEDIA_TYPE: &str = "application/vnd.ntro.runbook.config.v1+json";
/// Media type of the only layer, a gzipped tar of the files.
pub const LAYER_MEDIA_TYPE: &str = "application/vnd.ntro.runbook.content.v1.tar+gzip";
/// Media type of an OCI image manifest.
pub const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI image index, which is recognised to be refused with a clear message.
pub const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Largest manifest that is read, in bytes.
pub const MAX_MANIFEST: u64 = 256 << 10;
/// Largest config blob that is read or written, in bytes.
pub const MAX_CONFIG: u64 = 1 << 20;

/// What is known about a bundle without its files; the artifact's config blob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleConfig {
    /// Stable id of the runbook.
    pub id: String,
    /// Slug of the runbook.
    pub slug: String,
    /// Title for people.
    pub name: String,
    /// Version of the bundle.
    pub version: Version,
    /// Steps in order.
    pub steps: Vec<BundleStep>,
    /// Policies by activity name.
    #[serde(default)]
    pub activities: BTreeMap<String, ManifestActivity>,
    /// Output files that may be named outside the journal.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// Workflow code is told of a cancellation also if no pod holds its run then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handles_cancel: bool,
    /// The configuration schema as written in `runbook.md`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
    /// Class in `templates/workflow.py` that is run.
    pub workflow_class: String,
    /// Digest of the uncompressed tar: equal files have an equal one, whatever compressed them.
    pub content_digest: Digest,
}

/// A step as far as others need to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleStep {
    /// Id of the step.
    pub id: String,
    /// Title for people.
    pub title: String,
    /// User interface component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
}

impl BundleConfig {
    /// Describes a bundle.
    pub fn new(manifest: &RunbookManifest, content_digest: Digest) -> Self {
        let step = |step: &crate::manifest::ManifestStep| BundleStep {
            id: step.id.clone(),
            title: step.title.clone(),
            component: step.component.clone(),
        };
        Self {
            id: manifest.id.clone(),
            slug: manifest.slug.clone(),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            steps: manifest.steps.iter().map(step).collect(),
            activities: manifest.activities.clone(),
            outputs: manifest.outputs.clone(),
            handles_cancel: manifest.handles_cancel,
            config_schema: manifest.config_schema.clone(),
            workflow_class: manifest.workflow_class(),
            content_digest,
        }
    }

    /// The first field in which this description and the bundle's own `runbook.md` disagree. What decides about a run
    /// is compared; titles and the like are not.
    pub fn contradiction(&self, manifest: &RunbookManifest) -> Option<&'static str> {
        let ids = self.steps.iter().map(|step| &step.id);
        [
            ("slug", self.slug == manifest.slug),
            ("version", self.version == manifest.version),
            ("steps", ids.eq(manifest.steps.iter().map(|step| &step.id))),
            ("activities", self.activities == manifest.activities),
            ("outputs", self.outputs == manifest.outputs),
            ("handlesCancel", self.handles_cancel == manifest.handles_cancel),
            ("config_schema", self.config_schema == manifest.config_schema),
        ]
        .into_iter()
        .find_map(|(field, equal)| (!equal).then_some(field))
    }

    /// The parsed configuration schema; a bundle without one accepts any configuration.
    pub fn config_schema(&self) -> Result<ConfigSchema, ArtifactError> {
        let Some(raw) = &self.config_schema else { return Ok(ConfigSchema::default()) };
        ConfigSchema::parse(raw).map_err(|errors| {
            let first = errors.first().map(ToString::to_string).unwrap_or_default();
            ArtifactError::ConfigInvalid(first)
        })
    }
}

/// Why an artifact is not a usable bundle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum ArtifactError {
    #[error("invalid manifest: {0}")]
    ManifestInvalid(String),
    #[error("not a runbook bundle: {what} is `{found}`, expected `{expected}`")]
    WrongType { what: &'static str, found: String, expected: &'static str },
    #[error("not a runbook bundle: {0} layers, expected 1")]
    Layers(usize),
    #[error("invalid bundle description: {0}")]
    ConfigInvalid(String),
    #[error("{what} has {size} bytes, at most {max} are allowed")]
    TooLarge { what: &'static str, size: u64, max: u64 },
}

/// A blob an artifact consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Free-form information.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The blobs of a bundle, read from its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleManifest {
    /// The config blob.
    pub config: Descriptor,
    /// The files.
    pub layer: Descriptor,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// Serialises the config blob; keys are in a fixed order.
pub(crate) fn config_bytes(config: &BundleConfig) -> Result<Vec<u8>, ArtifactError> {
    let bytes = serde_json::to_vec(config).map_err(|error| ArtifactError::ConfigInvalid(error.to_string()))?;
    within("the bundle's description", bytes.len() as u64, MAX_CONFIG)?;
    Ok(bytes)
}

/// Builds the manifest of a bundle. It holds no time, so equal bundles have equal digests.
pub(crate) fn manifest_bytes(
    manifest: &RunbookManifest,
    config: &[u8],
    layer: &[u8],
) -> Result<Vec<u8>, ArtifactError> {
    let title = format!("{}-{}.tar.gz", manifest.slug, manifest.version);
    let mut annotations = BTreeMap::from([
        ("org.opencontainers.image.title".to_owned(), manifest.name.clone()),
        ("org.opencontainers.image.version".to_owned(), manifest.version.to_string()),
        ("org.opencontainers.image.authors".to_owned(), manifest.author.clone()),
    ]);
    if let Some(description) = &manifest.description {
        annotations.insert("org.opencontainers.image.description".to_owned(), one_line(description));
    }
    let descriptor = |media_type: &str, bytes: &[u8], annotations| Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        annotations,
    };
    let raw = RawManifest {
        schema_version: 2,
        media_type: Some(MANIFEST_MEDIA_TYPE.to_owned()),
        artifact_type: Some(ARTIFACT_TYPE.to_owned()),
        config: descriptor(CONFIG_MEDIA_TYPE, config, BTreeMap::new()),
        layers: vec![descriptor(
            LAYER_MEDIA_TYPE,
            layer,
            BTreeMap::from([("org.opencontainers.image.title".to_owned(), title)]),
        )],
        annotations,
    };
    let bytes = serde_json::to_vec(&raw).map_err(|error| ArtifactError::ManifestInvalid(error.to_string()))?;
    within("the manifest", bytes.len() as u64, MAX_MANIFEST)?;
    Ok(bytes)
}

/// Reads the manifest of a bundle and checks types and sizes before anything else is fetched.
pub fn parse_manifest(bytes: &[u8], limits: &BundleLimits) -> Result<BundleManifest, ArtifactError> {
    let invalid = |error: serde_json::Error| ArtifactError::ManifestInvalid(one_line(&error.to_string()));
    let value: Value = serde_json::from_slice(bytes).map_err(invalid)?;
    if value.get("manifests").is_some() {
        let found = value.get("mediaType").and_then(Value::as_str).unwrap_or(INDEX_MEDIA_TYPE);
        return Err(wrong_type("manifest", found, MANIFEST_MEDIA_TYPE));
    }
    let raw: RawManifest = serde_json::from_value(value).map_err(invalid)?;
    if raw.schema_version != 2 {
        return Err(ArtifactError::ManifestInvalid(format!("schemaVersion {} is not 2", raw.schema_version)));
    }
    if let Some(media_type) = raw.media_type.as_deref().filter(|media_type| *media_type != MANIFEST_MEDIA_TYPE) {
        return Err(wrong_type("manifest", media_type, MANIFEST_MEDIA_TYPE));
    }
    // Tools that copy artifacts by OCI 1.0 rules drop the artifact type; the config's type says the same.
    if let Some(artifact_type) = raw.artifact_type.as_deref().filter(|kind| *kind != ARTIFACT_TYPE) {
        return Err(wrong_type("artifactType", artifact_type, ARTIFACT_TYPE));
    }
    if raw.config.media_type != CONFIG_MEDIA_TYPE {
        return Err(wrong_type("config media type", &raw.config.media_type, CONFIG_MEDIA_TYPE));
    }
    let [layer] = <[Descriptor; 1]>::try_from(raw.layers).map_err(|layers| ArtifactError::Layers(layers.len()))?;
    if layer.media_type != LAYER_MEDIA_TYPE {
        return Err(wrong_type("layer media type", &layer.media_type, LAYER_MEDIA_TYPE));
    }
    within("the bundle's description", raw.config.size, MAX_CONFIG)?;
    within("the bundle", layer.size, limits.compressed)?;
    Ok(BundleManifest { config: raw.config, layer, annotations: raw.annotations })
}

/// Reads the config blob.
pub fn parse_config(bytes: &[u8]) -> Result<BundleConfig, ArtifactError> {
    let config: BundleConfig =
        serde_json::from_slice(bytes).map_err(|error| ArtifactError::ConfigInvalid(one_line(&error.to_string())))?;
    let problem = if !crate::manifest::is_valid_slug(&config.slug) {
        Some("invalid slug".to_owned())
    } else if config.workflow_class != crate::manifest::workflow_class(&config.slug) {
        Some("the workflow class does not follow from the slug".to_owned())
    } else if config.steps.len() > crate::manifest::MAX_STEPS {
        Some(format!("{} steps, at most {} are allowed", config.steps.len(), crate::manifest::MAX_STEPS))
    } else if !config.steps.iter().all(|step| crate::manifest::is_valid_step_id(&step.id)) {
        Some("invalid step id".to_owned())
    } else {
        let declared = |id: &String| config.steps.iter().any(|step| step.id == *id);
        let requires = config.activities.values().filter_map(|policy| policy.requires.as_ref());
        requires.filter(|id| !declared(id)).map(|id| format!("`{id}` is required but not a declared step")).next()
    };
    match problem {
        None => Ok(config),
        Some(problem) => Err(ArtifactError::ConfigInvalid(one_line(&problem))),
    }
}

fn wrong_type(what: &'static str, found: &str, expected: &'static str) -> ArtifactError {
    ArtifactError::WrongType { what, found: one_line(found), expected }
}

fn within(what: &'static str, size: u64, max: u64) -> Result<(), ArtifactError> {
    if size > max { Err(ArtifactError::TooLarge { what, size, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest() -> String {
        Digest::of(b"x").to_string()
    }

    fn manifest() -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_MEDIA_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": CONFIG_MEDIA_TYPE, "digest": digest(), "size": 2},
            "layers": [{"mediaType": LAYER_MEDIA_TYPE, "digest": digest(), "size": 3}],
        })
    }

    fn parse(value: &Value) -> Result<BundleManifest, String> {
        parse_manifest(value.to_string().as_bytes(), &BundleLimits::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_bundle_is_recognised() {
        assert_eq!(parse(&manifest()).unwrap().layer.size, 3);
        let mut without_type = manifest();
        without_type.as_object_mut().unwrap().remove("artifactType");
        assert!(parse(&without_type).is_ok());
    }

    #[test]
    fn anything_else_is_refused_saying_what_it_is() {
        let edit = |pointer: &str, value: Value| {
            let mut manifest = manifest();
            *manifest.pointer_mut(pointer).unwrap() = value;
            parse(&manifest).unwrap_err()
        };
        for (error, expected) in [
            (edit("/artifactType", json!("application/x")), "artifactType is `application/x`"),
            (edit("/config/mediaType", json!("application/vnd.oci.empty.v1+json")), "config media type is"),
            (edit("/layers/0/mediaType", json!("application/x")), "layer media type is"),
            (edit("/layers", json!([])), "0 layers"),
            (edit("/layers/0/size", json!(1_u64 << 40)), "at most"),
            (edit("/config/size", json!(1_u64 << 40)), "at most"),
            (edit("/layers/0/size", json!(-1)), "invalid manifest"),
            (edit("/layers/0/digest", json!("sha256:../../x")), "invalid manifest"),
            (edit("/schemaVersion", json!(1)), "schemaVersion"),
            (parse(&json!({"schemaVersion": 2, "manifests": []})).unwrap_err(), INDEX_MEDIA_TYPE),
            (parse(&json!([])).unwrap_err(), "invalid manifest"),
        ] {
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn descriptions_that_contradict_themselves_are_refused() {
        let good = json!({
            "id": "rb-demo", "slug": "demo", "name": "Demo", "version": "1.0.0", "workflowClass": "DemoWorkflow",
            "steps": [{"id": "review", "title": "Review"}], "activities": {"post": {"requires": "review"}},
            "contentDigest": digest(),
        });
        assert!(parse_config(good.to_string().as_bytes()).is_ok());
        for (pointer, value) in [
            ("/slug", json!("../x")),
            ("/workflowClass", json!("OsSystem")),
            ("/activities/post/requires", json!("other")),
            ("/steps/0/id", json!("a b")),
            ("/version", json!("one")),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert!(parse_config(bad.to_string().as_bytes()).is_err(), "{pointer}");
        }
    }
}
