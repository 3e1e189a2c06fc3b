//! Verified bundles on the data volume. A bundle of one namespace is never served to another, even if the bytes are the
//! same: who may pull it is the registry's business, and each namespace has its own credentials.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ntro_bundle::artifact::BundleConfig;
use ntro_bundle::reference::{Digest, Repository};
use serde::{Deserialize, Serialize};

const LAYER: &str = "content.tar.gz";
const DESCRIPTION: &str = "bundle.json";

/// Which bundle, for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// The tenant's namespace.
    pub namespace: String,
    /// Where it came from.
    pub repository: Repository,
    /// Digest of its manifest.
    pub digest: Digest,
}

/// What is known of a bundle that was pulled by digest and checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bundle {
    /// Digest of the OCI manifest.
    pub digest: Digest,
    /// Digest of the layer with the files.
    pub layer_digest: Digest,
    /// What it says of itself, checked against its `runbook.md`.
    pub config: BundleConfig,
}

/// The directory of the bundles.
#[derive(Debug, Clone)]
pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    /// Bundles are kept below `root`, one directory each.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// What is known of a bundle, if it is here whole.
    pub(super) fn describe(&self, key: &Key) -> io::Result<Option<Bundle>> {
        let Some(text) = read(&self.directory(key).join(DESCRIPTION))? else { return Ok(None) };
        // What cannot be read was written by another version of the operator: it is pulled again.
        Ok(serde_json::from_slice(&text).ok().filter(|bundle: &Bundle| bundle.digest == key.digest))
    }

    /// The bytes of a bundle's layer, checked against their digest. Damaged ones are removed and count as absent.
    pub(super) fn layer(&self, key: &Key) -> io::Result<Option<Vec<u8>>> {
        let Some(bundle) = self.describe(key)? else { return Ok(None) };
        let Some(bytes) = read(&self.directory(key).join(LAYER))? else { return Ok(None) };
        if Digest::of(&bytes) == bundle.layer_digest {
            return Ok(Some(bytes));
        }
        tracing::error!(digest = %key.digest, "a bundle on the data volume is damaged and is fetched again");
        fs::remove_dir_all(self.directory(key))?;
        Ok(None)
    }

    /// Keeps a bundle. It is there whole or not at all.
    pub(super) fn save(&self, key: &Key, bundle: &Bundle, layer: &[u8]) -> io::Result<()> {
        let directory = self.directory(key);
        let draft = directory.with_extension("tmp");
        remove_dir(&draft)?;
        fs::create_dir_all(&draft)?;
        write_synced(&draft.join(LAYER), layer)?;
        write_synced(&draft.join(DESCRIPTION), &serde_json::to_vec(bundle)?)?;
        File::open(&draft)?.sync_all()?;
        remove_dir(&directory)?;
        fs::rename(&draft, &directory)
    }

    /// Removes the bundles of a repository that nobody needs any more.
    pub(super) fn retain(&self, namespace: &str, repository: &Repository, keep: &BTreeSet<Digest>) -> io::Result<()> {
        let parent = self.repository(namespace, repository);
        let entries = match fs::read_dir(&parent) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if !keep.iter().any(|digest| Some(digest.hex()) == name.to_str()) {
                remove_dir(&entry.path())?;
            }
        }
        Ok(())
    }

    fn repository(&self, namespace: &str, repository: &Repository) -> PathBuf {
        // An address has characters that no file name should have.
        self.root.join(namespace).join(Digest::of(repository.to_string().as_bytes()).hex())
    }

    fn directory(&self, key: &Key) -> PathBuf {
        self.repository(&key.namespace, &key.repository).join(key.digest.hex())
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, digest: &Digest) -> Key {
        let repository = "oci://registry.example.com/acme/nav".parse().unwrap();
        Key { namespace: namespace.to_owned(), repository, digest: digest.clone() }
    }

    fn bundle(layer: &[u8]) -> Bundle {
        let config = BundleConfig {
            id: "rb-nav".to_owned(),
            slug: "nav".to_owned(),
            name: "NAV".to_owned(),
            version: semver::Version::new(1, 0, 0),
            steps: Vec::new(),
            activities: std::collections::BTreeMap::new(),
            outputs: Vec::new(),
            handles_cancel: false,
            config_schema: None,
            workflow_class: "NavWorkflow".to_owned(),
            content_digest: Digest::of(b"tar"),
        };
        Bundle { digest: Digest::of(b"manifest"), layer_digest: Digest::of(layer), config }
    }

    #[test]
    fn what_is_kept_is_read_back_by_its_namespace_only() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        let bundle = bundle(b"layer");
        let ours = key("acme", &bundle.digest);
        assert_eq!(store.describe(&ours).unwrap(), None);
        store.save(&ours, &bundle, b"layer").unwrap();
        store.save(&ours, &bundle, b"layer").unwrap();
        assert_eq!(store.describe(&ours).unwrap().as_ref(), Some(&bundle));
        assert_eq!(store.layer(&ours).unwrap().as_deref(), Some(b"layer".as_slice()));
        assert_eq!(store.describe(&key("beta", &bundle.digest)).unwrap(), None);
    }

    #[test]
    fn damaged_bytes_are_never_served() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        let bundle = bundle(b"layer");
        let ours = key("acme", &bundle.digest);
        store.save(&ours, &bundle, b"layer").unwrap();
        fs::write(store.directory(&ours).join(LAYER), b"lawyer").unwrap();
        assert_eq!(store.layer(&ours).unwrap(), None);
        assert_eq!(store.describe(&ours).unwrap(), None, "it is fetched again");
    }

    #[test]
    fn what_nobody_needs_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        let (one, mut other) = (bundle(b"layer"), bundle(b"layer"));
        other.digest = Digest::of(b"other");
        for bundle in [&one, &other] {
            store.save(&key("acme", &bundle.digest), bundle, b"layer").unwrap();
        }
        let repository = key("acme", &one.digest).repository;
        store.retain("acme", &repository, &[one.digest.clone()].into()).unwrap();
        assert!(store.describe(&key("acme", &one.digest)).unwrap().is_some());
        assert!(store.describe(&key("acme", &other.digest)).unwrap().is_none());
        store.retain("nobody", &repository, &BTreeSet::new()).unwrap();
    }
}
