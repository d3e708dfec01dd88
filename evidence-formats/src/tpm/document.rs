//! The JSON document that carries TPM evidence, alone or with an Azure confidential VM's reports.

use std::collections::BTreeMap;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Serialize};

use super::{TpmError, TpmPublic, TpmQuote, TpmSignature};
use crate::{
    bytes::Reader,
    digest::{Digest, HashAlgorithm},
    eventlog::{EventLog, ima::ImaLog},
    json,
};

/// Largest document that is read, in bytes.
const MAX_DOCUMENT_BYTES: usize = 4 << 20;
/// Most certificates that travel with an attestation key.
const MAX_CERTIFICATES: usize = 8;
/// Longest certificate, padding of its NV index included, in bytes.
const MAX_CERTIFICATE_BYTES: usize = 16 << 10;

/// An attestation key as the evidence brings it: never trusted for standing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AkPublic {
    /// TPMT_PUBLIC: its name and attributes can be vouched for.
    Area(TpmPublic),
    /// SubjectPublicKeyInfo in DER: a bare key, without attributes.
    Spki(Vec<u8>),
}

impl AkPublic {
    /// Parses SubjectPublicKeyInfo (starts with a DER SEQUENCE) or TPMT_PUBLIC.
    ///
    /// # Errors
    /// [`TpmError`] of the public area.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        if bytes.first() == Some(&0x30) {
            return Ok(Self::Spki(bytes.to_vec()));
        }
        TpmPublic::parse(bytes).map(Self::Area)
    }
}

/// Everything a TPM says about its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmEvidence {
    /// The attestation key, unless a certificate or the HCL report brings it.
    pub ak_public: Option<AkPublic>,
    /// Certificate of the attestation key, then intermediates, in DER.
    pub ak_certificates: Vec<Vec<u8>>,
    /// The quote.
    pub quote: TpmQuote,
    /// Its signature.
    pub signature: TpmSignature,
    /// PCR values by bank, as claimed beside the quote.
    pub pcrs: BTreeMap<HashAlgorithm, BTreeMap<u8, Digest>>,
    /// Firmware and boot loader measurements.
    pub event_log: Option<EventLog>,
    /// Kernel measurements.
    pub ima_log: Option<ImaLog>,
}

/// A document with everything that it may carry.
pub(crate) struct FullDocument {
    pub(crate) tpm: TpmEvidence,
    pub(crate) hcl_report: Option<Vec<u8>>,
    pub(crate) td_quote: Option<Vec<u8>>,
}

/// The parts of a document, as the TPM gave them: the `tpm` item of a bundle, whose logs have items of their own.
#[derive(Debug, Clone, Copy)]
pub struct TpmDocument<'a> {
    /// TPMT_PUBLIC of the attestation key.
    pub ak_public: &'a [u8],
    /// Its certificate, then intermediates, in DER; may be empty.
    pub ak_certificates: &'a [Vec<u8>],
    /// TPMS_ATTEST.
    pub message: &'a [u8],
    /// TPMT_SIGNATURE.
    pub signature: &'a [u8],
    /// The quoted values, of any bank.
    pub pcrs: &'a BTreeMap<u8, Digest>,
}

