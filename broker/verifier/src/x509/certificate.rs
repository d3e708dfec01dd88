//! X.509 version 3 certificates (RFC 5280 section 4), strictly parsed.

use std::fmt;

use aws_lc_rs::digest;
use evidence_formats::{
    bytes::Sha256Digest,
    code::{Code, Coded},
};
use thiserror::Error;

use super::{
    Extension, Name, Oid, PublicKey, PublicKeyError, SignatureAlgorithm, SignatureError,
    der::{Der, DerError, Span, tag},
    extension, name, verify_signature,
};
use crate::Timestamp;

/// A parsed certificate that owns its received bytes. Parsing proves nothing about who signed it.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    digest: Sha256Digest,
    tbs: Span,
    serial: Span,
    algorithm: Result<SignatureAlgorithm, SignatureError>,
    signature: Span,
    issuer: Name,
    subject: Name,
    validity: Validity,
    spki: Span,
    public_key: PublicKey,
    extensions: Vec<Extension>,
    basic_constraints: Option<BasicConstraints>,
    key_usage: Option<KeyUsage>,
}

/// From when until when a certificate is valid, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: Timestamp,
    /// Last second.
    pub not_after: Timestamp,
}

/// A certificate is not valid now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ValidityError {
    /// It is not valid yet.
    #[error("expected a certificate that is valid already, this one is from {not_before}")]
    NotYetValid {
        /// First second of its validity.
        not_before: Timestamp,
    },
    /// It has expired.
    #[error("expected a certificate that is still valid, this one ended at {not_after}")]
    Expired {
        /// Last second of its validity.
        not_after: Timestamp,
    },
}

impl Validity {
    /// Whether `now` lies inside.
    ///
    /// # Errors
    /// Which end was missed.
    pub fn at(&self, now: Timestamp) -> Result<(), ValidityError> {
        if now < self.not_before {
            return Err(ValidityError::NotYetValid { not_before: self.not_before });
        }
        if now > self.not_after {
            return Err(ValidityError::Expired { not_after: self.not_after });
        }
        Ok(())
    }
}

/// basicConstraints (RFC 5280 section 4.2.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BasicConstraints {
    /// Whether the subject may sign certificates.
    pub ca: bool,
    /// How many intermediate CAs may follow.
    pub path_length: Option<u32>,
}

/// keyUsage (RFC 5280 section 4.2.1.3): bit `n` of the specification is `1 << n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage(u16);

impl KeyUsage {
    /// digitalSignature.
    #[must_use]
    pub const fn digital_signature(self) -> bool {
        self.0 & 1 != 0
    }

    /// digitalSignature, with at most contentCommitment beside it: neither encryption nor certificates.
    #[must_use]
    pub const fn is_digital_signature_only(self) -> bool {
        self.0 & !2 == 1
    }

    /// keyEncipherment and nothing else.
    #[must_use]
    pub const fn is_key_encipherment_only(self) -> bool {
        self.0 == 1 << 2
    }

    /// keyAgreement and nothing else.
    #[must_use]
    pub const fn is_key_agreement_only(self) -> bool {
        self.0 == 1 << 4
    }

    /// keyCertSign.
    #[must_use]
    pub const fn key_cert_sign(self) -> bool {
        self.0 & (1 << 5) != 0
    }

    /// cRLSign.
    #[must_use]
    pub const fn crl_sign(self) -> bool {
        self.0 & (1 << 6) != 0
    }
}

/// Why bytes are not a certificate of the profile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Longer than any vendor's certificate.
    #[error("expected a certificate of at most {limit} bytes, found {length}")]
    TooLong {
        /// Most bytes that are read.
        limit: usize,
        /// Bytes given.
        length: usize,
    },
    /// Not DER of the expected shape.
    #[error(transparent)]
    Der(#[from] DerError),
    /// Bytes after the certificate.
    #[error("expected nothing after the certificate at offset {offset}")]
    TrailingBytes {
        /// Where they start.
        offset: usize,
    },
    /// Not version 3.
    #[error("expected an X.509 version 3 certificate")]
    Version,
    /// The public key is of no known type or out of bounds.
    #[error("expected a public key of a known type")]
    PublicKey(#[from] PublicKeyError),
    /// The same extension twice.
    #[error("expected extension {oid} once")]
    DuplicateExtension {
        /// The extension.
        oid: Oid,
    },
}

impl Coded for CertificateError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::TooLong { .. } => "parse.x509.length",
            Self::Der(_) => "parse.x509.der",
            Self::TrailingBytes { .. } => "parse.x509.trailing_bytes",
            Self::Version => "parse.x509.version",
            Self::PublicKey(_) => "parse.x509.public_key",
            Self::DuplicateExtension { .. } => "parse.x509.duplicate_extension",
        })
    }
}

