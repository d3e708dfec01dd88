//! TDX quote, versions 4 and 5.

use std::ops::Range;

use thiserror::Error;

use super::TdQuoteBody;
use crate::{
    bytes::{Reader, Truncated, byte_newtypes},
    code::{Code, Coded},
};

/// Most bytes of a quote with everything that a cloud pads it with.
pub const MAX_QUOTE_LENGTH: usize = 65_536;
/// Most bytes of certification data; a PCK chain has about 3,700.
pub const MAX_CERTIFICATION_LENGTH: usize = 16_384;

const ECDSA_P256_KEY: u16 = 2;
const TEE_TDX: u32 = 0x81;
const INTEL_QE_VENDOR: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];

byte_newtypes! {
    /// An ECDSA P-256 signature `r‖s`, big-endian.
    EcdsaSignature: 64;
    /// A P-256 point `x‖y`, big-endian; not yet known to lie on the curve.
    P256Point: 64;
}

/// Quote format version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum QuoteVersion {
    /// Version 4: always TD report 1.0.
    V4,
    /// Version 5: a typed body.
    V5,
}

impl QuoteVersion {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }
}

/// What the quoting enclave put beside its report so that its key can be traced to the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificationType {
    /// Type 1: plain PPID, CPUSVN, PCESVN, PCEID.
    Ppid,
    /// Type 2: PPID encrypted by RSA-2048-OAEP.
    PpidRsa2048,
    /// Type 3: PPID encrypted by RSA-3072-OAEP.
    PpidRsa3072,
    /// Type 4: PCK certificate alone.
    PckLeaf,
    /// Type 5: PCK certificate chain in PEM. The only type that can be verified from the quote.
    PckChain,
}

impl CertificationType {
    const fn from_wire(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Ppid),
            2 => Some(Self::PpidRsa2048),
            3 => Some(Self::PpidRsa3072),
            4 => Some(Self::PckLeaf),
            5 => Some(Self::PckChain),
            _ => None,
        }
    }
}

/// What stands after the end of the quote. Nothing there is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trailing {
    /// Nothing.
    None,
    /// Zero bytes: Google Cloud pads to 8,000 and Azure to 5,006 bytes.
    Padding {
        /// How many.
        length: usize,
    },
    /// Something else. No cloud does that; the baseline refuses it unless told otherwise.
    Data {
        /// How many bytes.
        length: usize,
    },
}

/// A size or count field of a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuoteField {
    /// Size of a version 5 body.
    Body,
    /// Size of the QE report certification data (type 6).
    QeCertification,
    /// Size of the certification data inside it.
    Certification,
}

/// A quote is malformed or of a kind that is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Bigger than anything a platform writes.
    #[error("expected a quote of at most {MAX_QUOTE_LENGTH} bytes, found {found}")]
    TooLong {
        /// Length that was found, in bytes.
        found: usize,
    },
    /// The bytes end before a field does.
    #[error("quote ends too early")]
    Truncated(#[from] Truncated),
    /// Not version 4 or 5.
    #[error("expected quote version 4 or 5, found {0}")]
    Version(u16),
    /// Not an ECDSA P-256 attestation key.
    #[error("expected attestation key type 2 (ECDSA P-256), found {0}")]
    AttestationKeyType(u16),
    /// Not about a TD.
    #[error("expected TEE type 0x81 (TDX), found {0:#x}")]
    TeeType(u32),
    /// Not made by Intel's quoting enclave.
    #[error("expected Intel's quoting enclave vendor id")]
    QeVendor,
    /// A version 5 body that is not a TD report.
    #[error("expected body type 2, 3 or 4 (TD report), found {0}")]
    BodyType(u16),
    /// A size field disagrees with what it measures.
    #[error("expected {expected} in the size field {field:?}, found {found}")]
    Size {
        /// Which field.
        field: QuoteField,
        /// What it must be.
        expected: usize,
        /// What it is.
        found: usize,
    },
    /// The signature is not accompanied by a QE report.
    #[error("expected certification data type 6 around the QE report, found {0}")]
    QeCertificationType(u16),
    /// Certification data that has no place inside type 6.
    #[error("expected certification data type 1 to 5, found {0}")]
    CertificationType(u16),
    /// More certification data than a chain of three certificates needs.
    #[error("expected at most {MAX_CERTIFICATION_LENGTH} bytes of certification data, found {found}")]
    CertificationTooLong {
        /// Length that was found, in bytes.
        found: usize,
    },
}

