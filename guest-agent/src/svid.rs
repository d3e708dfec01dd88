//! An X.509-SVID: its key is made here and goes nowhere but to the workload that it is for.

use std::collections::BTreeMap;

use keys::secret::SecretBytes;
use pem::Pem;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::server::ParsedCertificate;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;

use crate::{
    bundle::{Bundle, BundleDocument},
    failure::Failure,
};

/// Most certificates of a chain or a bundle.
const CERTIFICATES: usize = 32;

/// A fresh key that waits for its certificate.
pub(crate) struct PendingKey {
    key: KeyPair,
    csr: String,
}

/// A certificate with its key and the authorities of its trust domain.
pub(crate) struct X509Svid {
    /// The identity.
    pub(crate) spiffe_id: String,
    /// The certificate and its issuers below the authority, DER.
    pub(crate) chain: Vec<Vec<u8>>,
    /// PKCS#8, DER.
    pub(crate) key: SecretBytes,
    /// The authorities, DER.
    pub(crate) bundle: Vec<Vec<u8>>,
    /// The bundles of trust domains that came with it, by SPIFFE ID.
    pub(crate) trusted: BTreeMap<String, Bundle>,
}

/// What the broker answers; the texts are PEM.
#[derive(Deserialize)]
struct Answer {
    spiffe_id: String,
    certificate: String,
    bundle: String,
    /// SPIFFE bundles by the name of their trust domain, where the broker federates.
    #[serde(default)]
    trust_bundles: BTreeMap<String, BundleDocument>,
}

impl PendingKey {
    /// Makes the key and a request for a certificate, which says nothing but the key.
    pub(crate) fn new() -> Result<Self, Failure> {
        let unmade =
            |error: rcgen::Error| Failure::Make { what: "a certificate signing request", reason: error.to_string() };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unmade)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(unmade)?;
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&key).and_then(|csr| csr.pem()).map_err(unmade)?;
        Ok(Self { key, csr })
    }

    /// The request, PEM.
    pub(crate) fn csr(&self) -> &str {
        &self.csr
    }

    /// The SVID, from what the broker answered. The certificate must be for this key.
    pub(crate) fn certified(&self, answer: &SecretBytes) -> Result<X509Svid, Failure> {
        let wrong = |expected| Failure::Answer { expected };
        let answer: Answer =
            serde_json::from_slice(answer.expose()).map_err(|_unreadable| wrong("a certificate and a bundle"))?;
        let chain = certificates(&answer.certificate).ok_or(wrong("a certificate"))?;
        let leaf = chain.first().map(|der| CertificateDer::from(der.as_slice()));
        let leaf = leaf.as_ref().and_then(|der| ParsedCertificate::try_from(der).ok()).ok_or(wrong("a certificate"))?;
        if *leaf.subject_public_key_info() != *self.key.subject_public_key_info() {
            return Err(wrong("a certificate for the key that was made here"));
        }
        let bundle = certificates(&answer.bundle).ok_or(wrong("a bundle of authorities"))?;
        // A bundle without authorities says that its trust domain is trusted no more.
        let trusted = answer.trust_bundles.into_iter();
        let trusted = trusted.filter_map(|(name, document)| Some((format!("spiffe://{name}"), document.bundle()?)));
        Ok(X509Svid {
            spiffe_id: answer.spiffe_id,
            chain,
            key: SecretBytes::new(self.key.serialize_der()),
            bundle,
            trusted: trusted.collect(),
        })
    }
}

impl X509Svid {
    /// The name of its trust domain.
    pub(crate) fn trust_domain(&self) -> Option<&str> {
        self.spiffe_id.strip_prefix("spiffe://")?.split('/').next()
    }

    /// The key, PEM.
    pub(crate) fn key_pem(&self) -> SecretBytes {
        SecretBytes::new(pem::encode(&Pem::new("PRIVATE KEY", self.key.expose())).into_bytes())
    }

    /// The certificate and its issuers, PEM.
    pub(crate) fn chain_pem(&self) -> String {
        to_pem(&self.chain)
    }
}

/// Certificates one after the other, PEM.
pub(crate) fn to_pem(certificates: &[Vec<u8>]) -> String {
    certificates.iter().map(|der| pem::encode(&Pem::new("CERTIFICATE", der.as_slice()))).collect()
}

/// One or more certificates, and nothing else.
fn certificates(text: &str) -> Option<Vec<Vec<u8>>> {
    let blocks = pem::parse_many(text).ok()?;
    let only = (1..=CERTIFICATES).contains(&blocks.len()) && blocks.iter().all(|block| block.tag() == "CERTIFICATE");
    only.then(|| blocks.into_iter().map(Pem::into_contents).collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn answer(key: &KeyPair) -> SecretBytes {
        let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(key).unwrap().pem();
        let value = serde_json::json!({"spiffe_id": "spiffe://example.org/a", "certificate": certificate, "bundle": certificate});
        SecretBytes::new(value.to_string().into_bytes())
    }

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let pending = PendingKey::new().unwrap();
        let svid = pending.certified(&answer(&pending.key)).unwrap();
        assert_eq!(svid.trust_domain(), Some("example.org"));
        assert!(svid.chain_pem().starts_with("-----BEGIN CERTIFICATE"));
        assert!(svid.key_pem().expose().starts_with(b"-----BEGIN PRIVATE KEY"));
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        assert!(pending.certified(&answer(&other)).is_err());
        assert!(pending.certified(&SecretBytes::new(b"{}".to_vec())).is_err());
    }
}
