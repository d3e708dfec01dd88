//! Which PCRs a quote must sign, and the values that it was proven to sign.

use std::{collections::BTreeMap, fmt, str::FromStr};

use evidence_formats::{
    digest::{Digest, HashAlgorithm},
    tpm::{PcrSelection, TpmQuote},
};
use thiserror::Error;

use super::TpmAuthenticateError;

/// One bank and the exact PCRs of it that a quote must sign, written `sha256:0-23` or `sha384:0-7,11,14`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcrSet {
    bank: HashAlgorithm,
    /// Bit n stands for PCR n.
    mask: u32,
}

impl PcrSet {
    /// All 24 PCRs of the SHA-256 bank: the default.
    pub const SHA256_ALL: Self = Self { bank: HashAlgorithm::Sha256, mask: 0x00FF_FFFF };

    /// The bank; SHA-1 in no set that is read from text.
    #[must_use]
    pub const fn bank(&self) -> HashAlgorithm {
        self.bank
    }

    /// The PCRs in ascending order, 0 to 23, at least one.
    pub fn pcrs(&self) -> impl Iterator<Item = u8> + use<> {
        let mask = self.mask;
        (0..24).filter(move |pcr| mask & (1 << pcr) != 0)
    }

    fn of_selection(selection: &PcrSelection) -> Self {
        Self { bank: selection.bank, mask: selection.pcrs.iter().fold(0, |mask, pcr| mask | (1 << pcr)) }
    }
}

impl Default for PcrSet {
    fn default() -> Self {
        Self::SHA256_ALL
    }
}

impl fmt::Display for PcrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.bank)?;
        for (position, pcr) in self.pcrs().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{pcr}")?;
        }
        Ok(())
    }
}

impl FromStr for PcrSet {
    type Err = NotAPcrSet;

    fn from_str(text: &str) -> Result<Self, NotAPcrSet> {
        let (bank, list) = text.split_once(':').ok_or(NotAPcrSet::Syntax)?;
        let bank = match HashAlgorithm::from_name(bank) {
            None => return Err(NotAPcrSet::Syntax),
            Some(HashAlgorithm::Sha1) => return Err(NotAPcrSet::Sha1),
            Some(bank @ (HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)) => bank,
        };
        let index = |text: &str| text.parse().ok().filter(|pcr: &u8| *pcr < 24).ok_or(NotAPcrSet::Syntax);
        let mut mask = 0;
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (index(first)?, index(last)?);
            if first > last {
                return Err(NotAPcrSet::Syntax);
            }
            mask |= (first..=last).fold(0, |mask, pcr| mask | (1 << pcr));
        }
        Ok(Self { bank, mask })
    }
}

/// Text is not a PCR set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotAPcrSet {
    /// Not `BANK:LIST`.
    #[error("expected a PCR set such as sha256:0-23 or sha384:0-7,11")]
    Syntax,
    /// SHA-1 proves nothing.
    #[error("expected the bank sha256, sha384 or sha512: no claim rests on SHA-1")]
    Sha1,
}

/// PCR values that a genuine quote signed: one bank, exactly the demanded set.
///
/// Made only from the signed selection; a value that was not signed does not exist here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPcrs {
    bank: HashAlgorithm,
    values: BTreeMap<u8, Digest>,
}

impl VerifiedPcrs {
    /// The bank.
    #[must_use]
    pub const fn bank(&self) -> HashAlgorithm {
        self.bank
    }

    /// Value of one PCR, when it was signed.
    #[must_use]
    pub fn value(&self, pcr: u8) -> Option<&Digest> {
        self.values.get(&pcr)
    }

    /// Every signed PCR with its value.
    #[must_use]
    pub const fn values(&self) -> &BTreeMap<u8, Digest> {
        &self.values
    }

    /// Compares a quote whose signature was checked with the values claimed beside it.
    ///
    /// The selection is an input of whoever asked the TPM for the quote: one bank may be selected several times, and a
    /// resettable PCR may stand where another is expected. So exactly one selection is allowed, and it must be the
    /// demanded one. The digest is by the hash of the signature scheme, over the values in ascending order (TPM 2.0
    /// part 3, TPM2_Quote).
    pub(crate) fn of_quote(
        quote: &TpmQuote,
        signature_hash: HashAlgorithm,
        demanded: &PcrSet,
        claimed: &BTreeMap<HashAlgorithm, BTreeMap<u8, Digest>>,
    ) -> Result<Self, TpmAuthenticateError> {
        let [selection] = quote.selections.as_slice() else {
            return Err(TpmAuthenticateError::SelectionCount { count: quote.selections.len() });
        };
        let signed = PcrSet::of_selection(selection);
        if signed != *demanded {
            return Err(TpmAuthenticateError::Selection { demanded: *demanded, signed });
        }
        let claimed = claimed.get(&signed.bank);
        let values = signed
            .pcrs()
            .map(|pcr| {
                let value = claimed.and_then(|values| values.get(&pcr)).copied();
                value.map(|value| (pcr, value)).ok_or(TpmAuthenticateError::PcrMissing { pcr })
            })
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        let ascending: Vec<&[u8]> = values.values().map(Digest::as_bytes).collect();
        if signature_hash.digest(&ascending).as_bytes() != quote.pcr_digest {
            return Err(TpmAuthenticateError::PcrDigest);
        }
        Ok(Self { bank: signed.bank, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pcr_sets_are_read_and_written() {
        let all: Result<PcrSet, _> = "sha256:0-23".parse();
        assert_eq!(all, Ok(PcrSet::default()));
        let some: Result<PcrSet, _> = "sha384:0-2,7,11".parse();
        assert_eq!(some.map(|set| set.to_string()), Ok("sha384:0,1,2,7,11".to_owned()));
        for wrong in ["", "sha256", "sha256:", "sha256:24", "sha256:3-1", "md5:0", "sha256:0-", "sha256:0,,1"] {
            assert_eq!(wrong.parse::<PcrSet>(), Err(NotAPcrSet::Syntax), "{wrong}");
        }
        assert_eq!("sha1:0-23".parse::<PcrSet>(), Err(NotAPcrSet::Sha1));
    }
}
