//! Endorsements: what vendors publish about their hardware, as documents of any order and format.
//!
//! A document's kind is found from its content. Parsing proves nothing: authentication picks what it needs and checks it.

use std::sync::Arc;

use aws_lc_rs::digest;
use evidence_formats::{
    bytes::Sha256Digest,
    code::{Code, Coded},
    tdx::{CollateralBundle, CollateralKind, plain_pem, recognise},
};
use thiserror::Error;

use crate::x509::{
    Certificate, CertificateError, Crl, CrlError, PemBlock, PemError, looks_like_pem, pem_of_file, without_mark,
};

/// Parsed endorsement documents.
#[derive(Debug, Clone, Default)]
pub struct Endorsements {
    certificates: Vec<Arc<Certificate>>,
    crls: Vec<Arc<Crl>>,
    signed_documents: Vec<(CollateralKind, Arc<[u8]>)>,
    malformed: Vec<EndorsementError>,
    bytes: usize,
    authorities: Sha256Digest0,
    everything: Sha256Digest0,
}

/// A running digest; all zero in the beginning.
#[derive(Debug, Clone, Copy)]
struct Sha256Digest0(Sha256Digest);

impl Default for Sha256Digest0 {
    fn default() -> Self {
        Self(Sha256Digest([0; 32]))
    }
}

impl Sha256Digest0 {
    fn note(&mut self, document: &Sha256Digest) {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(self.0.as_bytes());
        context.update(document.as_bytes());
        self.0.0.copy_from_slice(context.finish().as_ref());
    }
}

/// What a document turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndorsementKind {
    /// An X.509 certificate.
    Certificate,
    /// A certificate revocation list.
    Crl,
    /// Intel's TCB info.
    TcbInfo,
    /// Intel's identity of a quoting enclave.
    QeIdentity,
}

/// Why a document is no endorsement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndorsementError {
    /// Not a kind of document that endorses anything.
    #[error("expected a certificate or a CRL in DER or PEM, or TCB info or QE identity in JSON")]
    Unknown,
    /// More documents or bytes than any set of endorsements has.
    #[error("expected at most {} documents of {} bytes together", Endorsements::MAX_COUNT, Endorsements::MAX_BYTES)]
    TooMuch,
    /// Malformed PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A malformed certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A malformed CRL.
    #[error(transparent)]
    Crl(#[from] CrlError),
}

impl Coded for EndorsementError {
    fn code(&self) -> Code {
        match self {
            Self::Unknown => Code::new("parse.endorsement.unknown"),
            Self::TooMuch => Code::new("parse.endorsement.too_much"),
            Self::Pem(_) => Code::new("parse.endorsement.pem"),
            Self::Certificate(error) => error.code(),
            Self::Crl(error) => error.code(),
        }
    }
}

impl Endorsements {
    /// Most documents of one set.
    pub const MAX_COUNT: usize = 512;
    /// Most bytes of one set.
    pub const MAX_BYTES: usize = 8 * 1024 * 1024;

    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one file: DER, PEM with one or more documents, or JSON. Says what it was.
    ///
    /// Certificates and CRLs may be wrapped as collateral services do it: percent-encoded PEM, hex of DER, and all
    /// collateral of a platform in one JSON object. Text around PEM blocks and a byte order mark count for nothing. Signed
    /// JSON documents are kept as received and only read when they are used.
    ///
    /// # Errors
    /// [`EndorsementError`] when it is none. A malformed certificate or CRL is remembered, so that a refusal for want of
    /// a document can name the one that was given but unreadable.
    pub fn add(&mut self, file: &[u8]) -> Result<Vec<EndorsementKind>, EndorsementError> {
        let outcome = self.add_file(file);
        if let Err(error) = &outcome
            && !matches!(error, EndorsementError::Unknown | EndorsementError::TooMuch)
            && self.malformed.len() < Self::MAX_COUNT
        {
            self.malformed.push(error.clone());
        }
        outcome
    }

    fn add_file(&mut self, file: &[u8]) -> Result<Vec<EndorsementKind>, EndorsementError> {
        self.bytes = self.bytes.saturating_add(file.len());
        if self.bytes > Self::MAX_BYTES {
            return Err(EndorsementError::TooMuch);
        }
        let file = without_mark(file);
        if let Some(unwrapped) = plain_pem(file) {
            return self.add_file(&unwrapped);
        }
        if let Some(bundle) = CollateralBundle::parse(file) {
            let mut kinds = Vec::new();
            for part in &bundle.files {
                kinds.extend(self.add_file(part)?);
            }
            return Ok(kinds);
        }
        if let Some(kind) = recognise(file) {
            return self.add_signed(kind, file).map(|kind| vec![kind]);
        }
        let Some(blocks) = pem_blocks(file)? else {
            let kind = shape(file).ok_or(EndorsementError::Unknown)?;
            return self.add_document(kind, file).map(|()| vec![kind.into()]);
        };
        let mut kinds = Vec::new();
        for block in blocks {
            let kind = match block.label.as_str() {
                "CERTIFICATE" => DerKind::Certificate,
                "X509 CRL" => DerKind::Crl,
                _ => return Err(EndorsementError::Unknown),
            };
            self.add_document(kind, &block.contents)?;
            kinds.push(kind.into());
        }
        Ok(kinds)
    }