impl Certificate {
    /// Longest certificate that is read, in bytes.
    pub const MAX_LENGTH: usize = 16 * 1024;

    /// Parses one DER certificate; nothing may follow it.
    ///
    /// A signature algorithm outside of the list, or another one inside of the signed part than outside, is not an error
    /// here: it is one where the signature is checked.
    ///
    /// # Errors
    /// [`CertificateError`] says what was expected, with the offset.
    pub fn parse_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > Self::MAX_LENGTH {
            return Err(CertificateError::TooLong { limit: Self::MAX_LENGTH, length: der.len() });
        }
        let mut document = Der::new(der);
        let whole = document.sequence("a certificate")?;
        if !document.is_empty() {
            return Err(CertificateError::TrailingBytes { offset: whole.span().end });
        }
        let mut outer = whole.reader();
        let tbs = outer.sequence("a TBSCertificate")?;
        let algorithm = outer.sequence("a signature AlgorithmIdentifier")?;
        let signature = outer.expect(tag::BIT_STRING, "a signature")?;
        let signature_bytes = match signature.contents {
            [0, ..] => signature.contents_span().start.saturating_add(1)..signature.span().end,
            _ => return Err(DerError { offset: signature.offset, expected: "a signature of whole bytes" }.into()),
        };
        outer.finish()?;

        let mut fields = tbs.reader();
        read_version(&mut fields)?;
        let serial = fields.integer("a serial number")?;
        let inner_algorithm = fields.sequence("a signature AlgorithmIdentifier")?;
        let issuer = name::read(&mut fields)?;
        let validity = read_validity(&mut fields)?;
        let subject = name::read(&mut fields)?;
        let spki = fields.sequence("a SubjectPublicKeyInfo")?;
        let public_key = PublicKey::from_element(&spki)?;
        // RFC 5280 section 4.1.2.8: unique identifiers are not used by conforming CAs; finish() refuses them.
        let extensions = match fields.optional(tag::CONTEXT_3)? {
            Some(explicit) => extension::read(&explicit)?,
            None => Vec::new(),
        };
        fields.finish()?;
        extension::refuse_duplicates(&extensions).map_err(|oid| CertificateError::DuplicateExtension { oid })?;
        let find = |oid: &Oid| extensions.iter().find(|extension| extension.oid() == oid);
        Ok(Self {
            digest: sha256(der),
            tbs: tbs.span(),
            serial: serial.contents_span(),
            algorithm: SignatureAlgorithm::agreed(inner_algorithm.raw, algorithm.raw),
            signature: signature_bytes,
            issuer,
            subject,
            validity,
            spki: spki.span(),
            public_key,
            basic_constraints: find(&Oid::BASIC_CONSTRAINTS)
                .map(|found| basic_constraints(found.value_in(der)))
                .transpose()?,
            key_usage: find(&Oid::KEY_USAGE).map(|found| key_usage(found.value_in(der))).transpose()?,
            extensions,
            der: der.to_vec(),
        })
    }

    /// The received bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the received bytes.
    #[must_use]
    pub const fn digest(&self) -> &Sha256Digest {
        &self.digest
    }

    /// The signed part as received, header included.
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        self.slice(&self.tbs)
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        self.slice(&self.signature)
    }

    /// The signature algorithm.
    ///
    /// # Errors
    /// When it is not on the list, or differs inside and outside of the signed part.
    pub const fn signature_algorithm(&self) -> Result<SignatureAlgorithm, SignatureError> {
        self.algorithm
    }

    /// Contents of the serial number INTEGER: minimal two's complement, big-endian.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        self.slice(&self.serial)
    }

    /// Issuer.
    #[must_use]
    pub const fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// Subject.
    #[must_use]
    pub const fn subject(&self) -> &Name {
        &self.subject
    }

    /// Validity.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// The subject's public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The SubjectPublicKeyInfo as received, header included.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        self.slice(&self.spki)
    }

    /// Every extension in order: OID, critical, contents of extnValue.
    pub fn extensions(&self) -> impl Iterator<Item = (&Oid, bool, &[u8])> {
        self.extensions.iter().map(|found| (found.oid(), found.critical(), found.value_in(&self.der)))
    }

    /// Contents of the extnValue of extension `oid`, when present.
    #[must_use]
    pub fn extension(&self, oid: &Oid) -> Option<&[u8]> {
        self.extensions.iter().find(|found| found.oid() == oid).map(|found| found.value_in(&self.der))
    }

    /// basicConstraints, when present.
    #[must_use]
    pub const fn basic_constraints(&self) -> Option<BasicConstraints> {
        self.basic_constraints
    }

    /// keyUsage, when present.
    #[must_use]
    pub const fn key_usage(&self) -> Option<KeyUsage> {
        self.key_usage
    }

    /// Whether this is a CA that may sign certificates: basicConstraints with cA, and keyCertSign when keyUsage is there.
    #[must_use]
    pub fn may_sign_certificates(&self) -> bool {
        self.basic_constraints.is_some_and(|constraints| constraints.ca)
            && self.key_usage.is_none_or(KeyUsage::key_cert_sign)
    }

    /// The first critical extension that is not in `understood`.
    #[must_use]
    pub fn unknown_critical_extension(&self, understood: &[Oid]) -> Option<&Oid> {
        self.extensions.iter().find(|found| found.critical() && !understood.contains(found.oid())).map(Extension::oid)
    }

    /// Whether the issuer name is `issuer`'s subject, byte for byte. Says nothing about signatures.
    #[must_use]
    pub fn names_issuer(&self, issuer: &Self) -> bool {
        self.issuer.raw() == issuer.subject.raw()
    }

    /// Whether issuer and subject are the same name.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.issuer.raw() == self.subject.raw()
    }

    /// Checks that `issuer`'s key signed this certificate. Names, validity and CA rights are the caller's to check.
    ///
    /// # Errors
    /// [`SignatureError`] says why the signature does not stand.
    pub fn verify_signed_by(&self, issuer: &PublicKey) -> Result<(), SignatureError> {
        verify_signature(issuer, self.algorithm?, self.tbs(), self.signature())
    }

    fn slice(&self, span: &Span) -> &[u8] {
        self.der.get(span.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, issued by {}, sha256 {})", self.subject, self.issuer, self.digest)
    }
}

