//! The bundle a run is fixed to, as its journal says. Pure.

use ntro_bundle::reference::{Digest, Repository};
use ntro_journal::protocol::Pin;
use serde_json::Value;

use super::store::Key;

/// A bundle a run is fixed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pinned {
    /// The run's namespace.
    pub namespace: String,
    /// Name of the Runbook.
    pub runbook: String,
    /// Where the bundle came from.
    pub repository: Repository,
    /// Digest of its manifest.
    pub digest: Digest,
}

impl Pinned {
    /// Reads `runbook{name, repository, digest}` of a pin.
    pub(crate) fn of(namespace: &str, pin: &Pin) -> Option<Self> {
        let runbook = pin.0.get("runbook")?;
        let field = |name: &str| runbook.get(name).and_then(Value::as_str);
        Some(Self {
            namespace: namespace.to_owned(),
            runbook: field("name")?.to_owned(),
            repository: field("repository")?.parse().ok()?,
            digest: field("digest")?.parse().ok()?,
        })
    }

    pub(super) fn key(&self) -> Key {
        Key { namespace: self.namespace.clone(), repository: self.repository.clone(), digest: self.digest.clone() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pin_of_a_run_names_its_bundle() {
        let digest = Digest::of(b"x").to_string();
        let runbook = json!({
            "name": "nav", "version": "1.0.0", "digest": digest, "layerDigest": digest,
            "repository": "oci://registry.example.com/acme/nav",
        });
        let pin = Pin([("runbook".to_owned(), runbook)].into_iter().collect());
        let pinned = Pinned::of("acme", &pin).unwrap();
        assert_eq!((pinned.runbook.as_str(), pinned.digest.as_str()), ("nav", digest.as_str()));
        assert_eq!(Pinned::of("acme", &Pin::default()), None);
    }
}
