//! One release that the policies refuse: asked for by one, approved by others, used once.

use serde::Serialize;
use verifier::Timestamp;

use super::{StoreFuture, TenantId};

/// Which guest may have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GlassTarget {
    /// A guest that matches a reference set of this workload.
    Workload(String),
    /// The guest with this launch measurement on this chip, hex.
    Guest {
        /// Launch digest.
        measurement: String,
        /// Hardware identity. Evidence that names none is no such guest.
        chip: String,
    },
}

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BreakGlass {
    /// Names it.
    pub(crate) id: String,
    /// The secret.
    pub(crate) secret: String,
    /// Why.
    pub(crate) reason: String,
    /// For whom.
    pub(crate) target: GlassTarget,
    /// The person who asks.
    pub(crate) requested_by: String,
    /// SHA-256 of their certificate.
    #[serde(skip)]
    pub(crate) fingerprint: [u8; 32],
    /// When.
    pub(crate) requested_at: Timestamp,
    /// When it is over.
    pub(crate) expires_at: Timestamp,
    /// How many others have to approve.
    pub(crate) needed: u32,
    /// Who approved.
    pub(crate) approvals: Vec<String>,
    /// When it was used.
    pub(crate) used_at: Option<Timestamp>,
    /// By which attestation.
    pub(crate) used_by: Option<String>,
    /// When it was taken back.
    pub(crate) revoked_at: Option<Timestamp>,
    /// By whom.
    pub(crate) revoked_by: Option<String>,
}

/// Whose approvals count at this moment, and how many have to be there: what the configuration says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GlassTerms {
    /// Fingerprints of certificates, hex.
    pub(crate) trusted: Vec<String>,
    /// At least so many, also when fewer were asked for at the time of the request.
    pub(crate) least: u32,
}

/// A request that is used by a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GlassUse {
    /// Which.
    pub(crate) id: String,
    /// Whose approvals count.
    pub(crate) terms: GlassTerms,
}

/// What became of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum GlassApproved {
    /// It counts: so many have approved.
    Counted(u32),
    /// There is no such request that is open.
    Absent,
    /// Whoever asks does not approve.
    Own,
    /// This person approved before.
    Twice,
}

/// Stores requests and approvals.
pub(crate) trait BreakGlassStore {
    /// Stores a request, unless `most` are open already; whether it was stored.
    fn request_break_glass<'a>(
        &'a self,
        tenant: &'a TenantId,
        request: &'a BreakGlass,
        most: u32,
    ) -> StoreFuture<'a, bool>;

    /// Counts the approval of a person with this certificate.
    fn approve_break_glass<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: &'a str,
        person: &'a str,
        fingerprint: &'a [u8; 32],
        now: Timestamp,
    ) -> StoreFuture<'a, GlassApproved>;

    /// Takes an open request back; whether there was one.
    fn revoke_break_glass<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: &'a str,
        by: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, bool>;

    /// The newest requests.
    fn break_glass<'a>(&'a self, tenant: &'a TenantId, limit: u32) -> StoreFuture<'a, Vec<BreakGlass>>;

    /// Open requests for a secret with enough approvals. A hint: only a settlement decides.
    fn approved_break_glass<'a>(
        &'a self,
        tenant: &'a TenantId,
        secret: &'a str,
        terms: &'a GlassTerms,
        now: Timestamp,
    ) -> StoreFuture<'a, Vec<BreakGlass>>;
}
