//! The key hierarchy: root, PCK CAs, TCB signing, and the revocation lists.
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::pck::{PckCa, PckSpec, sgx_extension};
use crate::der;
use crate::keys::{PrivateKey, SignatureAlgorithm};
use crate::x509::{CertificateSpec, CrlSpec, Extension, Issued, Name, Validity, oids};

const ROOT_CRL_URL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// The certificate authorities. Change a field, and what is issued from then on shows it.
#[derive(Debug, Clone)]
pub struct IntelPki {
    /// Root: self-signed, signs the others and the root revocation list.
    pub root: Issued,
    /// Signs PCK certificates of multi-package platforms.
    pub platform_ca: Issued,
    /// Signs PCK certificates of single-package platforms.
    pub processor_ca: Issued,
    /// Signs TCB info and QE identity.
    pub tcb_signing: Issued,
    /// What platform keys are derived from, beside platform and TCB: an imitation does not have the platforms' keys.
    pub seed: &'static str,
}

impl Default for IntelPki {
    fn default() -> Self {
        Self::new()
    }
}

impl IntelPki {
    /// The made-up authorities: always the same keys and certificates.
    #[must_use]
    pub fn new() -> Self {
        Self::with_label("intel")
    }

    /// Authorities with the same names and dates but other keys, as an attacker would make them.
    #[must_use]
    pub fn rogue() -> Self {
        Self::with_label("rogue intel")
    }

    fn with_label(label: &'static str) -> Self {
        let key = |role: &str| PrivateKey::p256_from_label(format!("{label} {role}").as_bytes());
        let root_key = key("root");
        let until = datetime!(2049-12-31 23:59:59 UTC);
        let from = datetime!(2018-05-21 10:45:10 UTC);
        let ca = |name: &str, key: PrivateKey, path_length: u64, validity: Validity| Issued {
            certificate: CertificateSpec {
                extensions: authority_extensions(&root_key, &key, path_length),
                ..certificate(name, &key, "Intel SGX Root CA", validity)
            },
            key,
            issuer_key: root_key.clone(),
        };
        let intermediate = Validity::years(from, 15);
        let signing_key = key("tcb signing");
        let signing = CertificateSpec {
            extensions: leaf_extensions(&root_key, &signing_key, ROOT_CRL_URL),
            ..certificate(
                "Intel SGX TCB Signing",
                &signing_key,
                "Intel SGX Root CA",
                Validity { not_before: datetime!(2025-05-06 9:25 UTC), not_after: datetime!(2032-05-06 9:25 UTC) },
            )
        };
        Self {
            root: ca("Intel SGX Root CA", root_key.clone(), 1, Validity { not_before: from, not_after: until }),
            platform_ca: ca("Intel SGX PCK Platform CA", key("platform ca"), 0, intermediate),
            processor_ca: ca("Intel SGX PCK Processor CA", key("processor ca"), 0, intermediate),
            tcb_signing: Issued { certificate: signing, key: signing_key, issuer_key: root_key.clone() },
            seed: label,
        }
    }

    /// The authority for a kind of platform.
    #[must_use]
    pub const fn pck_ca(&self, ca: PckCa) -> &Issued {
        match ca {
            PckCa::Platform => &self.platform_ca,
            PckCa::Processor => &self.processor_ca,
        }
    }

    /// The certificate of a platform's provisioning certification key. Another platform or TCB is another key.
    #[must_use]
    pub fn pck(&self, platform: &PckSpec) -> Issued {
        let issuer = self.pck_ca(platform.ca);
        let seed = self.seed.as_bytes();
        let label = [seed, b" pck ", &platform.ppid.0, &platform.components.0, &platform.pce_svn.0.to_be_bytes()];
        let key = PrivateKey::p256_from_label(&label.concat());
        let url = format!(
            "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca={}&encoding=der",
            platform.ca.name()
        );
        let mut extensions = leaf_extensions(&issuer.key, &key, &url);
        extensions.push(sgx_extension(platform));
        let validity = Validity::years(platform.issued_at, 7);
        let base = certificate("Intel SGX PCK Certificate", &key, "", validity);
        let certificate = CertificateSpec { issuer: issuer.certificate.subject.clone(), extensions, ..base };
        Issued { certificate, key, issuer_key: issuer.key.clone() }
    }

    /// The root's revocation list: empty, from a day before `now` for a year.
    #[must_use]
    pub fn root_crl(&self, now: OffsetDateTime) -> CrlSpec {
        crl(&self.root, now, 365)
    }

    /// A PCK CA's revocation list: empty, from a day before `now` for thirty days.
    #[must_use]
    pub fn pck_crl(&self, ca: PckCa, now: OffsetDateTime) -> CrlSpec {
        crl(self.pck_ca(ca), now, 30)
    }
}

/// Intel publishes every list with number 1.
fn crl(issuer: &Issued, now: OffsetDateTime, days: i64) -> CrlSpec {
    let this_update = now.saturating_sub(Duration::days(1));
    let mut crl = CrlSpec {
        algorithm: SignatureAlgorithm::EcdsaSha256,
        issuer: issuer.certificate.subject.clone(),
        this_update,
        next_update: Some(this_update.saturating_add(Duration::days(days))),
        revoked: Vec::new(),
        extensions: Vec::new(),
    }
    .numbered(1);
    crl.extensions.push(Extension::authority_key(&issuer.key));
    crl
}

fn certificate(subject: &str, key: &PrivateKey, issuer: &str, validity: Validity) -> CertificateSpec {
    // Serial numbers are key identifiers, kept positive and twenty bytes long.
    let mut serial = key.key_identifier();
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    CertificateSpec {
        version: Some(2),
        serial,
        algorithm: SignatureAlgorithm::EcdsaSha256,
        inner_algorithm: None,
        issuer: Name::intel(issuer),
        validity,
        subject: Name::intel(subject),
        public_key_info: key.public_key_info(),
        extensions: Vec::new(),
    }
}

fn authority_extensions(root: &PrivateKey, key: &PrivateKey, path_length: u64) -> Vec<Extension> {
    vec![
        Extension::authority_key(root),
        Extension::distribution_point(ROOT_CRL_URL),
        Extension::subject_key(key),
        Extension::certificate_signing(true),
        Extension::certificate_authority(Some(path_length)),
    ]
}

fn leaf_extensions(issuer: &PrivateKey, key: &PrivateKey, url: &str) -> Vec<Extension> {
    vec![
        Extension::authority_key(issuer),
        Extension::distribution_point(url),
        Extension::subject_key(key),
        // digitalSignature and nonRepudiation.
        Extension::critical(oids::KEY_USAGE, der::bits_unused(6, &[0xc0])),
        Extension::critical(oids::BASIC_CONSTRAINTS, der::sequence(&[])),
    ]
}
