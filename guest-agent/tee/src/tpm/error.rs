//! Why a TPM did not do what it was asked to.

use evidence_formats::{digest::HashAlgorithm, tpm as formats};
use rustix::io::Errno;
use thiserror::Error;

use super::{Malformed, NvIndex, ResponseCode, TpmAddress};

/// A TPM did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The TPM cannot be opened.
    #[error("expected to open the TPM at {address}, found {errno}")]
    Open {
        /// Where it was looked for.
        address: TpmAddress,
        /// What the system said.
        errno: Errno,
    },
    /// No whole response came.
    #[error("expected a response of the TPM, found {errno}")]
    Transport {
        /// What the system said; `ETIMEDOUT` when the time was up.
        errno: Errno,
    },
    /// The connection failed before; what is on it belongs to an earlier command.
    #[error("expected a connection to the TPM that did not fail before")]
    Broken,
    /// The response is larger than any may be, or smaller than its header.
    #[error("expected a response of 10 to 4096 bytes, found {size}")]
    ResponseSize {
        /// Its size in bytes.
        size: usize,
    },
    /// The response is not one of this command.
    #[error("expected a response of {command}")]
    Malformed {
        /// The command (TPM 2.0 part 3).
        command: &'static str,
        /// What is wrong with it.
        source: Malformed,
    },
    /// A structure in the response is not what it should be.
    #[error("expected a {structure} from the TPM")]
    Structure {
        /// Which.
        structure: &'static str,
        /// What is wrong with it.
        source: formats::TpmError,
    },
    /// The TPM says no.
    #[error("{command} failed with {code}")]
    Refused {
        /// The command (TPM 2.0 part 3).
        command: &'static str,
        /// What the TPM said.
        code: ResponseCode,
    },
    /// The command would be larger than any may be.
    #[error("expected a command of at most 4096 bytes, found {size}")]
    CommandSize {
        /// Its size in bytes.
        size: usize,
    },
    /// The TPM gives an object another name than its public area has.
    #[error("expected the TPM to name the object by its public area")]
    Name,
    /// A kept object was made under other PCR values than those of now: by something else that ran on this machine.
    #[error("expected a kept secret that was made under these PCR values")]
    MadeElsewhere,
    /// No entropy for a nonce.
    #[error("expected randomness of the kernel, found {errno}")]
    Random {
        /// What the system said.
        errno: Errno,
    },
    /// A PCR that was asked for is not there: its bank is not active.
    #[error("expected PCR {pcr} in bank {bank}")]
    PcrAbsent {
        /// The bank.
        bank: HashAlgorithm,
        /// The index.
        pcr: u8,
    },
    /// PCRs changed between quote and reading every time.
    #[error("expected PCRs that hold still, found that they changed in each of {attempts} attempts")]
    PcrsMoved {
        /// How many attempts there were.
        attempts: u32,
    },
    /// An NV index whose attributes let nobody read or write it with an empty authorisation.
    #[error("expected that {index} may be {what} by its owner or with an empty authorisation")]
    NvAccess {
        /// The index.
        index: NvIndex,
        /// `read` or `written`.
        what: &'static str,
    },
    /// More bytes than an NV index holds.
    #[error("expected at most {limit} bytes for {index}, found {size}")]
    NvSize {
        /// The index.
        index: NvIndex,
        /// Its size in bytes.
        limit: usize,
        /// What was given.
        size: usize,
    },
    /// What is to be imported or loaded is malformed.
    #[error("expected a {structure} that is whole")]
    Sized {
        /// Which.
        structure: &'static str,
    },
}

impl TpmError {
    /// What the TPM said, when it said no.
    #[must_use]
    pub const fn response_code(&self) -> Option<ResponseCode> {
        if let Self::Refused { code, .. } = self { Some(*code) } else { None }
    }
}
