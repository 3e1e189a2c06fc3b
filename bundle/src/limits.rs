//! Size limits of bundles, the same when packing, pulling and unpacking.

/// All sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleLimits {
    /// Compressed archive.
    pub compressed: u64,
    /// Sum of everything in the uncompressed archive, headers included.
    pub uncompressed: u64,
    /// One file.
    pub file: u64,
    /// Files and directories.
    pub entries: usize,
    /// Path components.
    pub depth: usize,
    /// Uncompressed bytes per compressed byte, checked above [`RATIO_FLOOR`] only.
    pub ratio: u64,
}

/// Uncompressed size up to which the compression ratio is not checked: small archives of repetitive text are harmless.
pub const RATIO_FLOOR: u64 = 8 << 20;

/// The largest `runbook.md` that is read.
pub const MAX_RUNBOOK_MD: u64 = 1 << 20;

impl Default for BundleLimits {
    fn default() -> Self {
        Self { compressed: 64 << 20, uncompressed: 256 << 20, file: 64 << 20, entries: 4096, depth: 16, ratio: 200 }
    }
}
