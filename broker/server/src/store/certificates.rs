//! X.509-SVIDs that were issued, and which of them may no longer be believed.

use verifier::Timestamp;

use super::StoreFuture;

/// Length of a serial number in bytes.
pub(crate) const SERIAL_LENGTH: usize = 16;

/// An X.509-SVID that a lease stands for. A lease that is renewed has one more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IssuedCertificate {
    /// Its serial number, which no other has.
    pub(crate) serial: [u8; SERIAL_LENGTH],
    /// The id of the CA's key.
    pub(crate) authority: String,
    /// The lease.
    pub(crate) lease: String,
    /// When it expires.
    pub(crate) expires_at: Timestamp,
}

/// A certificate whose lease ended before the certificate did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndedCertificate {
    /// Its serial number.
    pub(crate) serial: Vec<u8>,
    /// When the lease ended.
    pub(crate) ended_at: Timestamp,
    /// Whether the guest gave it back.
    pub(crate) released: bool,
}

/// What a revocation list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndedCertificates {
    /// Its number: higher than that of every list before, of whatever CA.
    pub(crate) number: u64,
    /// What it revokes.
    pub(crate) ended: Vec<EndedCertificate>,
}

/// Stores which certificates there are. They are recorded by [`super::DecisionStore::settle`], with their leases.
pub(crate) trait CertificateStore {
    /// The certificates of the CA `authority` that expire after `since` and whose leases ended before their time, with the next
    /// number, in one
    /// durable transaction: a list with a higher number never says less.
    fn ended_certificates<'a>(&'a self, authority: &'a str, since: Timestamp) -> StoreFuture<'a, EndedCertificates>;

    /// Forgets the certificates that expired before `before`.
    fn sweep_certificates(&self, before: Timestamp) -> StoreFuture<'_, ()>;
}
