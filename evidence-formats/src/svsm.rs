//! Services manifest of an SVSM (AMD 58019, attestation protocol): which endorsement key its vTPM has.
//!
//! Two forms: the manifest of the vTPM service alone (version 0) is the endorsement key's TPMT_PUBLIC; that of all services
//! is a table of GUIDs. Both are bound by the SNP report: its report data is SHA-512 over 64 bytes of the guest and the
//! manifest.

use thiserror::Error;

use crate::{
    bytes::{Reader, ReportData, Truncated},
    code::{Code, Coded},
    digest::HashAlgorithm,
    tpm::{TpmError, TpmPublic},
};

/// 63849ebb-3d92-4670-a1ff-58f9c94b87bb, the table of services, as it lies in memory.
const SERVICES: [u8; 16] =
    [0xbb, 0x9e, 0x84, 0x63, 0x92, 0x3d, 0x70, 0x46, 0xa1, 0xff, 0x58, 0xf9, 0xc9, 0x4b, 0x87, 0xbb];
/// c476f1eb-0123-45a5-9641-b4e7dde5bfe3, the vTPM service.
const VTPM: [u8; 16] = [0xeb, 0xf1, 0x76, 0xc4, 0x23, 0x01, 0xa5, 0x45, 0x96, 0x41, 0xb4, 0xe7, 0xdd, 0xe5, 0xbf, 0xe3];
/// Most services of one table.
const MAX_SERVICES: u32 = 64;
/// Longest manifest in bytes.
const MAX_BYTES: usize = 64 << 10;

/// A parsed manifest. The bytes that the hardware commits to are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvsmManifest {
    bytes: Vec<u8>,
    /// The endorsement key of the vTPM.
    pub endorsement_key: TpmPublic,
}

impl SvsmManifest {
    /// Parses a manifest of either form.
    ///
    /// # Errors
    /// [`SvsmError`] naming what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, SvsmError> {
        if bytes.len() > MAX_BYTES {
            return Err(SvsmError::Length { length: bytes.len() });
        }
        let area = if bytes.starts_with(&SERVICES) { vtpm_of_table(bytes)? } else { bytes };
        let endorsement_key = TpmPublic::parse(area)?;
        // Not TPM2B_PUBLIC: what the hardware commits to has one form.
        if endorsement_key.as_bytes().len() != area.len() {
            return Err(SvsmError::Length { length: area.len() });
        }
        Ok(Self { bytes: bytes.to_vec(), endorsement_key })
    }

    /// The manifest as received.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the report carries when the guest asked for it with `guest_data`: SHA-512 over both.
    #[must_use]
    pub fn report_data(&self, guest_data: &ReportData) -> ReportData {
        let digest = HashAlgorithm::Sha512.digest(&[&guest_data.0, &self.bytes]);
        let mut bytes = [0; ReportData::LENGTH];
        for (to, from) in bytes.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        ReportData(bytes)
    }
}

/// GUID, length u32, count u32, then {GUID, offset u32, length u32} of each service; little-endian, offsets from the start.
fn vtpm_of_table(bytes: &[u8]) -> Result<&[u8], SvsmError> {
    let mut reader = Reader::new(bytes);
    reader.take(SERVICES.len())?;
    let length = reader.u32_le()?;
    let count = reader.u32_le()?;
    if usize::try_from(length).ok() != Some(bytes.len()) || count > MAX_SERVICES {
        return Err(SvsmError::Table { length, count });
    }
    let mut found = None;
    for _ in 0..count {
        let guid = reader.take(VTPM.len())?;
        let (offset, length) = (reader.u32_le()?, reader.u32_le()?);
        if guid == VTPM && found.replace((offset, length)).is_some() {
            return Err(SvsmError::Vtpm);
        }
    }
    let (offset, length) = found.ok_or(SvsmError::Vtpm)?;
    let range = || {
        let start = usize::try_from(offset).ok()?;
        Some(start..start.checked_add(usize::try_from(length).ok()?)?)
    };
    // The service's data lies behind the table.
    let range = range().filter(|range| range.start >= reader.offset()).ok_or(SvsmError::Vtpm)?;
    bytes.get(range).ok_or(SvsmError::Vtpm)
}

/// Bytes are not a services manifest with a vTPM.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SvsmError {
    /// Longer than a manifest may be, or not exactly the key.
    #[error("expected a services manifest or the endorsement key's public area alone, found {length} bytes")]
    Length {
        /// How many bytes.
        length: usize,
    },
    /// It ends inside a field.
    #[error("services manifest ends early")]
    Truncated(#[from] Truncated),
    /// The table's header contradicts the bytes.
    #[error("services manifest says {length} bytes and {count} services, which it has not")]
    Table {
        /// Its length field.
        length: u32,
        /// Its count field.
        count: u32,
    },
    /// No vTPM among the services, more than one, or one outside of the manifest.
    #[error("expected exactly one vTPM inside of the services manifest")]
    Vtpm,
    /// The endorsement key.
    #[error("endorsement key of the services manifest")]
    EndorsementKey(#[from] TpmError),
}

impl Coded for SvsmError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Length { .. } => "parse.svsm.length",
            Self::Truncated(_) => "parse.svsm.truncated",
            Self::Table { .. } => "parse.svsm.table",
            Self::Vtpm => "parse.svsm.vtpm",
            Self::EndorsementKey(_) => "parse.svsm.endorsement_key",
        })
    }
}
