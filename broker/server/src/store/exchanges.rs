//! Token exchanges: the proofs that they use up and the leases that they open.

use verifier::Timestamp;

use super::{Ground, Lease, StoreFuture, StoredDecision, StoredLease, TenantId};

/// A lease with the decision that it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldLease {
    /// The lease.
    pub(crate) lease: StoredLease,
    /// The decision that opened or renewed it last.
    pub(crate) decision: String,
}

/// A proof that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UsedProof {
    /// Names it.
    pub(crate) id: [u8; 32],
    /// From when on it would be refused for its age.
    pub(crate) expires_at: Timestamp,
}

/// How much a guest may exchange for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spending {
    /// What was exchanged for since then counts.
    pub(crate) since: Timestamp,
    /// The same as a number of seconds.
    pub(crate) seconds: u32,
    /// Tokens, the new one included.
    pub(crate) tokens: u32,
    /// Different entries, the new one included.
    pub(crate) targets: u32,
}

/// What an exchange opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExchangeOpening {
    /// The guest that gets the token.
    pub(crate) guest: String,
    /// The leases of the tokens that were shown. Each must still be open under its decision; what their decisions rest on, the
    /// new lease rests on.
    pub(crate) rests_on: Vec<HeldLease>,
    /// The policy that allowed it.
    pub(crate) policy: Ground,
    /// The lease.
    pub(crate) lease: Lease,
    /// The guest's budget, when it has one.
    pub(crate) spending: Option<Spending>,
}

/// What one exchange writes: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExchangeSettlement {
    /// The proof that it used, when there is one.
    pub(crate) proof: Option<UsedProof>,
    /// The decision.
    pub(crate) decision: StoredDecision,
    /// What it opens, when it releases.
    pub(crate) opening: Option<ExchangeOpening>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) enum ExchangeSettled {
    /// Everything is stored durably.
    Recorded,
    /// The proof had been used before; nothing was stored, and nothing may be released.
    Replayed,
    /// A lease that it rests on is not open any more; nothing was stored, and nothing may be released.
    Ended,
    /// It rests on something that is revoked; nothing was stored, and nothing may be released.
    Revoked(Ground),
    /// The guest's budget is spent; nothing was stored, and nothing may be released.
    Spent {
        /// The time over which it counts.
        seconds: u32,
    },
}

/// Stores exchanges.
pub(crate) trait ExchangeStore {
    /// The lease at a place of the status lists.
    fn lease_at<'a>(&'a self, tenant: &'a TenantId, status: u64) -> StoreFuture<'a, Option<HeldLease>>;

    /// Whether a proof was used. A look that decides nothing.
    fn is_proof_used<'a>(&'a self, proof: &'a [u8; 32]) -> StoreFuture<'a, bool>;

    /// Uses up the proof, stores the decision and opens the lease, in one durable transaction.
    fn settle_exchange(&self, settlement: ExchangeSettlement) -> StoreFuture<'_, ExchangeSettled>;

    /// Drops proofs that are too old to be shown again.
    fn sweep_proofs(&self, now: Timestamp) -> StoreFuture<'_, ()>;
}