fn read_version(fields: &mut Der<'_>) -> Result<(), CertificateError> {
    let Some(explicit) = fields.optional(tag::CONTEXT_0)? else { return Err(CertificateError::Version) };
    let mut reader = explicit.reader();
    let version = reader.small_unsigned("a version")?;
    reader.finish()?;
    if version == 2 { Ok(()) } else { Err(CertificateError::Version) }
}

fn read_validity(fields: &mut Der<'_>) -> Result<Validity, DerError> {
    let mut reader = fields.sequence("a validity")?.reader();
    let validity = Validity { not_before: reader.time()?, not_after: reader.time()? };
    reader.finish()?;
    Ok(validity)
}

fn basic_constraints(value: &[u8]) -> Result<BasicConstraints, DerError> {
    let mut outer = Der::new(value);
    let mut reader = outer.sequence("a basicConstraints")?.reader();
    outer.finish()?;
    let ca = reader.optional_boolean()?.unwrap_or(false);
    let path_length = if reader.is_empty() { None } else { Some(reader.small_unsigned("a path length")?) };
    reader.finish()?;
    Ok(BasicConstraints { ca, path_length })
}

fn key_usage(value: &[u8]) -> Result<KeyUsage, DerError> {
    let mut outer = Der::new(value);
    let bits = outer.expect(tag::BIT_STRING, "a keyUsage")?;
    outer.finish()?;
    // Bit 0 of the specification is the top bit of the first byte.
    match bits.contents {
        [0..=7, first] => Ok(KeyUsage(u16::from(first.reverse_bits()))),
        [0..=7, first, second] => {
            Ok(KeyUsage(u16::from(first.reverse_bits()) | (u16::from(second.reverse_bits()) << 8)))
        }
        _ => Err(DerError { offset: bits.offset, expected: "a keyUsage of one or two bytes" }),
    }
}

pub(super) fn sha256(bytes: &[u8]) -> Sha256Digest {
    let mut value = [0; 32];
    value.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    Sha256Digest(value)
}
