//! Memory of vendor chains that were already verified.
//!
//! A chain that was verified once (certificates, CRLs, trust anchors) need not be verified again until one of its
//! documents changes or runs out. The memory belongs to the caller: the core stays a function of its arguments.

use std::{any::Any, sync::Arc};

use crate::Timestamp;

/// Digest over every document that a chain verification read (SHA-256 of leaf, intermediates, CRLs and trust anchors).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainKey(pub(crate) [u8; 32]);

/// What one chain verification proved, and until when. Platform modules put their own private type inside; nothing
/// outside this crate can make one.
#[derive(Debug, Clone)]
pub struct VerifiedChain {
    proof: Arc<dyn Any + Send + Sync>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl VerifiedChain {
    pub(crate) fn new<T: Any + Send + Sync>(proof: Arc<T>, not_before: Timestamp, not_after: Timestamp) -> Self {
        Self { proof, not_before, not_after }
    }

    /// The proof, when it is of type `T` and still holds at `now`.
    pub(crate) fn proof_at<T: Any + Send + Sync>(&self, now: Timestamp) -> Option<Arc<T>> {
        if now < self.not_before || now > self.not_after {
            return None;
        }
        Arc::clone(&self.proof).downcast().ok()
    }
}

/// Remembers verified chains for the caller. Implementations are bounded.
pub trait ChainMemory {
    /// What was remembered under `key`.
    fn recall(&self, key: &ChainKey) -> Option<VerifiedChain>;
    /// Remembers `chain` under `key`.
    fn remember(&self, key: ChainKey, chain: VerifiedChain);
}

/// Remembers nothing: every verification is cold.
#[derive(Debug, Clone, Copy)]
pub struct Forgetful;

impl ChainMemory for Forgetful {
    fn recall(&self, _: &ChainKey) -> Option<VerifiedChain> {
        None
    }

    fn remember(&self, _: ChainKey, _: VerifiedChain) {}
}
