//! Certificate revocation lists (RFC 5280 section 5), strictly parsed.
//!
//! Only complete, direct lists are read: delta lists, indirect lists and lists scoped by an issuing distribution point
//! would answer another question than "does this issuer still stand by this serial number?".

use std::fmt;

use evidence_formats::{
    bytes::Sha256Digest,
    code::{Code, Coded},
};
use thiserror::Error;

use super::{
    Extension, Name, Oid, PublicKey, SignatureAlgorithm, SignatureError,
    certificate::sha256,
    der::{Der, DerError, Element, Span, tag},
    extension, name, verify_signature,
};
use crate::Timestamp;

/// A parsed CRL that owns its received bytes. Parsing proves nothing about who signed it.
#[derive(Clone, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    digest: Sha256Digest,
    tbs: Span,
    algorithm: Result<SignatureAlgorithm, SignatureError>,
    signature: Span,
    issuer: Name,
    this_update: Timestamp,
    next_update: Timestamp,
    number: CrlNumber,
    names_issuer_key: bool,
    revoked: Vec<Span>,
}

/// A CRL number (RFC 5280 section 5.2.3): up to 20 bytes, big-endian, ordered as a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrlNumber([u8; 20]);

impl CrlNumber {
    /// From the low bytes, big-endian; `None` when longer than 20 bytes.
    #[must_use]
    pub fn from_be_bytes(bytes: &[u8]) -> Option<Self> {
        let mut number = [0; 20];
        let start = number.len().checked_sub(bytes.len())?;
        number.get_mut(start..)?.copy_from_slice(bytes);
        Some(Self(number))
    }

    /// From the lower-case or upper-case hex that [`fmt::Display`] writes.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let padded = if text.len().is_multiple_of(2) { text.to_owned() } else { format!("0{text}") };
        Self::from_be_bytes(&hex::decode(padded).ok()?)
    }
}

impl From<u64> for CrlNumber {
    fn from(number: u64) -> Self {
        let mut bytes = [0; 20];
        for (to, from) in bytes.iter_mut().rev().zip(number.to_le_bytes()) {
            *to = from;
        }
        Self(bytes)
    }
}

impl fmt::Display for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = hex::encode(self.0);
        let short = digits.trim_start_matches('0');
        f.write_str(if short.is_empty() { "0" } else { short })
    }
}

impl fmt::Debug for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrlNumber(0x{self})")
    }
}

/// A CRL does not speak for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CrlTimeError {
    /// It was issued after now.
    #[error("expected a CRL that is in force, found one from {this_update}")]
    NotYetValid {
        /// When it was issued.
        this_update: Timestamp,
    },
    /// A newer one must exist by now.
    #[error("expected a current CRL, found one that is due again since {next_update}")]
    Stale {
        /// When the next one was due.
        next_update: Timestamp,
    },
}

/// Why bytes are not a CRL that can be judged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CrlError {
    /// Longer than the limit.
    #[error("expected a CRL of at most {limit} bytes, found {length}")]
    TooLong {
        /// Most bytes that are read.
        limit: usize,
        /// Bytes given.
        length: usize,
    },
    /// Not DER of the expected shape.
    #[error(transparent)]
    Der(#[from] DerError),
    /// Bytes after the CRL.
    #[error("expected nothing after the CRL at offset {offset}")]
    TrailingBytes {
        /// Where they start.
        offset: usize,
    },
    /// Not version 2.
    #[error("expected a version 2 CRL")]
    Version,
    /// The same extension twice.
    #[error("expected extension {oid} once")]
    DuplicateExtension {
        /// The extension.
        oid: Oid,
    },
    /// A critical extension whose meaning is not known, of the list or of an entry, or one that narrows its scope.
    #[error("expected only known extensions, found {oid}")]
    UnknownExtension {
        /// The extension.
        oid: Oid,
    },
    /// No CRL number.
    #[error("expected a CRL number")]
    NumberMissing,
}

impl Coded for CrlError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::TooLong { .. } => "parse.crl.length",
            Self::Der(_) => "parse.crl.der",
            Self::TrailingBytes { .. } => "parse.crl.trailing_bytes",
            Self::Version => "parse.crl.version",
            Self::DuplicateExtension { .. } => "parse.crl.duplicate_extension",
            Self::UnknownExtension { .. } => "parse.crl.unknown_extension",
            Self::NumberMissing => "parse.crl.number_missing",
        })
    }
}

impl Crl {
    /// Longest CRL that is read, in bytes.
    pub const MAX_LENGTH: usize = 1024 * 1024;

