//! What a pulled bundle must keep to before anyone uses it.

use super::error::RegistryError;
use crate::artifact::{ArtifactError, BundleConfig};
use crate::limits::BundleLimits;
use crate::manifest::RunbookManifest;
use crate::unpack;

/// Checks the archive and that the description, by which others decide, says what the bundle itself says.
pub(super) fn content(
    layer: &[u8],
    config: &BundleConfig,
    limits: &BundleLimits,
    reference: &str,
) -> Result<(), RegistryError> {
    let unusable = |source| RegistryError::ContentInvalid { reference: reference.to_owned(), source };
    let invalid = |problem: String| RegistryError::ManifestInvalid {
        reference: reference.to_owned(),
        source: ArtifactError::ConfigInvalid(problem),
    };
    let runbook = unpack::read_file(layer, &config.content_digest, "runbook.md", limits).map_err(unusable)?;
    let runbook = runbook.ok_or_else(|| invalid("the bundle has no runbook.md".to_owned()))?;
    let parsed = RunbookManifest::parse(&String::from_utf8_lossy(&runbook));
    let Some(manifest) = parsed.manifest else {
        let first = parsed.findings.iter().find(|finding| finding.is_error()).map(ToString::to_string);
        return Err(invalid(first.unwrap_or_default()));
    };
    match config.contradiction(&manifest) {
        None => Ok(()),
        Some(field) => Err(invalid(format!("it differs from the bundle's runbook.md in `{field}`"))),
    }
}
