//! Runbooks: a version becomes a digest, its bundle is fetched and kept.
