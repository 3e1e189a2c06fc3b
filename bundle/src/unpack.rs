//! Unpacks a bundle's archive, trusting nothing in it.
//!
//! Only regular files and directories are unpacked, into a new directory, and either all of them or none. Anything else is
//! refused rather than skipped, as a silent skip loses files.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use flate2::bufread::GzDecoder;
use sha2::{Digest as _, Sha256};
use tar::EntryType;
use thiserror::Error;

use crate::error::BundleErrorClass;
use crate::finding::one_line;
use crate::limits::{BundleLimits, RATIO_FLOOR};
use crate::path_rules::{self, PathError, PathSet};
use crate::reference::Digest;

/// Why an archive was refused. Messages name the entry.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum UnpackError {
    #[error("archive entry `{entry}` {error}")]
    Path { entry: String, error: PathError },
    #[error("archive entry `{0}` has a path that is not UTF-8")]
    PathEncoding(String),
    #[error("archive entry `{entry}` is {kind}; only files and directories are allowed")]
    Kind { entry: String, kind: &'static str },
    #[error("archive entry `{entry}` has {size} bytes, at most {max} are allowed")]
    FileTooLarge { entry: String, size: u64, max: u64 },
    #[error("the archive {0}")]
    TooLarge(String),
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    #[error("the archive has trailing data after its {0}")]
    TrailingData(&'static str),
    #[error("the archive's content has digest {found}, expected {expected}")]
    DigestMismatch { found: Digest, expected: Digest },
    #[error("`{0}` already exists")]
    DestinationExists(String),
    #[error("cannot write `{path}`: {source}")]
    Io { path: String, source: io::Error },
}

impl UnpackError {
    /// What to do about it.
    pub fn class(&self) -> BundleErrorClass {
        match self {
            Self::Io { .. } => BundleErrorClass::Transient,
            _ => BundleErrorClass::Invalid,
        }
    }

    /// Bounded name for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Path { .. } | Self::PathEncoding(_) | Self::Kind { .. } => "ArchiveUnsafe",
            Self::FileTooLarge { .. } | Self::TooLarge(_) => "ArchiveTooLarge",
            Self::Damaged(_) | Self::TrailingData(_) => "ArchiveInvalid",
            Self::DigestMismatch { .. } => "DigestMismatch",
            Self::DestinationExists(_) => "DestinationExists",
            Self::Io { .. } => "WriteFailed",
        }
    }
}

/// Unpacks a gzipped tar into `destination`, which must not exist. On failure nothing is left behind.
///
/// `content` is the expected digest of the uncompressed tar. Blocks; run it where blocking is allowed.
pub fn unpack(layer: &[u8], content: &Digest, destination: &Path, limits: &BundleLimits) -> Result<(), UnpackError> {
    into_new(destination, |root| {
        read(layer, layer.len() as u64, Some(content), limits, |entry| write_entry(root, entry))
    })
}

/// As [`unpack`], of a layer of `compressed` bytes whose own digest the caller has checked.
pub fn unpack_layer(
    layer: impl BufRead,
    compressed: u64,
    destination: &Path,
    limits: &BundleLimits,
) -> Result<(), UnpackError> {
    into_new(destination, |root| read(layer, compressed, None, limits, |entry| write_entry(root, entry)))
}

fn into_new(destination: &Path, fill: impl FnOnce(&Path) -> Result<(), UnpackError>) -> Result<(), UnpackError> {
    if destination.symlink_metadata().is_ok() {
        return Err(UnpackError::DestinationExists(destination.display().to_string()));
    }
    let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write_error = |source| UnpackError::Io { path: destination.display().to_string(), source };
    // Removed when dropped, so every early return cleans up.
    let work = tempfile::Builder::new().prefix(".unpack-").tempdir_in(parent).map_err(write_error)?;
    let root = work.path().join("bundle");
    fs::create_dir(&root).map_err(write_error)?;
    fill(&root)?;
    fs::rename(&root, destination).map_err(|source| match source.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            UnpackError::DestinationExists(destination.display().to_string())
        }
        _ => write_error(source),
    })
}

/// Checks an archive by the same rules without writing anything.
pub fn verify(layer: &[u8], content: &Digest, limits: &BundleLimits) -> Result<(), UnpackError> {
    read(layer, layer.len() as u64, Some(content), limits, |entry| match entry.content {
        None => Ok(()),
        Some(content) => io::copy(content, &mut io::sink()).map(|_| ()).map_err(|error| damaged(&error)),
    })
}

/// Reads one file of an archive after checking all of it; `None` if it has no such file.
pub fn read_file(
    layer: &[u8],
    content: &Digest,
    path: &str,
    limits: &BundleLimits,
) -> Result<Option<Vec<u8>>, UnpackError> {
    let mut found = None;
    read(layer, layer.len() as u64, Some(content), limits, |entry| {
        let Some(content) = entry.content else { return Ok(()) };
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|error| damaged(&error))?;
        if entry.path == path {
            found = Some(bytes);
        }
        Ok(())
    })?;
    Ok(found)
}

/// An entry whose path and kind passed all rules.
struct ArchiveEntry<'a> {
    path: &'a str,
    /// `None` for a directory.
    content: Option<&'a mut dyn Read>,
}