impl TpmDocument<'_> {
    /// The JSON document.
    ///
    /// # Errors
    /// [`TpmError::Document`] when the serializer fails.
    pub fn to_json(&self) -> Result<Vec<u8>, TpmError> {
        let encode = |bytes: &[u8]| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut pcrs: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (pcr, value) in self.pcrs {
            pcrs.entry(value.algorithm().to_string()).or_default().insert(pcr.to_string(), value.to_string());
        }
        let document = Document {
            ak_public: Some(encode(self.ak_public)),
            ak_certificates: self.ak_certificates.iter().map(|der| encode(der)).collect(),
            quote: QuoteDocument { message: encode(self.message), signature: encode(self.signature) },
            pcrs,
            event_log: None,
            ima_log: None,
            hcl_report: None,
            td_quote: None,
        };
        serde_json::to_vec(&document).map_err(|error| TpmError::Document(error.to_string()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    ak_public: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ak_certificates: Vec<String>,
    quote: QuoteDocument,
    pcrs: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ima_log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hcl_report: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    td_quote: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuoteDocument {
    message: String,
    signature: String,
}

impl TpmEvidence {
    /// Parses the document of a TPM alone.
    ///
    /// # Errors
    /// [`TpmError`] naming the member or the structure inside.
    pub fn from_document(bytes: &[u8]) -> Result<Self, TpmError> {
        let document = FullDocument::parse(bytes)?;
        if document.hcl_report.is_some() || document.td_quote.is_some() {
            return Err(TpmError::Document("hcl_report and td_quote belong to azure evidence".to_owned()));
        }
        Ok(document.tpm)
    }

    /// Parses the `tpm` item of a bundle, with the logs that stand in items of their own.
    ///
    /// # Errors
    /// [`TpmError`] naming the member or the structure inside; a document that brings what has an item of its own.
    pub(crate) fn from_items(
        document: &[u8],
        event_log: Option<&[u8]>,
        ima_log: Option<&[u8]>,
    ) -> Result<Self, TpmError> {
        let mut evidence = Self::from_document(document)?;
        if evidence.event_log.is_some() || evidence.ima_log.is_some() {
            return Err(TpmError::Document("logs have items of their own in a bundle".to_owned()));
        }
        evidence.event_log = event_log.map(EventLog::parse).transpose()?;
        evidence.ima_log = ima_log.map(ImaLog::parse).transpose()?;
        Ok(evidence)
    }
}

impl FullDocument {
    /// Parses a document with whatever it carries.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let document = parse_document(bytes)?;
        let optional = |member, text: &Option<String>| text.as_deref().map(|text| decode(member, text)).transpose();
        Ok(Self {
            hcl_report: optional("hcl_report", &document.hcl_report)?,
            td_quote: optional("td_quote", &document.td_quote)?,
            tpm: parse_evidence(&document)?,
        })
    }
}

fn parse_document(bytes: &[u8]) -> Result<Document, TpmError> {
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(TpmError::Length { field: "document", length: bytes.len() });
    }
    json::require_unique_members(bytes)
        .and_then(|()| serde_json::from_slice(bytes))
        .map_err(|error| TpmError::Document(error.to_string()))
}

fn parse_evidence(document: &Document) -> Result<TpmEvidence, TpmError> {
    let optional = |member, text: &Option<String>| text.as_deref().map(|text| decode(member, text)).transpose();
    let ak_public = optional("ak_public", &document.ak_public)?.map(|bytes| AkPublic::parse(&bytes)).transpose()?;
    if document.ak_certificates.len() > MAX_CERTIFICATES {
        return Err(TpmError::Length { field: "ak_certificates", length: document.ak_certificates.len() });
    }
    Ok(TpmEvidence {
        ak_public,
        ak_certificates: document
            .ak_certificates
            .iter()
            .map(|text| without_nv_padding(&decode("ak_certificates", text)?))
            .collect::<Result<_, _>>()?,
        quote: TpmQuote::parse(&decode("quote.message", &document.quote.message)?)?,
        signature: TpmSignature::parse(&decode("quote.signature", &document.quote.signature)?)?,
        pcrs: parse_pcrs(&document.pcrs)?,
        event_log: optional("event_log", &document.event_log)?.map(|bytes| EventLog::parse(&bytes)).transpose()?,
        ima_log: optional("ima_log", &document.ima_log)?.map(|bytes| ImaLog::parse(&bytes)).transpose()?,
    })
}

/// Standard or URL-safe, padded or not.
fn decode(member: &'static str, text: &str) -> Result<Vec<u8>, TpmError> {
    let alphabet = if text.contains(['-', '_']) { alphabet::URL_SAFE } else { alphabet::STANDARD };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet, config)
        .decode(text)
        .map_err(|error| TpmError::Document(format!("{member} is not base64: {error}")))
}

/// A certificate read from an NV index stands before zeros up to the size of the index: the certificate alone.
fn without_nv_padding(bytes: &[u8]) -> Result<Vec<u8>, TpmError> {
    let malformed = TpmError::Length { field: "ak_certificates", length: bytes.len() };
    if bytes.len() > MAX_CERTIFICATE_BYTES {
        return Err(malformed);
    }
    // DER SEQUENCE with a two-byte length: every certificate is longer than 255 bytes and shorter than 64 KiB.
    let mut reader = Reader::new(bytes);
    if reader.take(2)? != [0x30, 0x82] {
        return Err(malformed);
    }
    let body = usize::from(reader.u16_be()?);
    reader.take(body)?;
    let certificate = bytes.get(..reader.offset()).unwrap_or_default().to_vec();
    if reader.rest().iter().any(|byte| *byte != 0) {
        return Err(malformed);
    }
    Ok(certificate)
}

fn parse_pcrs(
    banks: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<BTreeMap<HashAlgorithm, BTreeMap<u8, Digest>>, TpmError> {
    let mut parsed = BTreeMap::new();
    for (name, values) in banks {
        let wrong = |pcr: &str| TpmError::PcrValue { bank: name.clone(), pcr: pcr.to_owned() };
        let bank = HashAlgorithm::from_name(name).ok_or_else(|| wrong(""))?;
        let mut bank_values = BTreeMap::new();
        for (index, value) in values {
            let pcr: u8 = index.parse().ok().filter(|pcr| *pcr < 24).ok_or_else(|| wrong(index))?;
            let bytes = hex::decode(value).map_err(|_not_hex| wrong(index))?;
            let digest = Digest::new(bank, &bytes).ok_or_else(|| wrong(index))?;
            // "7" and "07" are one PCR.
            if bank_values.insert(pcr, digest).is_some() {
                return Err(wrong(index));
            }
        }
        parsed.insert(bank, bank_values);
    }
    Ok(parsed)
}
