//! `PolicyPCR`: which PCR values an object demands each time it is used.

use std::collections::BTreeMap;

use thiserror::Error;

use super::storage_key::TpmHash;

/// TPM_CC_PolicyPCR (part 2, section 6.5.2).
const POLICY_PCR: u32 = 0x0000_017F;
/// PCRs of a PC client TPM.
const PCRS: u8 = 24;

/// PCR values of one bank that the TPM compares with its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrPolicy {
    bank: TpmHash,
    values: BTreeMap<u8, Vec<u8>>,
}

/// Values that no policy can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected at least one PCR of 0 to 23, each with a digest of the bank's length")]
pub struct NotAPcrPolicy;

impl NotAPcrPolicy {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        "release.tpm.pcr_policy"
    }
}

impl PcrPolicy {
    /// A policy over these values.
    ///
    /// # Errors
    /// [`NotAPcrPolicy`] when there are none (such a policy would demand nothing), an index is above 23, or a digest has
    /// not the length of the bank.
    pub fn new(bank: TpmHash, values: BTreeMap<u8, Vec<u8>>) -> Result<Self, NotAPcrPolicy> {
        let sound = |(pcr, value): (&u8, &Vec<u8>)| *pcr < PCRS && value.len() == bank.length();
        if values.is_empty() || !values.iter().all(sound) {
            return Err(NotAPcrPolicy);
        }
        Ok(Self { bank, values })
    }

    /// The bank.
    #[must_use]
    pub const fn bank(&self) -> TpmHash {
        self.bank
    }

    /// The PCRs, ascending.
    pub fn pcrs(&self) -> impl Iterator<Item = u8> {
        self.values.keys().copied()
    }

    /// The values, by PCR.
    #[must_use]
    pub const fn values(&self) -> &BTreeMap<u8, Vec<u8>> {
        &self.values
    }

    /// The policy digest of an object whose name algorithm is SHA-256 (part 3, TPM2_PolicyPCR): H(0…0 ‖ command code ‖
    /// selection ‖ H(values)).
    pub(super) fn digest(&self) -> Vec<u8> {
        let hash = TpmHash::Sha256;
        let values: Vec<&[u8]> = self.values.values().map(Vec::as_slice).collect();
        let start = [0; 32];
        hash.digest(&[&start, &POLICY_PCR.to_be_bytes(), &self.selection(), &hash.digest(&values)])
    }

    /// TPML_PCR_SELECTION of one bank with three bytes of bits.
    fn selection(&self) -> Vec<u8> {
        let bits = self.values.keys().fold(0_u32, |bits, pcr| bits | (1 << pcr));
        let [first, second, third, _] = bits.to_le_bytes();
        let [high, low] = self.bank.tpm_id().to_be_bytes();
        vec![0, 0, 0, 1, high, low, 3, first, second, third]
    }
}
