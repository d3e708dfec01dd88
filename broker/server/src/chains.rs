//! Remembered vendor chains, so that a warm verification costs one hash and one signature.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use verifier::{ChainKey, ChainMemory, VerifiedChain};

/// Chains that are remembered: one for each chip and TCB level in use.
const CAPACITY: usize = 4096;

/// A bounded memory that forgets the chain that was not used for longest.
#[derive(Default)]
pub(crate) struct ChainCache {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    chains: HashMap<ChainKey, (VerifiedChain, u64)>,
    uses: u64,
}

impl Entries {
    fn next_use(&mut self) -> u64 {
        self.uses = self.uses.saturating_add(1);
        self.uses
    }
}

impl ChainCache {
    /// Forgets everything, because trust anchors or endorsements changed.
    pub(crate) fn clear(&self) {
        self.lock().chains.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // A thread that panicked between two map operations leaves a usable map.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChainMemory for ChainCache {
    fn recall(&self, key: &ChainKey) -> Option<VerifiedChain> {
        let mut entries = self.lock();
        let now = entries.next_use();
        let (chain, used) = entries.chains.get_mut(key)?;
        *used = now;
        Some(chain.clone())
    }

    fn remember(&self, key: ChainKey, chain: VerifiedChain) {
        let mut entries = self.lock();
        if entries.chains.len() >= CAPACITY {
            let oldest = entries.chains.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            oldest.and_then(|key| entries.chains.remove(&key));
        }
        let now = entries.next_use();
        entries.chains.insert(key, (chain, now));
    }
}

impl fmt::Debug for ChainCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainCache({})", self.lock().chains.len())
    }
}
