//! Attestation keys that were enrolled, and challenges that wait for their answer.

use verifier::{Timestamp, tpm::AkProvenance};

use super::{StoreError, StoreFuture, TenantId};

/// Where an enrolment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EnrolmentState {
    /// The key is proven; an administrator must approve it.
    AwaitingApproval,
    /// It counts.
    Enrolled,
    /// It will never count again.
    Revoked,
}

impl EnrolmentState {
    /// As written in the store.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "awaiting-approval",
            Self::Enrolled => "enrolled",
            Self::Revoked => "revoked",
        }
    }

    /// Reads what [`EnrolmentState::as_str`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        let all = [Self::AwaitingApproval, Self::Enrolled, Self::Revoked];
        let unknown = || StoreError::Unknown { what: "enrolment state", found: text.to_owned() };
        all.into_iter().find(|state| state.as_str() == text).ok_or_else(unknown)
    }
}

/// The endorsement key that an enrolment proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEk {
    /// Its name in hex.
    pub(crate) name: String,
    /// TPMT_PUBLIC.
    pub(crate) public: Vec<u8>,
}

/// One attestation key of the register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnrolmentRecord {
    /// Its name in hex.
    pub(crate) ak_name: String,
    /// The endorsement key, unless the operator's word is the proof.
    pub(crate) ek: Option<StoredEk>,
    /// What proved it.
    pub(crate) provenance: AkProvenance,
    /// What is known of the TPM, JSON.
    pub(crate) details: String,
    /// Who answers for the machine; empty until it is approved.
    pub(crate) owner: String,
    /// Why it was approved, pinned or revoked.
    pub(crate) reason: String,
    /// Where it stands.
    pub(crate) state: EnrolmentState,
    /// When the credential was answered.
    pub(crate) requested_at: Timestamp,
    /// Who approved it, and when.
    pub(crate) approved: Option<Act>,
    /// Who revoked it, and when.
    pub(crate) revoked: Option<Act>,
}

/// Who did something, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Act {
    /// The administrator, or `automatic`.
    pub(crate) by: String,
    /// When.
    pub(crate) at: Timestamp,
}

/// A credential that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingEnrolment {
    /// Names it.
    pub(crate) id: String,
    /// SHA-256 of the secret.
    pub(crate) secret_digest: [u8; 32],
    /// Name of the attestation key in hex.
    pub(crate) ak_name: String,
    /// The endorsement key.
    pub(crate) ek: StoredEk,
    /// What the answer will prove.
    pub(crate) provenance: AkProvenance,
    /// What is known of the TPM, JSON.
    pub(crate) details: String,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
}

/// How many rows there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EnrolmentBounds {
    /// Keys of one endorsement key, revoked ones included.
    pub(crate) keys_per_ek: u32,
    /// Keys of the whole register that wait for approval.
    pub(crate) awaiting: u32,
    /// Keys of the whole register.
    pub(crate) records: u32,
}

/// What became of a proven key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) enum Registered {
    /// It is in the register now.
    New,
    /// It was there already, as this.
    Known(Box<EnrolmentRecord>),
    /// The endorsement key has too many keys.
    TooManyKeys,
    /// The register is full.
    Full,
}

/// Stores enrolments.
pub(crate) trait EnrolmentStore {
    /// Adds a challenge unless `limit` of the tenant's are open at `now`; whether it was added.
    fn add_pending<'a>(
        &'a self,
        tenant: &'a TenantId,
        pending: &'a PendingEnrolment,
        now: Timestamp,
        limit: u32,
    ) -> StoreFuture<'a, bool>;

    /// Takes a challenge out, whatever its answer will be worth: each is answered once.
    fn take_pending<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> StoreFuture<'a, Option<PendingEnrolment>>;

    /// Puts a key into the register, unless it is there or a bound is reached.
    fn register<'a>(
        &'a self,
        tenant: &'a TenantId,
        record: &'a EnrolmentRecord,
        bounds: EnrolmentBounds,
    ) -> StoreFuture<'a, Registered>;

    /// One key.
    fn enrolment<'a>(&'a self, tenant: &'a TenantId, ak_name: &'a str) -> StoreFuture<'a, Option<EnrolmentRecord>>;

    /// The newest keys, of one state or of all.
    fn enrolments<'a>(
        &'a self,
        tenant: &'a TenantId,
        state: Option<EnrolmentState>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<EnrolmentRecord>>;

    /// Approves a key that waits for it; whether there was one.
    fn approve_enrolment<'a>(
        &'a self,
        tenant: &'a TenantId,
        ak_name: &'a str,
        owner: &'a str,
        act: &'a Act,
    ) -> StoreFuture<'a, bool>;

    /// Revokes a key that is not revoked, and the qualified names (hex) that its quotes may say; whether there was one.
    fn revoke_enrolment<'a>(
        &'a self,
        tenant: &'a TenantId,
        ak_name: &'a str,
        signers: &'a [String],
        reason: &'a str,
        act: &'a Act,
    ) -> StoreFuture<'a, bool>;

    /// Whether the key with this qualified name (hex) was revoked.
    fn is_revoked_signer<'a>(&'a self, tenant: &'a TenantId, qualified_name: &'a str) -> StoreFuture<'a, bool>;

    /// Consumes a nonce outside of an attestation; whether it was unused.
    fn consume_nonce<'a>(&'a self, nonce: &'a [u8; 32], expires_at: Timestamp) -> StoreFuture<'a, bool>;
}
