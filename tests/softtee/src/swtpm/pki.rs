//! The made-up manufacturer: a root, an issuer of endorsement key certificates, and the certificates (TCG EK Credential
//! Profile for TPM 2.0).
use anyhow::{Context, Result};
use evidence_formats::tpm::{EccCurve, TpmKey, TpmPublic};
use time::OffsetDateTime;
use time::macros::datetime;

use crate::der;
use crate::keys::{PrivateKey, SignatureAlgorithm};
use crate::x509::{CertificateSpec, CrlSpec, Extension, Issued, Name, Validity, oids};

/// tcg-kp-EKCertificate.
const EK_CERTIFICATE: &str = "2.23.133.8.1";
/// tcg-kp-AIKCertificate.
const AK_CERTIFICATE: &str = "2.23.133.8.3";
/// Extended key usage and subject alternative name (RFC 5280 §4.2.1).
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
const SUBJECT_ALTERNATIVE_NAME: &str = "2.5.29.17";
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";

/// Authorities of the made-up manufacturer. Change a field, and what is issued from then on shows it.
#[derive(Debug, Clone)]
pub struct TpmPki {
    /// Self-signed.
    pub root: Issued,
    /// Issues certificates of endorsement keys.
    pub ek_ca: Issued,
}

/// A certificate of a TPM's key that is to be signed; the private key is in the TPM.
#[derive(Debug, Clone)]
pub struct KeyCertificate {
    /// What it will say. Change fields to break single checks.
    pub certificate: CertificateSpec,
    issuer_key: PrivateKey,
}

impl KeyCertificate {
    /// The signed certificate, DER.
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        self.certificate.sign(&self.issuer_key)
    }
}

impl Default for TpmPki {
    fn default() -> Self {
        Self::new()
    }
}

impl TpmPki {
    /// The made-up authorities: always the same keys and certificates.
    #[must_use]
    pub fn new() -> Self {
        Self::with_label("tpm")
    }

    /// Authorities with the same names and dates but other keys, as an attacker would make them.
    #[must_use]
    pub fn rogue() -> Self {
        Self::with_label("rogue tpm")
    }

    fn with_label(label: &str) -> Self {
        let key = |role: &str| PrivateKey::p256_from_label(format!("{label} {role}").as_bytes());
        let (root_key, ca_key) = (key("root"), key("ek ca"));
        let validity =
            Validity { not_before: datetime!(2020-01-01 0:00 UTC), not_after: datetime!(2049-12-31 23:59:59 UTC) };
        let authority = |common_name: &str, key: &PrivateKey, path_length| CertificateSpec {
            version: Some(2),
            serial: key.key_identifier().split_off(12),
            algorithm: SignatureAlgorithm::EcdsaSha256,
            inner_algorithm: None,
            issuer: name("softtee TPM Root CA"),
            validity,
            subject: name(common_name),
            public_key_info: key.public_key_info(),
            extensions: vec![
                Extension::certificate_authority(path_length),
                Extension::certificate_signing(true),
                Extension::subject_key(key),
                Extension::authority_key(&root_key),
            ],
        };
        Self {
            root: Issued {
                certificate: authority("softtee TPM Root CA", &root_key, None),
                key: root_key.clone(),
                issuer_key: root_key.clone(),
            },
            ek_ca: Issued {
                certificate: authority("softtee TPM EK CA", &ca_key, Some(0)),
                key: ca_key,
                issuer_key: root_key,
            },
        }
    }

    /// What a broker takes for its trust anchors: the root alone.
    #[must_use]
    pub fn anchors(&self) -> Vec<Vec<u8>> {
        vec![self.root.der()]
    }

    /// What it needs besides: the issuing authority's certificate.
    #[must_use]
    pub fn intermediates(&self) -> Vec<Vec<u8>> {
        vec![self.ek_ca.der()]
    }

