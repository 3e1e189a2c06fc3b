//! Bundles on disk, by (namespace, repository, digest).