    /// Parses one DER CRL; nothing may follow it.
    ///
    /// # Errors
    /// [`CrlError`] says what was expected, with the offset.
    pub fn parse_der(der: &[u8]) -> Result<Self, CrlError> {
        if der.len() > Self::MAX_LENGTH {
            return Err(CrlError::TooLong { limit: Self::MAX_LENGTH, length: der.len() });
        }
        let mut document = Der::new(der);
        let whole = document.sequence("a CRL")?;
        if !document.is_empty() {
            return Err(CrlError::TrailingBytes { offset: whole.span().end });
        }
        let mut outer = whole.reader();
        let tbs = outer.sequence("a TBSCertList")?;
        let algorithm = outer.sequence("a signature AlgorithmIdentifier")?;
        let signature = outer.expect(tag::BIT_STRING, "a signature")?;
        let signature_bytes = match signature.contents {
            [0, ..] => signature.contents_span().start.saturating_add(1)..signature.span().end,
            _ => return Err(DerError { offset: signature.offset, expected: "a signature of whole bytes" }.into()),
        };
        outer.finish()?;

        let mut fields = tbs.reader();
        // RFC 5280 section 5.1.2.1: present and v2 when there are extensions, which there must be.
        if fields.optional(tag::INTEGER)?.map(|version| version.contents) != Some(&[1]) {
            return Err(CrlError::Version);
        }
        let inner_algorithm = fields.sequence("a signature AlgorithmIdentifier")?;
        let issuer = name::read(&mut fields)?;
        let this_update = fields.time()?;
        let next_update = fields.time()?;
        let revoked = match fields.optional(tag::SEQUENCE)? {
            Some(list) => read_entries(&list)?,
            None => Vec::new(),
        };
        let explicit = fields.optional(tag::CONTEXT_0)?.ok_or(CrlError::NumberMissing)?;
        fields.finish()?;
        let extensions = extension::read(&explicit)?;
        let number = read_number(&extensions, der)?;
        Ok(Self {
            names_issuer_key: extensions.iter().any(|found| *found.oid() == Oid::AUTHORITY_KEY_IDENTIFIER),
            digest: sha256(der),
            tbs: tbs.span(),
            algorithm: SignatureAlgorithm::agreed(inner_algorithm.raw, algorithm.raw),
            signature: signature_bytes,
            issuer,
            this_update,
            next_update,
            number,
            revoked,
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

    /// Issuer.
    #[must_use]
    pub const fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// When it was issued.
    #[must_use]
    pub const fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// When the next one is due.
    #[must_use]
    pub const fn next_update(&self) -> Timestamp {
        self.next_update
    }

    /// Its number; a later list of the same issuer has a higher one.
    #[must_use]
    pub const fn number(&self) -> CrlNumber {
        self.number
    }

    /// Whether it has an authority key identifier, as RFC 5280 section 5.2.1 asks of every issuer.
    #[must_use]
    pub const fn names_issuer_key(&self) -> bool {
        self.names_issuer_key
    }

    /// Whether it speaks for `now`: thisUpdate <= now < nextUpdate.
    ///
    /// # Errors
    /// Which end was missed.
    pub fn current_at(&self, now: Timestamp) -> Result<(), CrlTimeError> {
        if now < self.this_update {
            return Err(CrlTimeError::NotYetValid { this_update: self.this_update });
        }
        if now >= self.next_update {
            return Err(CrlTimeError::Stale { next_update: self.next_update });
        }
        Ok(())
    }

    /// Whether it lists `serial` (contents of the INTEGER, as [`super::Certificate::serial`] gives it).
    #[must_use]
    pub fn revokes(&self, serial: &[u8]) -> bool {
        self.revoked.iter().any(|entry| self.der.get(entry.clone()) == Some(serial))
    }

    /// How many serial numbers it lists.
    #[must_use]
    pub fn revoked_count(&self) -> usize {
        self.revoked.len()
    }

    /// Checks that `issuer`'s key signed this CRL. Names and time are the caller's to check.
    ///
    /// # Errors
    /// [`SignatureError`] says why the signature does not stand.
    pub fn verify_signed_by(&self, issuer: &PublicKey) -> Result<(), SignatureError> {
        let slice = |span: &Span| self.der.get(span.clone()).unwrap_or_default();
        verify_signature(issuer, self.algorithm?, slice(&self.tbs), slice(&self.signature))
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl({:?} by {}, sha256 {})", self.number, self.issuer, self.digest)
    }
}

fn read_entries(list: &Element<'_>) -> Result<Vec<Span>, CrlError> {
    let mut reader = list.reader();
    let mut serials = Vec::new();
    while !reader.is_empty() {
        let mut entry = reader.sequence("a revoked certificate")?.reader();
        serials.push(entry.integer("a serial number")?.contents_span());
        entry.time()?;
        if !entry.is_empty() {
            let extensions = extension::read_list(&entry.sequence("entry extensions")?)?;
            refuse_duplicates(&extensions)?;
            refuse_unknown(&extensions, &[Oid::REASON_CODE])?;
        }
        entry.finish()?;
    }
    Ok(serials)
}

fn read_number(extensions: &[Extension], der: &[u8]) -> Result<CrlNumber, CrlError> {
    refuse_duplicates(extensions)?;
    refuse_unknown(extensions, &[Oid::CRL_NUMBER, Oid::AUTHORITY_KEY_IDENTIFIER])?;
    // A distribution point narrows what the list covers, even where an issuer forgot to mark it critical.
    if let Some(found) = extensions.iter().find(|found| *found.oid() == Oid::ISSUING_DISTRIBUTION_POINT) {
        return Err(CrlError::UnknownExtension { oid: found.oid().clone() });
    }
    let found = extensions.iter().find(|found| *found.oid() == Oid::CRL_NUMBER).ok_or(CrlError::NumberMissing)?;
    let mut reader = Der::new(found.value_in(der));
    let number = reader.unsigned("a CRL number")?;
    reader.finish()?;
    CrlNumber::from_be_bytes(number).ok_or(CrlError::Der(reader.error("a CRL number of at most 20 bytes")))
}

fn refuse_unknown(extensions: &[Extension], understood: &[Oid]) -> Result<(), CrlError> {
    match extensions.iter().find(|found| found.critical() && !understood.contains(found.oid())) {
        Some(unknown) => Err(CrlError::UnknownExtension { oid: unknown.oid().clone() }),
        None => Ok(()),
    }
}

fn refuse_duplicates(extensions: &[Extension]) -> Result<(), CrlError> {
    extension::refuse_duplicates(extensions).map_err(|oid| CrlError::DuplicateExtension { oid })
}