    fn require_room(&self) -> Result<(), EndorsementError> {
        let count = self.certificates.len().saturating_add(self.crls.len()).saturating_add(self.signed_documents.len());
        if count >= Self::MAX_COUNT { Err(EndorsementError::TooMuch) } else { Ok(()) }
    }

    fn add_signed(&mut self, kind: CollateralKind, file: &[u8]) -> Result<EndorsementKind, EndorsementError> {
        self.require_room()?;
        self.push_signed(kind, file.into());
        Ok(match kind {
            CollateralKind::TcbInfo => EndorsementKind::TcbInfo,
            CollateralKind::QeIdentity => EndorsementKind::QeIdentity,
        })
    }

    fn add_document(&mut self, kind: DerKind, der: &[u8]) -> Result<(), EndorsementError> {
        self.require_room()?;
        match kind {
            DerKind::Certificate => {
                let certificate = Certificate::parse_der(der)?;
                self.push_certificate(Arc::new(certificate));
            }
            DerKind::Crl => {
                let crl = Crl::parse_der(der)?;
                self.push_crl(Arc::new(crl));
            }
        }
        Ok(())
    }

    fn push_certificate(&mut self, certificate: Arc<Certificate>) {
        if self.certificates.iter().all(|known| known.digest() != certificate.digest()) {
            if certificate.may_sign_certificates() {
                self.authorities.note(certificate.digest());
            }
            self.everything.note(certificate.digest());
            self.certificates.push(certificate);
        }
    }

    fn push_crl(&mut self, crl: Arc<Crl>) {
        if self.crls.iter().all(|known| known.digest() != crl.digest()) {
            self.authorities.note(crl.digest());
            self.everything.note(crl.digest());
            self.crls.push(crl);
        }
    }

    fn push_signed(&mut self, kind: CollateralKind, bytes: Arc<[u8]>) {
        if self.signed_documents.iter().all(|(_, known)| **known != *bytes) {
            let mut document = Sha256Digest([0; 32]);
            document.0.copy_from_slice(digest::digest(&digest::SHA256, &bytes).as_ref());
            self.everything.note(&document);
            self.signed_documents.push((kind, bytes));
        }
    }

    /// Adds every document of `other`, without parsing it again.
    ///
    /// # Errors
    /// [`EndorsementError::TooMuch`] when together they are more than any set has; what fitted was added.
    pub fn extend(&mut self, other: &Self) -> Result<(), EndorsementError> {
        for certificate in &other.certificates {
            self.require_room()?;
            self.push_certificate(Arc::clone(certificate));
        }
        for crl in &other.crls {
            self.require_room()?;
            self.push_crl(Arc::clone(crl));
        }
        for (kind, bytes) in &other.signed_documents {
            self.require_room()?;
            self.push_signed(*kind, Arc::clone(bytes));
        }
        Ok(())
    }

    /// Every certificate.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.certificates.iter()
    }

    /// Every CRL.
    pub fn crls(&self) -> impl Iterator<Item = &Arc<Crl>> {
        self.crls.iter()
    }

    /// Every signed JSON document as received, with what it looks like.
    pub(crate) fn signed_documents(&self) -> impl Iterator<Item = (CollateralKind, &[u8])> {
        self.signed_documents.iter().map(|(kind, bytes)| (*kind, &**bytes))
    }

    /// SHA-256 that stands for every document, in the order they were added.
    pub(crate) const fn digest(&self) -> &Sha256Digest {
        &self.everything.0
    }

    /// The first certificate that was given but unreadable.
    pub(crate) fn malformed_certificate(&self) -> Option<&EndorsementError> {
        self.malformed.iter().find(|error| !matches!(error, EndorsementError::Crl(_)))
    }

    /// The first CRL that was given but unreadable.
    pub(crate) fn malformed_crl(&self) -> Option<&EndorsementError> {
        self.malformed.iter().find(|error| matches!(error, EndorsementError::Crl(_)))
    }

    /// SHA-256 that stands for every CA certificate and CRL, in the order they were added: what a chain verification
    /// may read besides the leaf.
    pub(crate) const fn authorities_digest(&self) -> &Sha256Digest {
        &self.authorities.0
    }
}

