//! Challenges that cost no write: the nonce itself says when it expires and that this broker made it.
//!
//! Layout of the 32 bytes: 4 expiry (seconds since the epoch, big endian) ‖ 12 random ‖ 16 MAC. The MAC is HMAC-SHA-256,
//! cut to 128 bits, over a label, the expiry and the random part, under a key that all replicas share: nobody else can
//! make a nonce or extend one. The 96 random bits together with the expiry make two nonces differ; if two ever were the
//! same, the second would be refused as replayed, which is safe.
//!
//! The expiry comes first so that nonces of one time stand side by side where the store remembers the spent ones.
//!
//! That a nonce is used once is not decided here but by the store, see [`crate::store::DecisionStore::settle`].

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::{
    constant_time,
    hmac::{self, HMAC_SHA256},
    rand::{SecureRandom, SystemRandom},
};
use evidence_formats::{
    binding::Nonce,
    code::{Code, Coded},
};
use thiserror::Error;
use verifier::Timestamp;
use zeroize::Zeroizing;

/// Separates this use of the key from every other one.
const LABEL: &[u8] = b"countersign nonce v2";
/// Length of the key in bytes.
pub(crate) const KEY_LENGTH: usize = 32;

/// Makes and recognises nonces.
pub(crate) struct NonceKey {
    key: hmac::Key,
}

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceKey")
    }
}

/// A nonce of this broker that has not expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiveNonce {
    /// The nonce.
    pub(crate) nonce: Nonce,
    /// When it expires.
    pub(crate) expires_at: Timestamp,
}

/// A nonce is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum NonceError {
    /// Its MAC is not ours: never issued here, or changed.
    #[error("expected a nonce that this broker issued")]
    Unknown,
    /// It was ours.
    #[error("expected a nonce before {expired_at}")]
    Expired {
        /// When it ended.
        expired_at: Timestamp,
    },
    /// It was answered before.
    #[error("expected a nonce that was not used before")]
    Replayed,
}

impl Coded for NonceError {
    fn code(&self) -> Code {
        match self {
            Self::Unknown => Code::new("binding.nonce.unknown"),
            Self::Expired { .. } => Code::new("binding.nonce.expired"),
            Self::Replayed => Code::new("binding.nonce.replayed"),
        }
    }
}

/// Spent nonces of each of the two generations that are remembered.
const REMEMBERED: usize = 8192;

/// The nonces that this broker saw consumed lately, so that most replays cost neither the store nor a signature check. It
/// forgets, and decides nothing: the store does.
#[derive(Debug, Default)]
pub(crate) struct SpentNonces(Mutex<[HashSet<[u8; 32]>; 2]>);

impl SpentNonces {
    /// Whether `nonce` is remembered as spent.
    pub(crate) fn contains(&self, nonce: &[u8; 32]) -> bool {
        self.generations().iter().any(|generation| generation.contains(nonce))
    }

    /// Remembers `nonce`; when the newer generation is full, the older one is forgotten.
    pub(crate) fn insert(&self, nonce: [u8; 32]) {
        let [newer, older] = &mut *self.generations();
        if newer.len() >= REMEMBERED {
            *older = mem::take(newer);
        }
        newer.insert(nonce);
    }

    fn generations(&self) -> MutexGuard<'_, [HashSet<[u8; 32]>; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The system could not give random bytes, or the clock is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a nonce could not be made")]
pub(crate) struct NoNonce;

impl NonceKey {
    /// From the shared key.
    pub(crate) fn new(key: &[u8; KEY_LENGTH]) -> Self {
        Self { key: hmac::Key::new(HMAC_SHA256, key) }
    }

    /// Fresh key bytes.
    pub(crate) fn generate() -> Result<Zeroizing<[u8; KEY_LENGTH]>, NoNonce> {
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        SystemRandom::new().fill(key.as_mut()).map_err(|_unspecified| NoNonce)?;
        Ok(key)
    }

