//! Who may sign reference values of a tenant, read from the files that the configuration names.

use std::{fs, io, path::PathBuf};

use thiserror::Error;
use verifier::{
    Timestamp,
    reference::corim::{CorimSigner, CorimTerms, PlatformValues, SignerError, UnsignedCorim},
};

use crate::config;

/// The signers of one tenant, and what is taken without one.
#[derive(Debug)]
pub(crate) struct ReferenceTrust {
    signers: Vec<CorimSigner>,
    unsigned: UnsignedCorim,
    platform_values: PlatformValues,
}

/// A signer cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum ReferenceTrustError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file names no signer.
    #[error("the signer {name} of reference values cannot be used")]
    Signer {
        /// Name of the signer.
        name: String,
        /// Why.
        source: SignerError,
    },
}

impl ReferenceTrust {
    /// Reads the signers that the tenant's configuration names.
    pub(crate) fn read(settings: &config::ReferenceTrust) -> Result<Self, ReferenceTrustError> {
        let mut signers = Vec::new();
        for config::ReferenceSigner { name, file } in &settings.signers {
            let unreadable = |source| ReferenceTrustError::Read { path: file.clone(), source };
            let pem = fs::read(file).map_err(unreadable)?;
            let unusable = |source| ReferenceTrustError::Signer { name: name.clone(), source };
            signers.push(CorimSigner::from_pem(name, &pem).map_err(unusable)?);
        }
        let unsigned = match settings.allow_unsigned_corim {
            true => UnsignedCorim::Allow,
            false => UnsignedCorim::Refuse,
        };
        let platform_values = match settings.leave_out_platform_values {
            true => PlatformValues::LeaveOut,
            false => PlatformValues::Refuse,
        };
        Ok(Self { signers, unsigned, platform_values })
    }

    /// What a manifest is judged by at `now`.
    pub(crate) fn terms(&self, now: Timestamp) -> CorimTerms<'_> {
        CorimTerms { signers: &self.signers, unsigned: self.unsigned, platform_values: self.platform_values, now }
    }
}
