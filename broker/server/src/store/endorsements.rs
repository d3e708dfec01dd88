//! Vendor documents, as they were received.

use evidence_formats::endorsement::EndorsementId;
use verifier::{Timestamp, x509::CrlNumber};

use super::StoreFuture;

/// One document with what was found out about it when it was authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEndorsement {
    /// Which.
    pub(crate) id: EndorsementId,
    /// As the service sent it.
    pub(crate) body: Vec<u8>,
    /// The certificates above its signature, where they came beside it.
    pub(crate) issuer_chain: Option<Vec<u8>>,
    /// Where it came from.
    pub(crate) source: String,
    /// CRL number.
    pub(crate) number: Option<CrlNumber>,
    /// First second at which it speaks.
    pub(crate) valid_from: Timestamp,
    /// Last one.
    pub(crate) valid_until: Timestamp,
    /// When it was fetched or imported.
    pub(crate) fetched_at: Timestamp,
}

/// Stores vendor documents.
pub(crate) trait EndorsementStore {
    /// One document.
    fn endorsement(&self, id: EndorsementId) -> StoreFuture<'_, Option<StoredEndorsement>>;

    /// Every document that is about many machines and was written after `change`, and the newest change.
    fn shared_endorsements(&self, change: i64) -> StoreFuture<'_, (Vec<StoredEndorsement>, i64)>;

    /// Every document, in the order of their names.
    fn endorsements(&self) -> StoreFuture<'_, Vec<StoredEndorsement>>;

    /// Writes documents, all or none. A list or judgement never replaces a newer one: such a row is left as it is.
    fn keep_endorsements<'a>(&'a self, documents: &'a [StoredEndorsement]) -> StoreFuture<'a, ()>;

    /// Removes a document, because nothing that is trusted now vouches for it.
    fn forget_endorsement(&self, id: EndorsementId) -> StoreFuture<'_, ()>;
}
