//! Certificate revocation lists.
use time::OffsetDateTime;

use super::{Extension, Name};
use crate::der;
use crate::keys::{PrivateKey, SignatureAlgorithm};

/// One revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedSerial {
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// Since when.
    pub since: OffsetDateTime,
}

/// A version 2 revocation list to be signed. Every field may be set to something wrong.
#[derive(Debug, Clone)]
pub struct CrlSpec {
    /// How it is signed.
    pub algorithm: SignatureAlgorithm,
    /// Who issues.
    pub issuer: Name,
    /// Issued at.
    pub this_update: OffsetDateTime,
    /// Replaced at the latest at; `None` leaves the field out.
    pub next_update: Option<OffsetDateTime>,
    /// Revoked certificates. Empty leaves the field out.
    pub revoked: Vec<RevokedSerial>,
    /// Extensions of the list, in order: authority key identifier and CRL number in a healthy one.
    pub extensions: Vec<Extension>,
}

impl CrlSpec {
    /// Adds a revoked serial number (big-endian), revoked when the list was issued.
    #[must_use]
    pub fn revoking(mut self, serial: &[u8]) -> Self {
        self.revoked.push(RevokedSerial { serial: serial.to_vec(), since: self.this_update });
        self
    }

    /// Sets the CRL number.
    #[must_use]
    pub fn numbered(mut self, number: u64) -> Self {
        let oid = super::oids::CRL_NUMBER;
        self.extensions.retain(|extension| extension.oid != oid);
        self.extensions.push(Extension::new(oid, der::unsigned(number)));
        self
    }

    /// The part that is signed.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        let revoked: Vec<Vec<u8>> = self
            .revoked
            .iter()
            .map(|entry| der::sequence(&[der::integer(&entry.serial), der::time(entry.since)]))
            .collect();
        let extensions: Vec<Vec<u8>> = self.extensions.iter().map(Extension::to_der).collect();
        der::sequence(&[
            der::unsigned(1),
            self.algorithm.identifier(),
            self.issuer.to_der(),
            der::time(self.this_update),
            self.next_update.map(der::time).unwrap_or_default(),
            if revoked.is_empty() { Vec::new() } else { der::sequence(&revoked) },
            if extensions.is_empty() { Vec::new() } else { der::explicit(0, &der::sequence(&extensions)) },
        ])
    }

    /// Signs and gives the DER list.
    #[must_use]
    pub fn sign(&self, issuer_key: &PrivateKey) -> Vec<u8> {
        let signed = self.to_be_signed();
        let signature = issuer_key.sign(self.algorithm, &signed);
        der::sequence(&[signed, self.algorithm.identifier(), der::bits(&signature)])
    }
}
