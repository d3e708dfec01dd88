//! Why a manifest, or a signer, is refused.

use evidence_formats::{
    code::{Code, Coded},
    corim::CorimError,
};
use thiserror::Error;

use crate::{
    Timestamp,
    reference::ReferenceError,
    x509::{CertificateError, PemError, PublicKeyError},
};

/// Why a manifest does not become a reference set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CorimRefusal {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] CorimError),
    /// It carries no signature.
    #[error("expected a signed CoRIM")]
    Unsigned,
    /// The algorithm is not on the list.
    #[error("expected a signature by ES256, ES384 or EdDSA, found COSE algorithm {found}")]
    Algorithm {
        /// The number found.
        found: i64,
    },
    /// None of the configured signers made the signature.
    #[error("expected a signature of one of {configured} configured signers")]
    Signer {
        /// How many signers are configured for the tenant.
        configured: usize,
    },
    /// A certificate of the signer's chain does not stand.
    #[error("expected {expected} in the signer's certificate chain")]
    Chain {
        /// What was expected.
        expected: &'static str,
    },
    /// The signer is known and did not sign these bytes.
    #[error("expected a signature over these bytes: they were changed since {signer} signed")]
    Signature {
        /// Name of the signer.
        signer: String,
    },
    /// Its validity ended.
    #[error("expected a CoRIM that is valid, this one ended at {at}")]
    Expired {
        /// The first moment after it.
        at: Timestamp,
    },
    /// It names no end.
    #[error("expected an end of validity: rim-validity, or that of the signature")]
    NoValidity,
    /// Its profile is none of those that are read.
    #[error("expected a CoRIM of a known profile, found {found}")]
    Profile {
        /// The profile.
        found: String,
    },
    /// An environment is not one that the profile describes.
    #[error("expected {expected} in the environment of a triple")]
    Environment {
        /// What was expected.
        expected: &'static str,
    },
    /// It has a condition that a reference set cannot compare.
    #[error("expected only values that a reference set compares, found {what}")]
    Unsupported {
        /// What, with its key.
        what: String,
    },
    /// A value is not what its key needs.
    #[error("expected {expected}")]
    Value {
        /// What was expected.
        expected: &'static str,
    },
    /// Nothing in it identifies a guest.
    #[error("expected reference values of a guest")]
    Empty,
    /// The set has no name or version.
    #[error("expected {expected}")]
    Names {
        /// What was expected.
        expected: &'static str,
    },
    /// The set breaks a rule of reference sets.
    #[error(transparent)]
    Set(#[from] ReferenceError),
}

impl Coded for CorimRefusal {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Malformed(error) => return error.code(),
            Self::Unsigned => "authenticate.corim.unsigned",
            Self::Algorithm { .. } => "authenticate.corim.algorithm",
            Self::Signer { .. } => "authenticate.corim.signer",
            Self::Chain { .. } => "authenticate.corim.chain",
            Self::Signature { .. } => "authenticate.corim.signature",
            Self::Expired { .. } => "authenticate.corim.expired",
            Self::NoValidity => "authenticate.corim.no_validity",
            Self::Profile { .. } => "reference.corim.profile",
            Self::Environment { .. } => "reference.corim.environment",
            Self::Unsupported { .. } => "reference.corim.unsupported",
            Self::Value { .. } => "reference.corim.value",
            Self::Empty => "reference.corim.empty",
            Self::Names { .. } => "reference.corim.names",
            Self::Set(error) => return error.code(),
        })
    }
}

/// Why a file names no signer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignerError {
    /// Not PEM.
    #[error("expected PEM with public keys or certificates")]
    Pem(#[from] PemError),
    /// A block of another kind.
    #[error("expected PEM blocks labelled PUBLIC KEY or CERTIFICATE, found {label:?}")]
    Label {
        /// Label of the block.
        label: String,
    },
    /// Not a public key.
    #[error("expected a public key on P-256 or P-384, or of Ed25519")]
    Key(#[from] PublicKeyError),
    /// A key that no allowed algorithm uses.
    #[error("expected a public key on P-256 or P-384, or of Ed25519, found RSA")]
    Rsa,
    /// Not a certificate.
    #[error("expected a certificate")]
    Certificate(#[from] CertificateError),
    /// The file is empty.
    #[error("expected a public key or certificate")]
    Empty,
}