/// The blocks of a PEM file. A text that merely quotes PEM somewhere, and badly, is no document at all.
fn pem_blocks(file: &[u8]) -> Result<Option<Vec<PemBlock>>, EndorsementError> {
    pem_of_file(file)
        .map_err(|error| if looks_like_pem(file) { EndorsementError::Pem(error) } else { EndorsementError::Unknown })
}

/// A document in DER.
#[derive(Clone, Copy)]
enum DerKind {
    Certificate,
    Crl,
}

impl From<DerKind> for EndorsementKind {
    fn from(kind: DerKind) -> Self {
        match kind {
            DerKind::Certificate => Self::Certificate,
            DerKind::Crl => Self::Crl,
        }
    }
}

/// Tells certificate and CRL apart by the first element of the signed part, without requiring the rest to be well-formed:
/// a truncated certificate is still a certificate. RFC 5280: a version 3 certificate starts with `[0]`, a version 2 CRL
/// with an INTEGER.
fn shape(der: &[u8]) -> Option<DerKind> {
    let inner = enter_sequence(enter_sequence(der)?)?;
    match inner.first()? {
        0xa0 => Some(DerKind::Certificate),
        0x02 => Some(DerKind::Crl),
        _ => None,
    }
}

fn enter_sequence(der: &[u8]) -> Option<&[u8]> {
    match der {
        [0x30, length, rest @ ..] if *length < 0x80 => Some(rest),
        [0x30, 0x81, _, rest @ ..] | [0x30, 0x82, _, _, rest @ ..] | [0x30, 0x83, _, _, _, rest @ ..] => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const ASK: &[u8] = include_bytes!("snp/roots/milan_ask.der");

    #[test]
    fn the_kind_is_found_from_the_content() {
        let mut endorsements = Endorsements::new();
        assert_eq!(endorsements.add(ASK), Ok(vec![EndorsementKind::Certificate]));
        assert_eq!(endorsements.add(ASK), Ok(vec![EndorsementKind::Certificate]));
        assert_eq!(endorsements.certificates().count(), 1);
        assert_eq!(endorsements.add(b"notes"), Err(EndorsementError::Unknown));
        assert_eq!(endorsements.add(b""), Err(EndorsementError::Unknown));
        assert_eq!(endorsements.malformed_certificate(), None);
    }

    #[test]
    fn text_around_pem_and_a_byte_order_mark_count_for_nothing() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let pem = format!("-----BEGIN CERTIFICATE-----\r\n{}\r\n-----END CERTIFICATE-----", STANDARD.encode(ASK));
        let crl = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
        for file in [
            format!("\u{feff}{pem}"),
            format!("Certificate:\n    Data:\n{pem}\nand more\n"),
            format!("{pem}\n\0"),
            format!(" 0 s:CN = SEV-Milan\n{pem}\n 1 s:CN = SEV-Milan\n{pem}\n---\n"),
        ] {
            let mut endorsements = Endorsements::new();
            let kinds = endorsements.add(file.as_bytes()).unwrap();
            assert!(kinds.iter().all(|kind| *kind == EndorsementKind::Certificate), "{file}");
            assert_eq!(endorsements.certificates().count(), 1, "{file}");
        }
        let mut endorsements = Endorsements::new();
        // A readme that shows how such a file looks is none; a file that begins as PEM is a broken one.
        let readme = "# Files\n-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n";
        assert_eq!(endorsements.add(readme.as_bytes()), Err(EndorsementError::Unknown));
        assert_eq!(endorsements.malformed_certificate(), None);
        assert!(matches!(endorsements.add(crl.as_bytes()), Err(EndorsementError::Crl(_))));
        let broken = "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n";
        assert!(matches!(endorsements.add(broken.as_bytes()), Err(EndorsementError::Pem(_))));
        let json = "\u{feff}{\"tcbInfo\":{},\"signature\":\"\"}";
        assert_eq!(endorsements.add(json.as_bytes()), Ok(vec![EndorsementKind::TcbInfo]));
        assert!(endorsements.signed_documents().all(|(_, bytes)| bytes.starts_with(b"{")));
    }

    #[test]
    fn an_unreadable_certificate_is_remembered() {
        let mut endorsements = Endorsements::new();
        let error = endorsements.add(&ASK[..ASK.len() - 1]).unwrap_err();
        assert_eq!(error.code().as_str(), "parse.x509.der");
        assert_eq!(endorsements.malformed_certificate(), Some(&error));
    }
}
