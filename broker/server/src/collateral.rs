//! What evidence is authenticated with: trust anchors and endorsements, read from files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use verifier::{AnchorError, Endorsements, Revocation, TrustAnchors, x509::Certificate};

use crate::config::Verification;

/// Trust anchors, endorsements and how strictly revocation is judged.
#[derive(Debug)]
pub(crate) struct Collateral {
    /// Roots.
    pub(crate) anchors: TrustAnchors,
    /// Certificates and CRLs that guests do not send themselves.
    pub(crate) endorsements: Endorsements,
    /// Whether revocation data must be present.
    pub(crate) revocation: Revocation,
}

/// The collateral cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum CollateralError {
    /// A file or directory cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The files that should be trust anchors are none.
    #[error("the trust anchors cannot be used")]
    Anchors(#[from] AnchorError),
}

impl Collateral {
    /// Reads everything that the configuration names. A file of the endorsements directory that is of no known kind is
    /// logged and left out; a trust anchor that is none is an error.
    pub(crate) fn read(verification: &Verification) -> Result<Self, CollateralError> {
        let mut endorsements = Endorsements::new();
        let directory = verification.endorsements.as_deref();
        for path in directory.map(files).transpose()?.unwrap_or_default() {
            match endorsements.add(&read(&path)?) {
                Ok(kinds) => tracing::debug!(file = %path.display(), ?kinds, "endorsement read"),
                Err(error) => tracing::warn!(file = %path.display(), %error, "not an endorsement: left out"),
            }
        }
        Ok(Self { anchors: anchors(&verification.trust_anchors)?, endorsements, revocation: verification.revocation })
    }
}

/// The operator's CAs of endorsement keys; none unless they are configured.
pub(crate) fn ek_anchors(paths: &[PathBuf]) -> Result<Vec<Arc<Certificate>>, CollateralError> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    Ok(anchors(paths)?.certificates().map(Arc::clone).collect())
}

fn anchors(paths: &[PathBuf]) -> Result<TrustAnchors, CollateralError> {
    if paths.is_empty() {
        return Ok(TrustAnchors::vendor());
    }
    let files = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    Ok(TrustAnchors::from_files(files.iter().map(Vec::as_slice))?)
}

/// The regular files of a directory, by name, so that every start reads them in the same order.
fn files(directory: &Path) -> Result<Vec<PathBuf>, CollateralError> {
    let unreadable = |source| CollateralError::Read { path: directory.to_path_buf(), source };
    let entries = fs::read_dir(directory).map_err(unreadable)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>, CollateralError> {
    fs::read(path).map_err(|source| CollateralError::Read { path: path.to_path_buf(), source })
}
