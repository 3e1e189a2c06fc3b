//! What the status tells of a verified bundle. Pure.

use ntro_bundle::artifact::{BundleConfig, BundleStep};
use ntro_bundle::manifest::{ManifestActivity, ManifestEffect};
use ntro_bundle::reference::Digest;
use ntro_crds::runbook::{DeclaredActivity, DeclaredStep, Effect, VerifiedVersion};
use serde_json::Value;

use crate::bundles::Bundle;
use crate::error::truncate;

/// Largest configuration schema that stands in the status, bytes of JSON.
const MAX_SCHEMA: usize = 32 << 10;
/// Most properties of an object in the status.
const MAX_PROPERTIES: usize = 64;
/// Longest title, bytes.
const MAX_TITLE: usize = 256;

/// Tells a bundle for the status. A configuration schema that is too large is told by its digest only.
pub(super) fn verified(bundle: &Bundle) -> VerifiedVersion {
    let config = &bundle.config;
    VerifiedVersion {
        version: config.version.to_string(),
        digest: bundle.digest.to_string(),
        layer_digest: bundle.layer_digest.to_string(),
        title: Some(truncate(&config.name, MAX_TITLE)),
        config_schema: schema(config),
        config_schema_digest: config
            .config_schema
            .as_ref()
            .map(|schema| Digest::of(schema.to_string().as_bytes()).to_string()),
        steps: Some(steps(config)),
        activities: Some(activities(config)).filter(|activities| !activities.is_empty()),
        outputs: Some(config.outputs.clone()).filter(|outputs| !outputs.is_empty()),
        handles_cancel: config.handles_cancel.then_some(true),
    }
}

fn schema(config: &BundleConfig) -> Option<ntro_crds::schema::Object> {
    match &config.config_schema {
        Some(Value::Object(schema)) if schema.len() <= MAX_PROPERTIES => {
            (serde_json::to_string(schema).map_or(usize::MAX, |text| text.len()) <= MAX_SCHEMA).then(|| schema.clone())
        }
        _ => None,
    }
}

fn steps(config: &BundleConfig) -> Vec<DeclaredStep> {
    let step = |step: &BundleStep| DeclaredStep { id: step.id.clone(), title: Some(truncate(&step.title, MAX_TITLE)) };
    config.steps.iter().map(step).collect()
}

fn activities(config: &BundleConfig) -> Vec<DeclaredActivity> {
    let activity = |(name, policy): (&String, &ManifestActivity)| DeclaredActivity {
        name: name.clone(),
        effect: match policy.effect {
            Some(ManifestEffect::None) => Effect::None,
            Some(ManifestEffect::Idempotent) => Effect::Idempotent,
            Some(ManifestEffect::External) => Effect::External,
            None => Effect::Undeclared,
        },
        requires: policy.requires.clone(),
    };
    config.activities.iter().map(activity).collect()
}
