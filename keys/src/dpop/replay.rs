//! Which proofs were seen already.

use std::collections::HashMap;

use super::ProofId;

/// Says whether a proof is shown for the first time.
pub trait ReplayGuard {
    /// Remembers `id` until `until` (seconds since the Unix epoch) and says whether it was unknown. `false` when in doubt:
    /// the proof is then refused.
    fn first_use(&mut self, id: ProofId, until: i64, now: i64) -> bool;
}

/// A bounded memory of proofs, for a relying party of one process. Several processes need a store that they share.
#[derive(Debug, Clone)]
pub struct RecentProofs {
    seen: HashMap<ProofId, i64>,
    capacity: usize,
}

impl RecentProofs {
    /// A memory for `capacity` proofs. When it is full of proofs that are still fresh, every further one is refused.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { seen: HashMap::new(), capacity }
    }
}

impl ReplayGuard for RecentProofs {
    fn first_use(&mut self, id: ProofId, until: i64, now: i64) -> bool {
        if self.seen.len() >= self.capacity {
            self.seen.retain(|_, until| *until > now);
        }
        if self.seen.len() >= self.capacity || self.seen.contains_key(&id) {
            return false;
        }
        self.seen.insert(id, until);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_new_once_and_a_full_memory_refuses() {
        let mut recent = RecentProofs::new(2);
        let id = |byte| ProofId([byte; 32]);
        assert!(recent.first_use(id(1), 10, 0));
        assert!(!recent.first_use(id(1), 10, 0));
        assert!(recent.first_use(id(2), 20, 0));
        assert!(!recent.first_use(id(3), 20, 9), "full of fresh ones");
        assert!(recent.first_use(id(3), 20, 10), "the first is over");
    }
}
