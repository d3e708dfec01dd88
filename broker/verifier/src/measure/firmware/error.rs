//! Why an image is not firmware that can be measured.

use evidence_formats::{
    bytes::Truncated,
    code::{Code, Coded},
};
use thiserror::Error;

use super::{MAX_ENTRIES, MAX_FIRMWARE};

/// An image is not OVMF firmware, or its metadata breaks a bound.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FirmwareError {
    /// The image is empty, too large, or not whole pages.
    #[error("expected a firmware image of whole pages of 4096 bytes, at most {MAX_FIRMWARE} bytes, found {actual}")]
    Size {
        /// Bytes found.
        actual: usize,
    },
    /// The image does not fit below the address where it ends.
    #[error("expected firmware that fits below the guest address {end:#x}")]
    Address {
        /// The first address after the image.
        end: u64,
    },
    /// The image has no OVMF table.
    #[error("expected the footer of an OVMF table 32 bytes before the end of the image")]
    NoTable,
    /// An entry of the table has an impossible length.
    #[error("expected entries that fit the OVMF table, found one of {length} bytes at offset {offset}")]
    Entry {
        /// Offset of the entry's length in the image.
        offset: usize,
        /// Its length.
        length: u16,
    },
    /// The table has an entry twice, or too many.
    #[error("expected at most {MAX_ENTRIES} entries in the OVMF table, each once")]
    Entries,
    /// The table has no such entry, or it is too short.
    #[error("expected firmware with {what}")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// Metadata is not where the table says, or of an unknown form.
    #[error("expected {what} metadata of version 1 at offset {offset}")]
    Metadata {
        /// `SEV` or `TDX`.
        what: &'static str,
        /// Offset in the image.
        offset: usize,
    },
    /// A section is of a type that this version does not know.
    #[error("expected a known type of {what} metadata section, found {kind}")]
    SectionKind {
        /// `SEV` or `TDX`.
        what: &'static str,
        /// The type.
        kind: u32,
    },
    /// A section is not whole pages below 4 GiB, or its data is outside the image or larger than its memory.
    #[error(
        "expected {what} metadata section {index} to be whole pages within the guest's first 4 GiB, with its data in the image"
    )]
    Section {
        /// `SEV` or `TDX`.
        what: &'static str,
        /// Position of the section.
        index: usize,
    },
    /// Metadata ends before a field does.
    #[error("expected whole metadata")]
    Truncated(#[from] Truncated),
}

impl Coded for FirmwareError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Size { .. } | Self::Address { .. } => "measure.firmware.size",
            Self::NoTable | Self::Entry { .. } | Self::Entries => "measure.firmware.table",
            Self::Missing { .. } => "measure.firmware.missing",
            Self::Metadata { .. } | Self::Truncated(_) => "measure.firmware.metadata",
            Self::SectionKind { .. } | Self::Section { .. } => "measure.firmware.section",
        })
    }
}
