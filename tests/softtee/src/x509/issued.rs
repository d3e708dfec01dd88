//! A certificate with the keys around it.
use super::CertificateSpec;
use crate::keys::PrivateKey;

/// A certificate to be signed, its subject's key and its issuer's key.
#[derive(Debug, Clone)]
pub struct Issued {
    /// What it will say. Change fields to break single checks.
    pub certificate: CertificateSpec,
    /// The subject's private key.
    pub key: PrivateKey,
    /// The key that signs the certificate.
    pub issuer_key: PrivateKey,
}

impl Issued {
    /// Gives the subject another key, in the certificate too.
    pub fn replace_key(&mut self, key: PrivateKey) {
        self.certificate.public_key_info = key.public_key_info();
        self.key = key;
    }

    /// The signed certificate, DER. The same fields give the same bytes.
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        self.certificate.sign(&self.issuer_key)
    }
}
