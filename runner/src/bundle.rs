//! The run's bundle: fetched, checked against what the run is pinned to, and unpacked.

use std::collections::BTreeSet;
use std::io::{self, BufReader};
use std::path::Path;

use ntro_bundle::error::BundleErrorClass;
use ntro_bundle::limits::BundleLimits;
use ntro_bundle::reference::Digest;
use ntro_bundle::steps::{StepsError, step_ids};
use ntro_bundle::unpack::{UnpackError, unpack_layer};
use thiserror::Error;

use crate::download::Downloaded;

/// Why a bundle is not run.
#[derive(Debug, Error)]
pub(crate) enum BundleError {
    #[error("the bundle has other bytes than the digest the run is pinned to")]
    OtherBytes,
    #[error("the bundle cannot be unpacked: {0}")]
    Archive(UnpackError),
    #[error("the bundle has no runbook.md")]
    NoRunbook,
    #[error(transparent)]
    Runbook(#[from] StepsError),
    /// Not the bundle's fault: another pod may have more luck.
    #[error("own storage: {0}")]
    Local(io::Error),
}

/// Unpacks a layer into `target`, which must not exist. Returns the ids of the bundle's steps.
pub(crate) async fn open(
    layer: Downloaded,
    pinned: Option<Digest>,
    target: &Path,
) -> Result<BTreeSet<String>, BundleError> {
    if pinned.as_ref() != Some(&layer.digest) {
        return Err(BundleError::OtherBytes);
    }
    let into = target.to_owned();
    let unpacking = move || unpack_layer(BufReader::new(layer.file), layer.size, &into, &BundleLimits::default());
    match tokio::task::spawn_blocking(unpacking).await {
        Ok(Ok(())) => {}
        Ok(Err(UnpackError::Io { source, .. })) => return Err(BundleError::Local(source)),
        Ok(Err(error)) if error.class() == BundleErrorClass::Invalid => return Err(BundleError::Archive(error)),
        Ok(Err(error)) => return Err(BundleError::Local(io::Error::other(error.reason()))),
        Err(_) => return Err(BundleError::Local(io::Error::other("unpacking failed"))),
    }
    let runbook = std::fs::read_to_string(target.join("runbook.md")).map_err(|_| BundleError::NoRunbook)?;
    Ok(step_ids(&runbook)?)
}