impl Coded for QuoteError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::TooLong { .. } | Self::Truncated(_) => "parse.tdx.length",
            Self::Version(_) => "parse.tdx.version",
            Self::AttestationKeyType(_) => "parse.tdx.attestation_key_type",
            Self::TeeType(_) => "parse.tdx.tee_type",
            Self::QeVendor => "parse.tdx.qe_vendor",
            Self::BodyType(_) => "parse.tdx.body_type",
            Self::Size { field: QuoteField::Body, .. } => "parse.tdx.body_size",
            Self::Size { field: QuoteField::QeCertification | QuoteField::Certification, .. } => "parse.tdx.size_field",
            Self::QeCertificationType(_) | Self::CertificationType(_) => "parse.tdx.certification_type",
            Self::CertificationTooLong { .. } => "parse.tdx.certification_length",
        })
    }
}

/// An SGX enclave report: here always the TD quoting enclave's (384 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnclaveReport {
    /// CPUSVN, opaque.
    pub cpu_svn: [u8; 16],
    /// MISCSELECT as it stands in the report.
    pub misc_select: [u8; 4],
    /// ATTRIBUTES: flags and XFRM.
    pub attributes: [u8; 16],
    /// MRENCLAVE.
    pub mr_enclave: [u8; 32],
    /// MRSIGNER.
    pub mr_signer: [u8; 32],
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    /// REPORTDATA.
    pub report_data: [u8; 64],
}

impl EnclaveReport {
    /// Length in bytes.
    pub const LENGTH: usize = 384;

    fn read(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        let cpu_svn = reader.array()?;
        let misc_select = reader.array()?;
        reader.take(28)?;
        let attributes = reader.array()?;
        let mr_enclave = reader.array()?;
        reader.take(32)?;
        let mr_signer = reader.array()?;
        reader.take(96)?;
        let isv_prod_id = reader.u16_le()?;
        let isv_svn = reader.u16_le()?;
        reader.take(60)?;
        let report_data = reader.array()?;
        Ok(Self { cpu_svn, misc_select, attributes, mr_enclave, mr_signer, isv_prod_id, isv_svn, report_data })
    }
}

/// A parsed quote. It keeps the bytes that were received, because they are what was signed; nothing is verified yet.
///
/// The bytes of a quote are not unique: both ECDSA signatures have a twin, and certification data and padding are not
/// signed at all. A digest over a quote names a message, never an attested state; [`TdxQuote::signed_bytes`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxQuote {
    received: Box<[u8]>,
    /// Format version.
    pub version: QuoteVersion,
    /// The four header bytes that are reserved in versions 4 and 5; signed, and zero in most quotes.
    pub reserved: [u8; 4],
    /// USER_DATA of the header: the quoting enclave's platform pseudonym and zeros.
    pub user_data: [u8; 20],
    /// The TD.
    pub body: TdQuoteBody,
    /// Signature over [`Self::signed_bytes`] by the attestation key.
    pub signature: EcdsaSignature,
    /// The attestation key.
    pub attestation_key: P256Point,
    /// The report of the quoting enclave that made the attestation key.
    pub qe_report: EnclaveReport,
    /// Signature over [`Self::qe_report_bytes`] by the PCK key.
    pub qe_report_signature: EcdsaSignature,
    /// Kind of [`Self::certification_data`].
    pub certification_type: CertificationType,
    /// What stands after the end.
    pub trailing: Trailing,
    signed_length: usize,
    qe_report_bytes: Range<usize>,
    qe_auth_data: Range<usize>,
    certification_data: Range<usize>,
}

struct Header {
    version: QuoteVersion,
    reserved: [u8; 4],
    user_data: [u8; 20],
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> Result<Self, QuoteError> {
        let version = match reader.u16_le()? {
            4 => QuoteVersion::V4,
            5 => QuoteVersion::V5,
            other => return Err(QuoteError::Version(other)),
        };
        match reader.u16_le()? {
            ECDSA_P256_KEY => {}
            other => return Err(QuoteError::AttestationKeyType(other)),
        }
        match reader.u32_le()? {
            TEE_TDX => {}
            other => return Err(QuoteError::TeeType(other)),
        }
        let reserved = reader.array()?;
        if reader.array::<16>()? != INTEL_QE_VENDOR {
            return Err(QuoteError::QeVendor);
        }
        Ok(Self { version, reserved, user_data: reader.array()? })
    }
}

