//! Proof that a request over a lease comes from the guest that the lease was given to.
//!
//! With the first answer a guest gets a lease key, sealed to its TEE key like every grant. Each later request carries a MAC
//! under that key over what is asked, the lease, a fresh nonce of the broker and the new TEE key: nothing that could be
//! used again goes over the wire, and it works with every kind of TEE key, also those that cannot sign.

use std::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use zeroize::Zeroizing;

use crate::{
    encoding::{decode, encode},
    secret::{SecretArray, SecretBytes},
};

/// What a guest asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaseAction {
    /// More time, on fresh evidence.
    Renew,
    /// The end.
    Release,
    /// The trust bundles that go with it.
    Bundles,
    /// How it stands.
    Watch,
}

impl LeaseAction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Renew => "renew",
            Self::Release => "release",
            Self::Bundles => "bundles",
            Self::Watch => "watch",
        }
    }
}

/// What a proof is about.
#[derive(Debug, Clone, Copy)]
pub struct LeaseClaim<'a> {
    /// What is asked for.
    pub action: LeaseAction,
    /// The lease's id.
    pub lease: &'a str,
    /// The broker's nonce, 32 bytes.
    pub nonce: &'a [u8; 32],
    /// Thumbprint of the TEE key that new grants are sealed to; empty when there are none.
    pub tee_key: &'a str,
}

/// The key that a guest proves its leases with.
pub struct LeaseKey(SecretArray<32>);

impl fmt::Debug for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseKey")
    }
}

impl LeaseKey {
    /// The key of `guest`, from the key that all brokers of one store share.
    #[must_use]
    pub fn derive(shared: &SecretArray<32>, guest: &str) -> Self {
        let shared = hmac::Key::new(HMAC_SHA256, shared.as_slice());
        Self(Zeroizing::new(tag(&shared, &[b"countersign lease key v1", guest.as_bytes()])))
    }

    /// The key as it was opened from the broker's answer; `None` when it is not 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &SecretBytes) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.expose().try_into().ok()?)))
    }

    /// The 32 bytes, to be sealed.
    #[must_use]
    pub fn to_bytes(&self) -> SecretBytes {
        SecretBytes::new(self.0.to_vec())
    }

    /// The proof of `claim`: base64url of an HMAC-SHA-256.
    #[must_use]
    pub fn prove(&self, claim: &LeaseClaim<'_>) -> String {
        encode(tag(&self.key(), &claim.parts()))
    }

    /// Whether `proof` is of `claim` under this key, in constant time.
    #[must_use]
    pub fn proves(&self, claim: &LeaseClaim<'_>, proof: &str) -> bool {
        decode(proof).is_some_and(|proof| hmac::verify(&self.key(), &message(&claim.parts()), &proof).is_ok())
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(HMAC_SHA256, self.0.as_slice())
    }
}

impl LeaseClaim<'_> {
    fn parts(&self) -> [&[u8]; 5] {
        [
            b"countersign lease proof v1",
            self.action.as_str().as_bytes(),
            self.lease.as_bytes(),
            self.nonce.as_slice(),
            self.tee_key.as_bytes(),
        ]
    }
}

/// Each part with its length before it, so that two different lists never have the same bytes.
fn message(parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::new();
    for part in parts {
        message.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        message.extend(*part);
    }
    message
}

fn tag(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let tag = hmac::sign(key, &message(parts));
    let mut bytes = tag.as_ref().iter().copied();
    std::array::from_fn(|_| bytes.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: LeaseClaim<'static> =
        LeaseClaim { action: LeaseAction::Renew, lease: "l1", nonce: &[7; 32], tee_key: "thumb" };

    fn key(guest: &str) -> LeaseKey {
        LeaseKey::derive(&Zeroizing::new([1; 32]), guest)
    }

    #[test]
    fn a_proof_is_of_one_claim_under_one_key() {
        let proof = key("g1").prove(&CLAIM);
        assert!(key("g1").proves(&CLAIM, &proof));
        assert!(!key("g2").proves(&CLAIM, &proof));
        let others = [
            LeaseClaim { action: LeaseAction::Release, ..CLAIM },
            LeaseClaim { action: LeaseAction::Bundles, ..CLAIM },
            LeaseClaim { action: LeaseAction::Watch, ..CLAIM },
            LeaseClaim { lease: "l2", ..CLAIM },
            LeaseClaim { nonce: &[8; 32], ..CLAIM },
            LeaseClaim { tee_key: "", ..CLAIM },
            LeaseClaim { lease: "l1t", tee_key: "humb", ..CLAIM },
        ];
        for other in others {
            assert!(!key("g1").proves(&other, &proof), "{other:?}");
        }
        for wrong in ["", "AA", "!", &proof[1..]] {
            assert!(!key("g1").proves(&CLAIM, wrong), "{wrong}");
        }
    }

    #[test]
    fn a_key_travels_as_its_32_bytes() {
        let again = LeaseKey::from_bytes(&key("g1").to_bytes());
        assert!(again.is_some_and(|again| again.proves(&CLAIM, &key("g1").prove(&CLAIM))));
        assert!(LeaseKey::from_bytes(&SecretBytes::new(vec![0; 31])).is_none());
    }
}