    /// Empty revocation lists of both authorities, from a day before `now` for thirty days.
    #[must_use]
    pub fn crls(&self, now: OffsetDateTime) -> [CrlSpec; 2] {
        [&self.root, &self.ek_ca].map(|authority| CrlSpec {
            algorithm: SignatureAlgorithm::EcdsaSha256,
            issuer: authority.certificate.subject.clone(),
            this_update: now.saturating_sub(time::Duration::days(1)),
            next_update: Some(now.saturating_add(time::Duration::days(29))),
            revoked: Vec::new(),
            extensions: vec![
                Extension::authority_key(&authority.key),
                Extension::new(oids::CRL_NUMBER, der::unsigned(1)),
            ],
        })
    }

    /// The certificate of an endorsement key: no subject, the TPM's maker, model and version in the alternative name.
    ///
    /// # Errors
    /// When the key is of a kind that no endorsement key is.
    pub fn ek_certificate(&self, ek: &TpmPublic) -> Result<KeyCertificate> {
        let key_usage = match ek.key {
            // keyEncipherment is bit 2, keyAgreement bit 4 (RFC 5280 §4.2.1.3).
            TpmKey::Rsa { .. } => der::bits_unused(5, &[0x20]),
            TpmKey::Ecc { .. } => der::bits_unused(3, &[0x08]),
        };
        self.certificate(ek, key_usage, EK_CERTIFICATE)
    }

    /// The certificate of an attestation key, as a cloud leaves it in the TPM.
    ///
    /// # Errors
    /// When the key is of a kind that no attestation key is.
    pub fn ak_certificate(&self, ak: &TpmPublic) -> Result<KeyCertificate> {
        // digitalSignature is bit 0.
        self.certificate(ak, der::bits_unused(7, &[0x80]), AK_CERTIFICATE)
    }

    fn certificate(&self, key: &TpmPublic, key_usage: Vec<u8>, purpose: &str) -> Result<KeyCertificate> {
        let device = Name::from_values(&[
            ("2.23.133.2.1", der::utf8("id:00001014")),
            ("2.23.133.2.2", der::utf8("swtpm")),
            ("2.23.133.2.3", der::utf8("id:20191023")),
        ]);
        let directory_name = der::element(0xA4, &device.to_der());
        let certificate = CertificateSpec {
            version: Some(2),
            serial: key.name().as_bytes().get(2..18).context("expected a name of a key")?.to_vec(),
            algorithm: SignatureAlgorithm::EcdsaSha256,
            inner_algorithm: None,
            issuer: self.ek_ca.certificate.subject.clone(),
            validity: Validity::years(datetime!(2024-01-01 0:00 UTC), 20),
            subject: Name::from_values(&[]),
            public_key_info: public_key_info(&key.key)?,
            extensions: vec![
                Extension::critical(oids::BASIC_CONSTRAINTS, der::sequence(&[])),
                Extension::critical(oids::KEY_USAGE, key_usage),
                Extension::new(EXTENDED_KEY_USAGE, der::sequence(&[der::oid(purpose)])),
                Extension::critical(SUBJECT_ALTERNATIVE_NAME, der::sequence(&[directory_name])),
                Extension::authority_key(&self.ek_ca.key),
            ],
        };
        Ok(KeyCertificate { certificate, issuer_key: self.ek_ca.key.clone() })
    }
}

fn name(common_name: &str) -> Name {
    Name::from_values(&[("2.5.4.3", der::utf8(common_name)), ("2.5.4.10", der::utf8("softtee"))])
}

/// The DER `SubjectPublicKeyInfo` of a TPM's key.
fn public_key_info(key: &TpmKey) -> Result<Vec<u8>> {
    match key {
        TpmKey::Rsa { modulus, exponent } => {
            let numbers = der::sequence(&[der::integer(modulus), der::unsigned(u64::from(*exponent))]);
            let algorithm = der::sequence(&[der::oid(RSA_ENCRYPTION), der::null()]);
            Ok(der::sequence(&[algorithm, der::bits(&numbers)]))
        }
        TpmKey::Ecc { curve: EccCurve::P256, x, y } => {
            let algorithm = der::sequence(&[der::oid("1.2.840.10045.2.1"), der::oid("1.2.840.10045.3.1.7")]);
            Ok(der::sequence(&[algorithm, der::bits(&[&[4], x.as_slice(), y.as_slice()].concat())]))
        }
        TpmKey::Ecc { curve: EccCurve::P384, .. } => anyhow::bail!("expected an RSA or P-256 key"),
    }
}
