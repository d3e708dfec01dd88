//! TPMS_ATTEST of type quote (TPM 2.0 part 2, section 10.12).

use std::collections::BTreeSet;

use super::{TpmError, TpmName};
use crate::{bytes::Reader, digest::HashAlgorithm};

/// TPM_GENERATED_VALUE: a restricted key signs nothing that starts like this unless the TPM made it.
const MAGIC: u32 = 0xFF54_4347;
/// TPM_ST_ATTEST_QUOTE.
const ATTEST_QUOTE: u16 = 0x8018;
/// Most bank selections in one quote (HASH_COUNT of any TPM).
const MAX_SELECTIONS: u32 = 16;
/// Longest qualifying data: TPMU_HA of SHA-512 with its algorithm (part 2, TPM2B_DATA).
const MAX_EXTRA_DATA: usize = 66;
/// Longest name or digest: SHA-512 with its algorithm.
const MAX_NAME: usize = 66;

/// A quote: what the TPM says it signed. The bytes that were signed are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmQuote {
    bytes: Vec<u8>,
    /// Qualified name of the signing key (part 1, section 26.5).
    pub qualified_signer: TpmName,
    /// Qualifying data of the caller, at most 66 bytes.
    pub extra_data: Vec<u8>,
    /// Clock and counters.
    pub clock: ClockInfo,
    /// Vendor's firmware version.
    pub firmware_version: u64,
    /// Selections in the order of the quote: chosen by whoever asked for the quote.
    pub selections: Vec<PcrSelection>,
    /// Digest over the selected PCR values.
    pub pcr_digest: Vec<u8>,
}

/// TPMS_CLOCK_INFO (part 2, section 10.11.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ClockInfo {
    /// Milliseconds that the TPM has been powered since its clock was last cleared.
    pub clock: u64,
    /// TPM resets since the last clear: one per boot.
    pub reset_count: u32,
    /// TPM restarts or resumes since the last reset: a restored snapshot shows here.
    pub restart_count: u32,
    /// Whether no larger clock value was ever reported.
    pub safe: bool,
}

/// One bank's selection (TPMS_PCR_SELECTION).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrSelection {
    /// The bank.
    pub bank: HashAlgorithm,
    /// Selected PCRs.
    pub pcrs: BTreeSet<u8>,
}

impl TpmQuote {
    /// Parses TPMS_ATTEST: magic, type quote, every field, nothing after the last.
    ///
    /// # Errors
    /// [`TpmError`] naming the field.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new(bytes);
        let magic = reader.u32_be()?;
        if magic != MAGIC {
            return Err(TpmError::Magic { magic });
        }
        let kind = reader.u16_be()?;
        if kind != ATTEST_QUOTE {
            return Err(TpmError::NotAQuote { kind });
        }
        let qualified_signer = TpmName::parse(sized(&mut reader, "qualifiedSigner", MAX_NAME)?)?;
        let extra_data = sized(&mut reader, "extraData", MAX_EXTRA_DATA)?.to_vec();
        let clock = ClockInfo {
            clock: reader.u64_be()?,
            reset_count: reader.u32_be()?,
            restart_count: reader.u32_be()?,
            safe: parse_yes_no(reader.u8()?)?,
        };
        let firmware_version = reader.u64_be()?;
        let selections = parse_selections(&mut reader)?;
        let pcr_digest = sized(&mut reader, "pcrDigest", MAX_NAME)?.to_vec();
        if !reader.is_empty() {
            return Err(TpmError::Trailing { structure: "quote", offset: reader.offset() });
        }
        let bytes = bytes.to_vec();
        Ok(Self { bytes, qualified_signer, extra_data, clock, firmware_version, selections, pcr_digest })
    }

    /// The signed bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn parse_yes_no(byte: u8) -> Result<bool, TpmError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(TpmError::Field { field: "clockInfo.safe", value: byte.into() }),
    }
}

fn parse_selections(reader: &mut Reader<'_>) -> Result<Vec<PcrSelection>, TpmError> {
    let count = reader.u32_be()?;
    if count > MAX_SELECTIONS {
        return Err(TpmError::Field { field: "pcrSelect.count", value: count.into() });
    }
    (0..count).map(|_| parse_selection(reader)).collect()
}

fn parse_selection(reader: &mut Reader<'_>) -> Result<PcrSelection, TpmError> {
    let id = reader.u16_be()?;
    let bank = HashAlgorithm::from_tpm_id(id).ok_or(TpmError::Field { field: "pcrSelect.hash", value: id.into() })?;
    let size = reader.u8()?;
    if !(1..=4).contains(&size) {
        return Err(TpmError::Field { field: "pcrSelect.sizeofSelect", value: size.into() });
    }
    // Bit n of byte m selects PCR 8m + n.
    let mut pcrs = BTreeSet::new();
    for (base, bits) in (0_u8..).step_by(8).zip(reader.take(size.into())?) {
        for bit in 0..8_u8 {
            if bits & (1 << bit) != 0 {
                let pcr = base.saturating_add(bit);
                if pcr > 23 {
                    return Err(TpmError::Field { field: "pcrSelect.pcr", value: pcr.into() });
                }
                pcrs.insert(pcr);
            }
        }
    }
    Ok(PcrSelection { bank, pcrs })
}

/// A TPM2B: length u16, then so many bytes, at most `most`.
pub(super) fn sized<'a>(reader: &mut Reader<'a>, field: &'static str, most: usize) -> Result<&'a [u8], TpmError> {
    let length = usize::from(reader.u16_be()?);
    if length > most {
        return Err(TpmError::Length { field, length });
    }
    Ok(reader.take(length)?)
}
