//! A body on its way to the disk: never whole in memory, and hashed as it comes.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use ntro_bundle::reference::Digest;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// The bytes so far.
pub(crate) struct Download {
    file: NamedTempFile,
    hash: Sha256,
    size: u64,
}

/// All of them, in a file without a name, open for reading only.
#[derive(Debug)]
pub(crate) struct Downloaded {
    pub(crate) file: File,
    pub(crate) size: u64,
    pub(crate) digest: Digest,
}

impl Download {
    /// `dir` is the supervisor's own: the child reaches nothing in it.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let file = tempfile::Builder::new().prefix(".download-").tempfile_in(dir)?;
        Ok(Self { file, hash: Sha256::new(), size: 0 })
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    pub(crate) fn finish(self) -> io::Result<Downloaded> {
        // Opened again by its name, as what is handed out must not be writable. The name goes when `self` does.
        let file = File::open(self.file.path())?;
        Ok(Downloaded { file, size: self.size, digest: Digest::from_hash(&self.hash.finalize()) })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_was_downloaded_is_read_only_nameless_and_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let mut download = Download::new(dir.path()).unwrap();
        download.take(b"ab").unwrap();
        download.take(b"c").unwrap();
        let mut it = download.finish().unwrap();
        let mut text = String::new();
        it.file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), it.size, it.digest), ("abc", 3, Digest::of(b"abc")));
        assert!(it.file.write_all(b"x").is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
