//! Why bytes are not a TPM structure.

use thiserror::Error;

use crate::{
    bytes::Truncated,
    code::{Code, Coded},
    eventlog::{EventLogError, ima::ImaError},
};

/// Bytes are not the TPM structure that they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The bytes end inside a structure.
    #[error("TPM structure ends early")]
    Truncated(#[from] Truncated),
    /// Bytes follow the structure.
    #[error("expected the {structure} to end at offset {offset}")]
    Trailing {
        /// Name of the structure.
        structure: &'static str,
        /// Where it ends.
        offset: usize,
    },
    /// The attestation does not start with TPM_GENERATED_VALUE: the TPM did not make it.
    #[error("expected attestation magic 0xff544347, found 0x{magic:08x}")]
    Magic {
        /// What stands there.
        magic: u32,
    },
    /// A genuine attestation of something else than PCRs.
    #[error("expected attestation type 0x8018 (quote), found 0x{kind:04x}")]
    NotAQuote {
        /// The TPMI_ST_ATTEST.
        kind: u16,
    },
    /// A field with a value that the structure does not allow.
    #[error("{field} has the value 0x{value:x}, which is not allowed here")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A sized field is longer or shorter than it may be.
    #[error("{field} has {length} bytes, which is not allowed here")]
    Length {
        /// Name of the field.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// The JSON document is not one, or a member is malformed.
    #[error("evidence document: {0}")]
    Document(String),
    /// A PCR value that is not hex of its bank's length, or an index that is not 0 to 23.
    #[error("expected PCR {pcr} of bank {bank} as hex of the bank's length")]
    PcrValue {
        /// Bank as written.
        bank: String,
        /// Index as written.
        pcr: String,
    },
    /// The event log inside.
    #[error("event log")]
    EventLog(#[from] EventLogError),
    /// The IMA list inside.
    #[error("IMA list")]
    Ima(#[from] ImaError),
}

impl Coded for TpmError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Truncated(_) => "parse.tpm.truncated",
            Self::Trailing { .. } => "parse.tpm.trailing",
            Self::Magic { .. } => "parse.tpm.magic",
            Self::NotAQuote { .. } => "parse.tpm.attest_type",
            Self::Field { .. } => "parse.tpm.field",
            Self::Length { .. } => "parse.tpm.length",
            Self::Document(_) => "parse.tpm.document",
            Self::PcrValue { .. } => "parse.tpm.pcr_value",
            Self::EventLog(source) => return source.code(),
            Self::Ima(source) => return source.code(),
        })
    }
}
