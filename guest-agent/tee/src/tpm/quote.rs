//! Quotes (TPM 2.0 part 3, TPM2_Quote).

use std::{collections::BTreeMap, sync::PoisonError};

use evidence_formats::{
    digest::{Digest, HashAlgorithm},
    tpm::{PcrSelection, SigningScheme, TpmQuote, TpmSignature},
};

use super::{
    Key, Pcrs, Tpm, TpmError,
    command::{Command, CommandCode, Writer},
    key::MAX_STRUCTURE,
    response::sized,
};

/// TPM_ALG_NULL: the key's own scheme.
const ALG_NULL: u16 = 0x0010;
/// How often the quote is made again because a PCR was extended between it and the reading.
const ATTEMPTS: u32 = 5;

/// A quote as the TPM made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// TPMS_ATTEST: the bytes that are signed.
    pub message: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
}

/// A quote and the values that it quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotedPcrs {
    /// The quote.
    pub quote: Quote,
    /// The values: they hash to the quote's digest.
    pub values: BTreeMap<u8, Digest>,
}

impl Tpm {
    /// Quotes the selections with `extra_data`, at most 64 bytes (SHA-512).
    ///
    /// # Errors
    /// [`TpmError`] when the key cannot sign, or what comes is no quote.
    pub fn quote(&self, ak: &Key, extra_data: &[u8], selections: &[PcrSelection]) -> Result<Quote, TpmError> {
        let parameters = Writer::default().sized(extra_data).u16(ALG_NULL).selections(selections);
        let command = Command::new(CommandCode::QUOTE, &[ak.handle()]).with_password().parameters(parameters);
        self.ask(command, |reader| {
            let message = sized(reader, "quoted", MAX_STRUCTURE)?.to_vec();
            Ok(Quote { message, signature: reader.rest().to_vec() })
        })
    }

    /// Quotes `pcrs` and reads them, again when one was extended in between. Values of the last quote that hash to the digest
    /// of this one are these values, and not read again.
    ///
    /// # Errors
    /// [`TpmError::PcrsMoved`] when they do not hold still.
    pub fn quote_pcrs(&self, ak: &Key, extra_data: &[u8], pcrs: &Pcrs) -> Result<QuotedPcrs, TpmError> {
        let hash = signing_hash(ak);
        for _ in 0..ATTEMPTS {
            let quote = self.quote(ak, extra_data, &[pcrs.selection()])?;
            let parsed = parse(&quote)?;
            let are_quoted = |values: &BTreeMap<u8, Digest>| {
                let concatenated: Vec<&[u8]> = values.values().map(Digest::as_bytes).collect();
                hash.digest(&concatenated).as_bytes() == parsed.pcr_digest
            };
            if let Some(values) = self.last_quoted(pcrs).filter(are_quoted) {
                return Ok(QuotedPcrs { quote, values });
            }
            let values = self.pcr_read(pcrs)?;
            if are_quoted(&values) {
                let last = (pcrs.clone(), values.clone());
                *self.quoted.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
                return Ok(QuotedPcrs { quote, values });
            }
        }
        Err(TpmError::PcrsMoved { attempts: ATTEMPTS })
    }

    fn last_quoted(&self, pcrs: &Pcrs) -> Option<BTreeMap<u8, Digest>> {
        let last = self.quoted.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(same, _)| same == pcrs).map(|(_, values)| values.clone())
    }
}

/// What is no quote is told here and not by the broker.
fn parse(quote: &Quote) -> Result<TpmQuote, TpmError> {
    TpmSignature::parse(&quote.signature).map_err(|source| TpmError::Structure { structure: "signature", source })?;
    TpmQuote::parse(&quote.message).map_err(|source| TpmError::Structure { structure: "quote", source })
}

/// The hash of the key's scheme is the hash over the PCR values (part 1, section 18.4.3).
const fn signing_hash(ak: &Key) -> HashAlgorithm {
    match ak.public().scheme {
        SigningScheme::Rsassa(hash) | SigningScheme::Rsapss(hash) | SigningScheme::Ecdsa(hash) => hash,
        SigningScheme::Unspecified | SigningScheme::Encryption => HashAlgorithm::Sha256,
    }
}
