//! Certificates.
use time::{Duration, OffsetDateTime};

use super::{Name, oids};
use crate::der;
use crate::keys::{PrivateKey, SignatureAlgorithm};

/// The time in which a certificate is valid, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First valid second.
    pub not_before: OffsetDateTime,
    /// Last valid second.
    pub not_after: OffsetDateTime,
}

impl Validity {
    /// `days` days from `not_before`.
    #[must_use]
    pub fn days(not_before: OffsetDateTime, days: i64) -> Self {
        Self { not_before, not_after: not_before.saturating_add(Duration::days(days)) }
    }

    /// `years` years of 365 days from `not_before`.
    #[must_use]
    pub fn years(not_before: OffsetDateTime, years: i64) -> Self {
        Self::days(not_before, years.saturating_mul(365))
    }
}

/// An extension as it stands in a certificate or revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Dotted object identifier.
    pub oid: String,
    /// Whether it must be understood.
    pub critical: bool,
    /// Content of `extnValue`: usually, but in AMD's `hwID` not, one DER element.
    pub value: Vec<u8>,
}

impl Extension {
    /// A non-critical extension.
    #[must_use]
    pub fn new(oid: &str, value: Vec<u8>) -> Self {
        Self { oid: oid.to_owned(), critical: false, value }
    }

    /// A critical extension.
    #[must_use]
    pub fn critical(oid: &str, value: Vec<u8>) -> Self {
        Self { oid: oid.to_owned(), critical: true, value }
    }

    /// `BasicConstraints` of a CA, critical.
    #[must_use]
    pub fn certificate_authority(path_length: Option<u64>) -> Self {
        let path_length = path_length.map(der::unsigned).unwrap_or_default();
        Self::critical(oids::BASIC_CONSTRAINTS, der::sequence(&[der::boolean(true), path_length]))
    }

    /// `KeyUsage` with `keyCertSign` and, for a root, `cRLSign`, critical.
    #[must_use]
    pub fn certificate_signing(also_crls: bool) -> Self {
        // RFC 5280 §4.2.1.3: keyCertSign is bit 5, cRLSign bit 6.
        let usage = if also_crls { der::bits_unused(1, &[0x06]) } else { der::bits_unused(2, &[0x04]) };
        Self::critical(oids::KEY_USAGE, usage)
    }

    /// `SubjectKeyIdentifier` of a key.
    #[must_use]
    pub fn subject_key(key: &PrivateKey) -> Self {
        Self::new(oids::SUBJECT_KEY_IDENTIFIER, der::octets(&key.key_identifier()))
    }

    /// `AuthorityKeyIdentifier` of a key.
    #[must_use]
    pub fn authority_key(key: &PrivateKey) -> Self {
        let identifier = der::implicit(0, &key.key_identifier());
        Self::new(oids::AUTHORITY_KEY_IDENTIFIER, der::sequence(&[identifier]))
    }

    /// `CRLDistributionPoints` with one URL.
    #[must_use]
    pub fn distribution_point(url: &str) -> Self {
        let general_names = der::element(0xa0, &der::implicit(6, url.as_bytes()));
        let point = der::sequence(&[der::element(0xa0, &general_names)]);
        Self::new(oids::CRL_DISTRIBUTION_POINTS, der::sequence(&[point]))
    }

    pub(super) fn to_der(&self) -> Vec<u8> {
        let critical = if self.critical { der::boolean(true) } else { Vec::new() };
        der::sequence(&[der::oid(&self.oid), critical, der::octets(&self.value)])
    }
}

/// A certificate to be signed. Every field may be set to something wrong.
#[derive(Debug, Clone)]
pub struct CertificateSpec {
    /// Value of the version field: 2 means v3. `None` leaves the field out, which means v1.
    pub version: Option<u64>,
    /// Serial number, big-endian; empty means 0.
    pub serial: Vec<u8>,
    /// How it is signed, and the outer algorithm identifier.
    pub algorithm: SignatureAlgorithm,
    /// The algorithm identifier inside the signed part, when it differs from the outer one.
    pub inner_algorithm: Option<SignatureAlgorithm>,
    /// Who issues.
    pub issuer: Name,
    /// From when to when.
    pub validity: Validity,
    /// Whose certificate.
    pub subject: Name,
    /// The subject's `SubjectPublicKeyInfo`, DER.
    pub public_key_info: Vec<u8>,
    /// Extensions in order. Empty leaves the field out.
    pub extensions: Vec<Extension>,
}

impl CertificateSpec {
    /// Replaces the value of every extension with this identifier.
    pub fn set(&mut self, oid: &str, value: Vec<u8>) -> &mut Self {
        for extension in self.extensions.iter_mut().filter(|extension| extension.oid == oid) {
            extension.value.clone_from(&value);
        }
        self
    }

    /// Removes every extension with this identifier.
    pub fn remove(&mut self, oid: &str) -> &mut Self {
        self.extensions.retain(|extension| extension.oid != oid);
        self
    }

    /// Appends an extension, also when there is one with the same identifier.
    pub fn push(&mut self, extension: Extension) -> &mut Self {
        self.extensions.push(extension);
        self
    }

    /// The part that is signed.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        let version = self.version.map(|version| der::explicit(0, &der::unsigned(version)));
        let extensions = if self.extensions.is_empty() {
            Vec::new()
        } else {
            let list: Vec<Vec<u8>> = self.extensions.iter().map(Extension::to_der).collect();
            der::explicit(3, &der::sequence(&list))
        };
        der::sequence(&[
            version.unwrap_or_default(),
            der::integer(&self.serial),
            self.inner_algorithm.unwrap_or(self.algorithm).identifier(),
            self.issuer.to_der(),
            der::sequence(&[der::time(self.validity.not_before), der::time(self.validity.not_after)]),
            self.subject.to_der(),
            self.public_key_info.clone(),
            extensions,
        ])
    }

    /// Signs and gives the DER certificate.
    #[must_use]
    pub fn sign(&self, issuer_key: &PrivateKey) -> Vec<u8> {
        let signed = self.to_be_signed();
        let signature = issuer_key.sign(self.algorithm, &signed);
        der::sequence(&[signed, self.algorithm.identifier(), der::bits(&signature)])
    }
}
