//! Checkpoints: how far a chain was at one time, signed with a key for this purpose alone.
//!
//! A chain by itself shows no cut of its end, and whoever can write the database can make another chain. A checkpoint that
//! somebody kept shows both.

use keys::{
    sign::{Jwks, SignError, SignatureAlgorithm, Signer, TokenType, sign_jwt},
    token::{TokenError, verify_statement},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use verifier::Timestamp;

use super::record::{Place, RecordHash};

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The broker.
    iss: String,
    /// When, seconds since the epoch.
    iat: i64,
    /// Whose chain.
    pub(crate) tenant: String,
    /// The last record.
    pub(crate) sequence: u64,
    /// Its hash, hex.
    hash: String,
}

/// A checkpoint cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CheckpointError {
    /// Its signature or form is wrong.
    #[error("the checkpoint cannot be believed")]
    Token(#[from] TokenError),
    /// Its hash is none.
    #[error("expected a hash of 64 lower-case hex digits in the checkpoint")]
    Hash,
}

impl Checkpoint {
    /// That the chain of `tenant` was at `place`.
    pub(crate) fn new(issuer: &str, tenant: &str, place: Place, now: Timestamp) -> Self {
        Self {
            iss: issuer.to_owned(),
            iat: now.as_unix(),
            tenant: tenant.to_owned(),
            sequence: place.sequence,
            hash: place.hash.to_string(),
        }
    }

    /// The signed token.
    pub(crate) fn sign(&self, signer: &dyn Signer) -> Result<String, SignError> {
        sign_jwt(signer, TokenType::AuditCheckpoint, self)
    }

    /// Believes a token that one of `keys` signed.
    pub(crate) fn verify(token: &str, keys: &Jwks) -> Result<(Self, Place), CheckpointError> {
        let allowed = [SignatureAlgorithm::Es256, SignatureAlgorithm::Es384];
        let checkpoint: Self = verify_statement(token, TokenType::AuditCheckpoint, keys, &allowed)?;
        let hash = RecordHash::parse(&checkpoint.hash).ok_or(CheckpointError::Hash)?;
        let place = Place { sequence: checkpoint.sequence, hash };
        Ok((checkpoint, place))
    }
}