/// `content` is the digest to check, if it is the one that is known.
fn read(
    layer: impl BufRead,
    compressed: u64,
    content: Option<&Digest>,
    limits: &BundleLimits,
    mut each: impl FnMut(ArchiveEntry<'_>) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    if compressed > limits.compressed {
        let message = format!("has {compressed} compressed bytes, at most {} are allowed", limits.compressed);
        return Err(UnpackError::TooLarge(message));
    }
    let counting = CountingReader::new(GzDecoder::new(layer), compressed, limits);
    let mut archive = tar::Archive::new(counting);
    let outcome = read_entries(&mut archive, limits, &mut each);
    let mut counting = archive.into_inner();
    if let Some(message) = counting.exceeded.take() {
        // The tar reader reports this as a damaged archive; say what it really is.
        return Err(UnpackError::TooLarge(message));
    }
    outcome?;
    finish(&mut counting)?;
    let found = Digest::from_hash(&counting.hash.finalize());
    if !counting.inner.into_inner().fill_buf().map_err(|error| damaged(&error))?.is_empty() {
        return Err(UnpackError::TrailingData("gzip member"));
    }
    match content {
        Some(expected) if *expected != found => Err(UnpackError::DigestMismatch { found, expected: expected.clone() }),
        _ => Ok(()),
    }
}

fn read_entries<R: Read>(
    archive: &mut tar::Archive<R>,
    limits: &BundleLimits,
    each: &mut impl FnMut(ArchiveEntry<'_>) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let mut paths = PathSet::default();
    let mut count = 0;
    for entry in archive.entries().map_err(|error| damaged(&error))? {
        let mut entry = entry.map_err(|error| damaged(&error))?;
        count += 1;
        if count > limits.entries {
            return Err(UnpackError::TooLarge(format!("has more than {} entries", limits.entries)));
        }
        let raw = entry.path_bytes().into_owned();
        let kind = entry.header().entry_type();
        let shown = one_line(&String::from_utf8_lossy(&raw)).chars().take(200).collect::<String>();
        let path = String::from_utf8(raw).map_err(|_| UnpackError::PathEncoding(shown.clone()))?;
        if !matches!(kind, EntryType::Regular | EntryType::Directory) {
            return Err(UnpackError::Kind { entry: shown, kind: kind_name(kind) });
        }
        let directory = kind == EntryType::Directory;
        let path = if directory { path.strip_suffix('/').unwrap_or(&path) } else { &path };
        let refuse = |error| UnpackError::Path { entry: shown.clone(), error };
        path_rules::check(path, limits.depth).map_err(refuse)?;
        let size = entry.size();
        if directory {
            paths.add_directory(path).map_err(refuse)?;
            if size > 0 {
                return Err(UnpackError::Damaged(format!("directory `{shown}` has content")));
            }
            each(ArchiveEntry { path, content: None })?;
            continue;
        }
        paths.add_file(path).map_err(refuse)?;
        if size > limits.file {
            return Err(UnpackError::FileTooLarge { entry: shown, size, max: limits.file });
        }
        each(ArchiveEntry { path, content: Some(&mut entry) })?;
    }
    Ok(())
}

/// Reads to the end of the gzip member, so that its checksum is verified, and refuses anything but padding.
fn finish<R: Read>(counting: &mut R) -> Result<(), UnpackError> {
    let mut buffer = [0; 8192];
    loop {
        match counting.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) if buffer[..read].iter().any(|byte| *byte != 0) => {
                return Err(UnpackError::TrailingData("last entry"));
            }
            Ok(_) => {}
            Err(error) => return Err(damaged(&error)),
        }
    }
}

fn write_entry(root: &Path, entry: ArchiveEntry<'_>) -> Result<(), UnpackError> {
    let path = root.join(entry.path);
    let write_error = |source| UnpackError::Io { path: entry.path.to_owned(), source };
    let Some(content) = entry.content else { return fs::create_dir_all(&path).map_err(write_error) };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(write_error)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(write_error)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = content.read(&mut buffer).map_err(|error| damaged(&error))?;
        if read == 0 {
            return Ok(());
        }
        file.write_all(&buffer[..read]).map_err(write_error)?;
    }
}

fn kind_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "a hard link",
        EntryType::Symlink => "a symbolic link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        _ => "of an unsupported kind",
    }
}

fn damaged(error: &io::Error) -> UnpackError {
    UnpackError::Damaged(one_line(&error.to_string()))
}

/// Counts and hashes what is really decompressed; sizes in headers are only claims.
struct CountingReader<R> {
    inner: R,
    hash: Sha256,
    read: u64,
    max: u64,
    ratio_max: u64,
    exceeded: Option<String>,
}

impl<R> CountingReader<R> {
    fn new(inner: R, compressed: u64, limits: &BundleLimits) -> Self {
        let ratio_max = compressed.saturating_mul(limits.ratio).max(RATIO_FLOOR);
        Self { inner, hash: Sha256::new(), read: 0, max: limits.uncompressed, ratio_max, exceeded: None }
    }
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.read += read as u64;
        if self.read > self.max {
            self.exceeded = Some(format!("has more than {} bytes when unpacked", self.max));
        } else if self.read > self.ratio_max {
            self.exceeded = Some("unpacks to suspiciously more than its size".to_owned());
        }
        match &self.exceeded {
            None => Ok(read),
            Some(message) => Err(io::Error::other(message.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
