//! Packs a bundle directory into a reproducible archive: equal files give equal bytes, whoever packs them where.

use std::io::{self, Read, Write};
use std::path::Path;

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};
use thiserror::Error;

use crate::artifact::{self, ArtifactError, BundleConfig};
use crate::check;
use crate::content::File;
use crate::error::BundleErrorClass;
use crate::finding::Finding;
use crate::limits::BundleLimits;
use crate::manifest::RunbookManifest;
use crate::reference::Digest;

/// Modification time of every entry: 1980-01-01, the earliest that zip files can hold.
const MTIME: u64 = 315_532_800;
/// Operating system "unknown" in the gzip header.
const GZIP_OS: u8 = 255;

/// A bundle ready to be pushed.
#[derive(Debug, Clone)]
pub struct PackedBundle {
    /// What `runbook.md` says.
    pub manifest: RunbookManifest,
    /// The artifact's description.
    pub config: BundleConfig,
    /// The description as the bytes of the config blob.
    pub config_bytes: Bytes,
    /// The gzipped tar.
    pub layer: Bytes,
    /// Digest of [`Self::layer`].
    pub layer_digest: Digest,
    /// The OCI manifest.
    pub manifest_bytes: Bytes,
    /// Digest of [`Self::manifest_bytes`], which is the digest of the artifact.
    pub digest: Digest,
    /// What was packed.
    pub files: Vec<File>,
    /// Findings that do not stop the bundle from being used.
    pub warnings: Vec<Finding>,
}

/// Why a directory could not be packed.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum PackError {
    #[error("{}", summary(.0))]
    Invalid(Vec<Finding>),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("cannot read `{path}`: {source}")]
    Io { path: String, source: io::Error },
}

impl PackError {
    /// What to do about it.
    pub fn class(&self) -> BundleErrorClass {
        BundleErrorClass::Invalid
    }

    /// Bounded name for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "BundleInvalid",
            Self::Artifact(_) => "BundleTooLarge",
            Self::Io { .. } => "BundleUnreadable",
        }
    }
}

/// The first error on one line, with the number of others.
fn summary(findings: &[Finding]) -> String {
    let mut errors = findings.iter().filter(|finding| finding.is_error());
    let first = errors.next().map(ToString::to_string).unwrap_or_default();
    match errors.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}

/// Checks and packs a bundle directory.
pub fn pack(dir: &Path) -> Result<PackedBundle, PackError> {
    pack_within(dir, &BundleLimits::default())
}

/// The same with other size limits.
pub fn pack_within(dir: &Path, limits: &BundleLimits) -> Result<PackedBundle, PackError> {
    let io_error = |source| PackError::Io { path: dir.display().to_string(), source };
    let report = check::check_within(dir, limits).map_err(io_error)?;
    let manifest = match report.manifest {
        Some(ref manifest) if report.is_ok() => manifest.clone(),
        _ => return Err(PackError::Invalid(report.findings)),
    };
    let (layer, content_digest) = archive(&report.files, limits)?;
    let config = BundleConfig::new(&manifest, content_digest);
    let config_bytes = artifact::config_bytes(&config)?;
    if layer.len() as u64 > limits.compressed {
        let (what, size, max) = ("the bundle", layer.len() as u64, limits.compressed);
        return Err(ArtifactError::TooLarge { what, size, max }.into());
    }
    let manifest_bytes = artifact::manifest_bytes(&manifest, &config_bytes, &layer)?;
    Ok(PackedBundle {
        manifest,
        config,
        layer_digest: Digest::of(&layer),
        digest: Digest::of(&manifest_bytes),
        config_bytes: config_bytes.into(),
        layer: layer.into(),
        manifest_bytes: manifest_bytes.into(),
        files: report.files,
        warnings: report.findings,
    })
}

/// Writes the gzipped tar; returns it with the digest of the uncompressed tar.
fn archive(files: &[File], limits: &BundleLimits) -> Result<(Vec<u8>, Digest), PackError> {
    let gzip = GzBuilder::new().mtime(0).operating_system(GZIP_OS).write(Vec::new(), Compression::new(6));
    let mut tar = tar::Builder::new(HashingWriter { inner: gzip, hash: Sha256::new() });
    let archive_error = |source| PackError::Io { path: "archive".to_owned(), source };
    let mut last_directories: Vec<&str> = Vec::new();
    for file in files {
        let directories = parents(&file.path);
        for directory in directories.iter().filter(|directory| !last_directories.contains(directory)) {
            let mut header = header(EntryType::Directory, 0o755, 0);
            tar.append_data(&mut header, format!("{directory}/"), io::empty()).map_err(archive_error)?;
        }
        append(&mut tar, file, limits).map_err(|source| PackError::Io { path: file.path.clone(), source })?;
        last_directories = directories;
    }
    let hashing = tar.into_inner().map_err(archive_error)?;
    let digest = Digest::from_hash(&hashing.hash.finalize());
    Ok((hashing.inner.finish().map_err(archive_error)?, digest))
}

fn append<W: Write>(tar: &mut tar::Builder<W>, file: &File, limits: &BundleLimits) -> io::Result<()> {
    let mut content = Vec::new();
    std::fs::File::open(&file.source)?.take(limits.file + 1).read_to_end(&mut content)?;
    if content.len() as u64 != file.size {
        return Err(io::Error::other("the file changed while it was packed"));
    }
    let mut header = header(EntryType::Regular, 0o644, file.size);
    tar.append_data(&mut header, &file.path, content.as_slice())
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME);
    header.set_size(size);
    header
}

/// The directories a path lies in, outermost first.
fn parents(path: &str) -> Vec<&str> {
    path.match_indices('/').map(|(end, _)| &path[..end]).collect()
}

/// Hashes what passes through.
struct HashingWriter<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
