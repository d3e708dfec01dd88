//! Decisions, the nonces that they consume and the leases that they open.

use verifier::Timestamp;

use super::{DecisionDigests, GlassUse, Ground, Opening, StoreFuture, TenantId};

/// A decision as stored: what is searched for beside the full record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredDecision {
    /// The attestation id.
    pub(crate) id: String,
    /// Whose policies decided.
    pub(crate) tenant: TenantId,
    /// When.
    pub(crate) decided_at: Timestamp,
    /// `affirmed` or `refused`.
    pub(crate) outcome: &'static str,
    /// The code of the refusal.
    pub(crate) code: Option<String>,
    /// Whether the evidence was authenticated. Records of evidence that was not are kept in a bounded number only.
    pub(crate) authenticated: bool,
    /// The whole record as JSON.
    pub(crate) record: String,
    /// What the audit log says of it besides.
    pub(crate) digests: DecisionDigests,
}

/// What one attestation writes: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settlement {
    /// The nonce that the attestation used.
    pub(crate) nonce: [u8; 32],
    /// When the nonce would have expired: after that its row is of no use.
    pub(crate) nonce_expires_at: Timestamp,
    /// The decision.
    pub(crate) decision: StoredDecision,
    /// The counters of the TPM that quoted, when one did.
    pub(crate) counters: Option<TpmCounters>,
    /// What it opens, when it affirms.
    pub(crate) opening: Option<Opening>,
    /// The guest whose leases all end with this decision: its fresh evidence was worse.
    pub(crate) ends_guest: Option<String>,
    /// The approved request that allows what it opens although the policies refuse it: spent with it, or nothing is stored.
    pub(crate) break_glass: Option<GlassUse>,
}

/// What became of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) enum Settled {
    /// The nonce was unused; everything is stored durably.
    Recorded,
    /// The nonce had been used before; nothing was stored, and nothing may be released.
    Replayed,
    /// A reference set was retired or revoked since the evidence was judged; nothing was stored, and nothing may be
    /// released.
    Overtaken,
    /// The decision rests on something that is revoked; nothing was stored, and nothing may be released.
    Revoked(Ground),
    /// The lease to renew is not open any more; nothing was stored, and nothing may be released.
    LeaseEnded,
    /// The TPM's counters are behind those that it was seen with; nothing was stored, and nothing may be released.
    WentBack,
}

/// What a TPM says of its time, by the attestation key that says it (TPM 2.0 part 2, section 10.11.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TpmCounters {
    /// SHA-256 of the attestation key in hex.
    pub(crate) ak_key: String,
    /// Resets: one per boot.
    pub(crate) reset_count: u32,
    /// Restarts or resumes since the last reset.
    pub(crate) restart_count: u32,
    /// Milliseconds.
    pub(crate) clock: u64,
    /// When the nonce was issued that the quote answers: the quote was made after that.
    pub(crate) asked_at: Timestamp,
}

impl TpmCounters {
    /// Whether these are behind `seen`, which was settled at `seen_at`.
    ///
    /// A reset count never goes back. Within one reset neither restart count nor clock does, of quotes that were made one
    /// after the other: attestations of one machine that overlap may be settled in another order than they were quoted in.
    pub(crate) fn are_behind(&self, seen: &Self, seen_at: Timestamp) -> bool {
        let later = self.asked_at > seen_at;
        self.reset_count < seen.reset_count
            || (later
                && self.reset_count == seen.reset_count
                && (self.restart_count < seen.restart_count || self.clock < seen.clock))
    }

    /// Whether these are to be remembered in the place of `seen`.
    pub(crate) fn are_ahead_of(&self, seen: &Self) -> bool {
        let order = |counters: &Self| (counters.reset_count, counters.restart_count, counters.clock);
        order(self) > order(seen)
    }
}

/// Which decisions to list, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DecisionQuery {
    /// Only this outcome.
    pub(crate) outcome: Option<&'static str>,
    /// Not older than this.
    pub(crate) since: Option<Timestamp>,
    /// Only those that were stored before the decision with this id.
    pub(crate) before: Option<String>,
    /// At most so many.
    pub(crate) limit: u32,
}

/// Which decisions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retention {
    /// The newest so many of evidence that was not authenticated.
    pub(crate) unauthenticated: u32,
    /// The newest so many of all.
    pub(crate) decisions: u32,
    /// Those from this moment on. One whose lease ends later stays as long as the lease.
    pub(crate) since: Timestamp,
}

/// Stores decisions.
pub(crate) trait DecisionStore {
    /// Consumes the nonce, stores the decision, and opens, renews or ends its leases, in one durable transaction.
    fn settle(&self, settlement: Settlement) -> StoreFuture<'_, Settled>;

    /// Whether a nonce was consumed. A hint that saves work: only [`DecisionStore::settle`] decides.
    fn is_consumed<'a>(&'a self, nonce: &'a [u8; 32]) -> StoreFuture<'a, bool>;

    /// The record (JSON) of one decision.
    fn decision<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> StoreFuture<'a, Option<String>>;

    /// Records (JSON) of the newest decisions.
    fn decisions<'a>(&'a self, tenant: &'a TenantId, query: &'a DecisionQuery) -> StoreFuture<'a, Vec<String>>;

    /// Drops nonces that expired before `now`, and the decisions of `tenant` that `keep` does not keep.
    fn sweep<'a>(&'a self, tenant: &'a TenantId, now: Timestamp, keep: Retention) -> StoreFuture<'a, ()>;
}
