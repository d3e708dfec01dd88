//! Platform configuration registers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use evidence_formats::{
    digest::{Digest, HashAlgorithm},
    tpm::PcrSelection,
};

use thiserror::Error;

use super::{
    Malformed, Tpm, TpmError,
    capability::selections,
    command::{Command, CommandCode, Writer},
    response::sized,
};

/// Most digests in one response (TPML_DIGEST).
const MAX_DIGESTS: u32 = 8;
/// How often reading starts again because a PCR was extended meanwhile.
const ATTEMPTS: u32 = 5;

/// PCRs of one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcrs {
    bank: HashAlgorithm,
    indices: BTreeSet<u8>,
}

impl Pcrs {
    /// These PCRs, each 0 to 23; what is above is left out, since no TPM of a PC has it.
    #[must_use]
    pub fn new(bank: HashAlgorithm, indices: impl IntoIterator<Item = u8>) -> Self {
        Self { bank, indices: indices.into_iter().filter(|pcr| *pcr < 24).collect() }
    }

    /// PCR 0 to 23.
    #[must_use]
    pub fn all(bank: HashAlgorithm) -> Self {
        Self::new(bank, 0..24)
    }

    /// The bank.
    #[must_use]
    pub const fn bank(&self) -> HashAlgorithm {
        self.bank
    }

    /// The indices, ascending.
    #[must_use]
    pub const fn indices(&self) -> &BTreeSet<u8> {
        &self.indices
    }

    pub(super) fn selection(&self) -> PcrSelection {
        PcrSelection { bank: self.bank, pcrs: self.indices.clone() }
    }
}

impl fmt::Display for Pcrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let indices: Vec<_> = self.indices.iter().map(u8::to_string).collect();
        write!(f, "{}:{}", self.bank, indices.join(","))
    }
}

/// A text that names no PCRs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected PCRs such as sha256:0-23 or sha384:0-7,11, of SHA-256 or better")]
pub struct NotPcrs;

impl FromStr for Pcrs {
    type Err = NotPcrs;

    fn from_str(text: &str) -> Result<Self, NotPcrs> {
        let (bank, list) = text.split_once(':').ok_or(NotPcrs)?;
        // No claim rests on SHA-1.
        let bank = HashAlgorithm::from_name(bank).filter(|bank| *bank != HashAlgorithm::Sha1).ok_or(NotPcrs)?;
        let index = |text: &str| text.parse().ok().filter(|pcr: &u8| *pcr < 24).ok_or(NotPcrs);
        let mut indices = BTreeSet::new();
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (index(first)?, index(last)?);
            if first > last {
                return Err(NotPcrs);
            }
            indices.extend(first..=last);
        }
        Ok(Self { bank, indices })
    }
}

impl Tpm {
    /// The values of `pcrs` at one moment (TPM2_PCR_Read, as often as it takes).
    ///
    /// # Errors
    /// [`TpmError::PcrAbsent`] when the bank is not active, [`TpmError::PcrsMoved`] when they do not hold still.
    pub fn pcr_read(&self, pcrs: &Pcrs) -> Result<BTreeMap<u8, Digest>, TpmError> {
        for _ in 0..ATTEMPTS {
            if let Some(values) = self.pcr_read_once(pcrs)? {
                return Ok(values);
            }
        }
        Err(TpmError::PcrsMoved { attempts: ATTEMPTS })
    }

    /// Reads until all are there; `None` when pcrUpdateCounter changed in between.
    fn pcr_read_once(&self, pcrs: &Pcrs) -> Result<Option<BTreeMap<u8, Digest>>, TpmError> {
        let mut values = BTreeMap::new();
        let mut counter = None;
        loop {
            let missing: BTreeSet<u8> = pcrs.indices.iter().filter(|pcr| !values.contains_key(*pcr)).copied().collect();
            let Some(first) = missing.first().copied() else { return Ok(Some(values)) };
            let (count, read) = self.pcr_read_some(pcrs.bank, missing)?;
            if *counter.get_or_insert(count) != count {
                return Ok(None);
            }
            if read.is_empty() {
                return Err(TpmError::PcrAbsent { bank: pcrs.bank, pcr: first });
            }
            values.extend(read);
        }
    }

    /// pcrUpdateCounter and the first PCRs of `indices`, as many as fit.
    fn pcr_read_some(
        &self,
        bank: HashAlgorithm,
        indices: BTreeSet<u8>,
    ) -> Result<(u32, BTreeMap<u8, Digest>), TpmError> {
        let asked = PcrSelection { bank, pcrs: indices };
        let parameters = Writer::default().selections(std::slice::from_ref(&asked));
        self.ask(Command::new(CommandCode::PCR_READ, &[]).parameters(parameters), |reader| {
            let counter = reader.u32_be()?;
            let read = selections(reader)?;
            let count = reader.u32_be()?;
            if count > MAX_DIGESTS {
                return Err(Malformed::Field { field: "pcrValues.count", value: count.into() });
            }
            let mut values = BTreeMap::new();
            for pcr in read.iter().filter(|read| read.bank == bank).flat_map(|read| &read.pcrs) {
                let value = sized(reader, "pcrValues", bank.length())?;
                let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
                let wrong = Malformed::Field { field: "pcrValues.size", value: length };
                let value = Digest::new(bank, value).filter(|_| asked.pcrs.contains(pcr)).ok_or(wrong)?;
                values.insert(*pcr, value);
            }
            if u32::try_from(values.len()) != Ok(count) {
                return Err(Malformed::Field { field: "pcrValues.count", value: count.into() });
            }
            Ok((counter, values))
        })
    }

    /// Extends a PCR in every bank that `digests` name (TPM2_PCR_Extend). Banks that are not named stay as they are, so
    /// name every active one.
    ///
    /// # Errors
    /// [`TpmError`] when the PCR cannot be extended by this locality.
    pub fn pcr_extend(&self, pcr: u8, digests: &[Digest]) -> Result<(), TpmError> {
        let count = u32::try_from(digests.len()).unwrap_or(u32::MAX);
        let parameters = digests.iter().fold(Writer::default().u32(count), |writer, digest| {
            writer.u16(digest.algorithm().tpm_id()).bytes(digest.as_bytes())
        });
        let command = Command::new(CommandCode::PCR_EXTEND, &[pcr.into()]).with_password().parameters(parameters);
        self.ask(command, |_nothing| Ok(()))
    }

    /// Sets a PCR back (TPM2_PCR_Reset). Only 16 and 23 let themselves be reset by everybody.
    ///
    /// # Errors
    /// [`TpmError`] with `TPM_RC_LOCALITY` for every other PCR.
    pub fn pcr_reset(&self, pcr: u8) -> Result<(), TpmError> {
        self.ask(Command::new(CommandCode::PCR_RESET, &[pcr.into()]).with_password(), |_nothing| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_read_as_people_write_them() {
        let all = "sha256:0-23".parse();
        assert_eq!(all, Ok(Pcrs::all(HashAlgorithm::Sha256)));
        assert_eq!("sha384:0-2,7,11".parse(), Ok(Pcrs::new(HashAlgorithm::Sha384, [0, 1, 2, 7, 11])));
        for text in ["", "sha256", "sha256:", "sha1:0", "md5:0", "sha256:24", "sha256:3-1", "sha256:a", "sha256:1,"] {
            assert_eq!(text.parse::<Pcrs>(), Err(NotPcrs), "{text}");
        }
    }
}