impl TdxQuote {
    /// Parses a quote, with the zero padding that clouds put after it.
    ///
    /// # Errors
    /// Another version, key, TEE or vendor; a size that disagrees with its content by a single byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, QuoteError> {
        if bytes.len() > MAX_QUOTE_LENGTH {
            return Err(QuoteError::TooLong { found: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader)?;
        let body = read_body(&mut reader, header.version)?;
        let signed_length = reader.offset();

        let length = read_size(&mut reader)?;
        let auth_start = reader.offset();
        reader.clone().take(length)?;
        let signature = EcdsaSignature(reader.array()?);
        let attestation_key = P256Point(reader.array()?);
        match reader.u16_le()? {
            6 => {}
            other => return Err(QuoteError::QeCertificationType(other)),
        }
        let end = auth_start.saturating_add(length);
        require_rest(&mut reader, end, QuoteField::QeCertification)?;
        let qe_report_start = reader.offset();
        let qe_report = EnclaveReport::read(&mut reader)?;
        let qe_report_bytes = qe_report_start..reader.offset();
        let qe_report_signature = EcdsaSignature(reader.array()?);
        let qe_auth_length = usize::from(reader.u16_le()?);
        let qe_auth_start = reader.offset();
        reader.take(qe_auth_length)?;
        let qe_auth_data = qe_auth_start..reader.offset();
        let number = reader.u16_le()?;
        let certification_type = CertificationType::from_wire(number).ok_or(QuoteError::CertificationType(number))?;
        let certification_length = require_rest(&mut reader, end, QuoteField::Certification)?;
        if certification_length > MAX_CERTIFICATION_LENGTH {
            return Err(QuoteError::CertificationTooLong { found: certification_length });
        }
        let certification_start = reader.offset();
        reader.take(certification_length)?;
        Ok(Self {
            version: header.version,
            reserved: header.reserved,
            user_data: header.user_data,
            body,
            signature,
            attestation_key,
            qe_report,
            qe_report_signature,
            certification_type,
            signed_length,
            qe_report_bytes,
            qe_auth_data,
            certification_data: certification_start..reader.offset(),
            trailing: trailing(reader.rest()),
            received: bytes.into(),
        })
    }

    /// The bytes as received, padding included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.received
    }

    /// What the attestation key signed: header and body.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8] {
        self.range(0..self.signed_length)
    }

    /// The quote without what stands after it.
    #[must_use]
    pub fn canonical_bytes(&self) -> &[u8] {
        self.range(0..self.certification_data.end)
    }

    /// What the PCK key signed.
    #[must_use]
    pub fn qe_report_bytes(&self) -> &[u8] {
        self.range(self.qe_report_bytes.clone())
    }

    /// Data that the quoting enclave hashed into its report beside the attestation key.
    #[must_use]
    pub fn qe_auth_data(&self) -> &[u8] {
        self.range(self.qe_auth_data.clone())
    }

    /// Certification data of [`Self::certification_type`]: for a PCK chain, PEM text.
    #[must_use]
    pub fn certification_data(&self) -> &[u8] {
        self.range(self.certification_data.clone())
    }

    /// Ranges come from [`Self::parse`] over the same bytes. Were one wrong, the empty slice would fail every check.
    fn range(&self, range: Range<usize>) -> &[u8] {
        self.received.get(range).unwrap_or_default()
    }
}

fn read_body(reader: &mut Reader<'_>, version: QuoteVersion) -> Result<TdQuoteBody, QuoteError> {
    if version == QuoteVersion::V4 {
        return Ok(TdQuoteBody::read_td10(reader)?);
    }
    let body_type = reader.u16_le()?;
    let expected = match body_type {
        2 => TdQuoteBody::TD10_LENGTH,
        3 => TdQuoteBody::TD15_LENGTH,
        4 => TdQuoteBody::TD15_EXTENDED_LENGTH,
        other => return Err(QuoteError::BodyType(other)),
    };
    let found = read_size(reader)?;
    if found != expected {
        return Err(QuoteError::Size { field: QuoteField::Body, expected, found });
    }
    Ok(match body_type {
        2 => TdQuoteBody::read_td10(reader)?,
        3 => TdQuoteBody::read_td15(reader)?,
        _ => TdQuoteBody::read_td15_extended(reader)?,
    })
}

fn read_size(reader: &mut Reader<'_>) -> Result<usize, Truncated> {
    // A size that does not fit is longer than any input: saturating makes it fail the comparison that follows.
    reader.u32_le().map(|size| usize::try_from(size).unwrap_or(usize::MAX))
}

/// Reads a size field that must reach exactly to `end`: slack would be unsigned data that the sender chose.
fn require_rest(reader: &mut Reader<'_>, end: usize, field: QuoteField) -> Result<usize, QuoteError> {
    let found = read_size(reader)?;
    let expected = end.saturating_sub(reader.offset());
    if found != expected {
        return Err(QuoteError::Size { field, expected, found });
    }
    Ok(found)
}

fn trailing(rest: &[u8]) -> Trailing {
    match rest.len() {
        0 => Trailing::None,
        length if rest.iter().all(|byte| *byte == 0) => Trailing::Padding { length },
        length => Trailing::Data { length },
    }
}