    /// A fresh nonce that lives until `expires_at`.
    pub(crate) fn issue(&self, expires_at: Timestamp) -> Result<Nonce, NoNonce> {
        let expiry = u32::try_from(expires_at.as_unix()).map_err(|_after_2106| NoNonce)?.to_be_bytes();
        let mut random = [0; 12];
        SystemRandom::new().fill(&mut random).map_err(|_unspecified| NoNonce)?;
        let mac = self.mac(expiry, &random);
        let mut parts = expiry.into_iter().chain(random).chain(mac);
        Ok(Nonce(std::array::from_fn(|_| parts.next().unwrap_or_default())))
    }

    /// Checks MAC (in constant time), then expiry.
    pub(crate) fn recognise(&self, nonce: &Nonce, now: Timestamp) -> Result<LiveNonce, NonceError> {
        let (expiry, rest) = nonce.as_bytes().split_first_chunk::<4>().ok_or(NonceError::Unknown)?;
        let (random, mac) = rest.split_first_chunk::<12>().ok_or(NonceError::Unknown)?;
        constant_time::verify_slices_are_equal(&self.mac(*expiry, random), mac)
            .map_err(|_differ| NonceError::Unknown)?;
        let expires_at = Timestamp::from_unix(i64::from(u32::from_be_bytes(*expiry)));
        if now >= expires_at {
            return Err(NonceError::Expired { expired_at: expires_at });
        }
        Ok(LiveNonce { nonce: *nonce, expires_at })
    }

    fn mac(&self, expiry: [u8; 4], random: &[u8; 12]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(LABEL);
        context.update(&expiry);
        context.update(random);
        let tag = context.sign();
        let mut bytes = tag.as_ref().iter().copied();
        std::array::from_fn(|_| bytes.next().unwrap_or_default())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Coded, Nonce, NonceError, NonceKey, REMEMBERED, SpentNonces, Timestamp};

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn key(byte: u8) -> NonceKey {
        NonceKey::new(&[byte; 32])
    }

    #[test]
    fn the_newest_spent_nonces_are_remembered_and_their_number_is_bounded() {
        let spent = SpentNonces::default();
        let nonce = |number: usize| {
            let mut nonce = [0; 32];
            nonce[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
            nonce
        };
        for number in 0..=2 * REMEMBERED {
            assert!(!spent.contains(&nonce(number)));
            spent.insert(nonce(number));
        }
        assert!(!spent.contains(&nonce(0)));
        assert!(spent.contains(&nonce(REMEMBERED)));
        assert!(spent.contains(&nonce(2 * REMEMBERED)));
    }

    #[test]
    fn a_nonce_is_recognised_until_it_expires() {
        let expires_at = NOW.plus_seconds(300);
        let nonce = key(1).issue(expires_at).unwrap();
        assert_eq!(key(1).recognise(&nonce, NOW).unwrap().expires_at, expires_at);
        assert!(key(1).recognise(&nonce, NOW.plus_seconds(299)).is_ok());
        assert_eq!(key(1).recognise(&nonce, expires_at).unwrap_err(), NonceError::Expired { expired_at: expires_at });
    }

    #[test]
    fn any_flipped_bit_and_any_other_key_make_a_nonce_unknown() {
        let nonce = key(1).issue(NOW.plus_seconds(300)).unwrap();
        for bit in 0..256_usize {
            let mut bytes = nonce.0;
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            assert_eq!(key(1).recognise(&Nonce(bytes), NOW), Err(NonceError::Unknown), "bit {bit}");
        }
        assert_eq!(key(2).recognise(&nonce, NOW), Err(NonceError::Unknown));
    }

    #[test]
    fn nonces_differ_and_codes_are_stable() {
        let expires_at = NOW.plus_seconds(300);
        assert_ne!(key(1).issue(expires_at).unwrap(), key(1).issue(expires_at).unwrap());
        assert_eq!(NonceError::Replayed.code().as_str(), "binding.nonce.replayed");
        assert!(key(1).issue(Timestamp::from_unix(i64::from(u32::MAX) + 1)).is_err());
    }
}
