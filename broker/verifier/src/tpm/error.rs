//! Why a quote, or the log beside it, is not authentic.

use evidence_formats::{
    code::{Code, Coded},
    digest::HashAlgorithm,
    eventlog::ReplayError,
};
use thiserror::Error;

use super::{AkCertificateError, AkKeyError, PcrSet, boot::BootLogError};

/// TPM evidence is not authentic.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TpmAuthenticateError {
    /// Nothing proves where the attestation key lives.
    #[error("expected an attestation key with a certificate of its cloud, or one that the operator pinned")]
    AkUnproven,
    /// The key of the evidence is not the pinned one.
    #[error("the attestation key of the evidence is not the pinned one")]
    AkNotPinned,
    /// Evidence, certificate and runtime claims bring different keys.
    #[error("the attestation key of the evidence differs from the one that was proven")]
    AkMismatch,
    /// The key was enrolled by an SVSM's endorsement key, and no report of the SVSM is here.
    #[error("expected the SNP report and services manifest of the SVSM that the key was enrolled under")]
    SvsmMissing,
    /// The attestation key is of a type that is not allowed.
    #[error("attestation key")]
    AkKey(#[from] AkKeyError),
    /// The attestation key's certificate.
    #[error("attestation key certificate")]
    AkCertificate(#[from] AkCertificateError),
    /// The key may sign what the TPM did not make, or is not bound to its TPM.
    #[error("expected a restricted signing key that is fixed to its TPM, attributes are 0x{attributes:08x}")]
    AkAttributes {
        /// TPMA_OBJECT.
        attributes: u32,
    },
    /// The name algorithm is below the floor.
    #[error("expected a name algorithm of SHA-256 or better, found {hash}")]
    NameAlgorithm {
        /// The name algorithm.
        hash: HashAlgorithm,
    },
    /// The signature's scheme is not the key's.
    #[error("the signature's scheme is not the attestation key's")]
    SignatureScheme,
    /// The scheme's hash is below the floor.
    #[error("expected a signature over SHA-256 or better, found {hash}")]
    SignatureHash {
        /// The hash.
        hash: HashAlgorithm,
    },
    /// The key did not sign this.
    #[error("expected a signature by the attestation key")]
    Signature,
    /// The quote names another signer.
    #[error("expected a quote by the attestation key's qualified name")]
    QualifiedSigner,
    /// The TPM may have reported later times before.
    #[error("expected a quote with a safe clock")]
    ClockUnsafe,
    /// Qualifying data is not the expected one, whole.
    #[error("expected the qualifying data of this request in the quote, found other data")]
    ExtraData,
    /// Not exactly one bank selection.
    #[error("expected exactly one PCR selection in the quote, found {count}")]
    SelectionCount {
        /// How many there are.
        count: usize,
    },
    /// Another selection than the demanded one.
    #[error("expected a quote of {demanded}, found {signed}")]
    Selection {
        /// Demanded set.
        demanded: PcrSet,
        /// Signed set.
        signed: PcrSet,
    },
    /// A selected PCR has no value beside the quote.
    #[error("expected a value for PCR {pcr}")]
    PcrMissing {
        /// Its index.
        pcr: u8,
    },
    /// The values are not those that were quoted.
    #[error("expected PCR values that hash to the quoted digest")]
    PcrDigest,
    /// The event log cannot be replayed.
    #[error("event log")]
    Replay(#[from] ReplayError),
    /// The log replays to another value.
    #[error("expected an event log that replays to the quoted PCR {pcr}")]
    ReplayMismatch {
        /// Index of the PCR.
        pcr: u8,
    },
    /// The log replays but breaks the rules of measured boot.
    #[error("event log")]
    BootLog(#[from] BootLogError),
    /// No prefix of the IMA list leads to PCR 10.
    #[error("expected an IMA list that leads to the quoted PCR 10")]
    Ima,
}

impl TpmAuthenticateError {
    /// Whether more endorsements could change the answer.
    #[must_use]
    pub const fn is_missing_endorsement(&self) -> bool {
        matches!(self, Self::AkCertificate(source) if source.is_missing_endorsement())
    }
}

impl Coded for TpmAuthenticateError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::AkUnproven => "authenticate.tpm.ak_unproven",
            Self::AkNotPinned => "authenticate.tpm.ak_not_pinned",
            Self::AkMismatch => "authenticate.tpm.ak_mismatch",
            Self::SvsmMissing => "authenticate.tpm.svsm_missing",
            Self::AkKey(_) => "authenticate.tpm.ak_key",
            Self::AkCertificate(source) => return source.code(),
            Self::AkAttributes { .. } => "authenticate.tpm.ak_attributes",
            Self::NameAlgorithm { .. } => "authenticate.tpm.name_algorithm",
            Self::SignatureScheme => "authenticate.tpm.signature_scheme",
            Self::SignatureHash { .. } => "authenticate.tpm.signature_hash",
            Self::Signature => "authenticate.tpm.signature",
            Self::QualifiedSigner => "authenticate.tpm.qualified_signer",
            Self::ClockUnsafe => "authenticate.tpm.clock",
            Self::ExtraData => "binding.tpm.extra_data",
            Self::SelectionCount { .. } | Self::Selection { .. } => "authenticate.tpm.pcr_selection",
            Self::PcrMissing { .. } => "authenticate.tpm.pcr_missing",
            Self::PcrDigest => "authenticate.tpm.pcr_digest",
            Self::Replay(_) => "authenticate.tpm.log_replay",
            Self::ReplayMismatch { .. } => "authenticate.tpm.log_replay",
            Self::BootLog(source) => return source.code(),
            Self::Ima => "authenticate.tpm.ima_replay",
        })
    }
}
