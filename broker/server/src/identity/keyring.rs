//! The keys that sign tokens and certificates, by purpose, with overlap when they are changed.
//!
//! A new key is published at once and signs after [`AHEAD`], so that relying parties that keep a key set for a while know
//! it by then. A key that no longer signs stays published until all that it signed is over. All of it follows from the
//! stored times, so every broker of a store comes to the same answer without talking to another.

use std::{fmt, sync::Arc};

use anyhow::{Context, Result};
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use axum::body::Bytes;
use keys::{
    random::SystemRandom,
    secret::SecretBytes,
    sign::{Jwks, KeyUse, SignatureAlgorithm, Signer, SigningKey, x509_authority},
};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;
use verifier::Timestamp;

use super::Ca;
use crate::{store::KeyPurpose, vault::Vault};

/// Seconds that a key is published before it signs: longer than anybody keeps `/.well-known/jwks.json`.
const AHEAD: i64 = 330;
/// Seconds that a key stays published after its successor signs: longer than anything that it signed holds.
const OVERLAP: i64 = 3600 + 600;
/// Seconds after which relying parties ask for the bundle again.
const REFRESH: u32 = 300;

/// A key in memory.
enum Material {
    Token(Arc<dyn Signer>),
    Ca(Arc<Ca>),
}

struct RingKey {
    id: String,
    purpose: KeyPurpose,
    created_at: Timestamp,
    active_at: Timestamp,
    material: Material,
}

/// How a key stands.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KeyState {
    id: String,
    purpose: &'static str,
    algorithm: &'static str,
    /// `next`, `signing`, `published` (verifies what it signed before) or `over`.
    state: &'static str,
    created_at: Timestamp,
    active_at: Timestamp,
}

/// Every key that is not retired, and what is published of them at one moment.
pub(crate) struct KeyRing {
    keys: Vec<RingKey>,
    at: Timestamp,
    /// `/.well-known/jwks.json`
    pub(crate) jwks: Bytes,
    /// `/.well-known/spiffe-bundle`
    pub(crate) bundle: Bytes,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.keys.len())
    }
}

/// The algorithm of the keys of a purpose that signs tokens.
const fn algorithm(purpose: KeyPurpose) -> Option<SignatureAlgorithm> {
    match purpose {
        KeyPurpose::AttestationResult | KeyPurpose::TokenEs256 | KeyPurpose::JwtSvid => Some(SignatureAlgorithm::Es256),
        KeyPurpose::TokenRs256 => Some(SignatureAlgorithm::Rs256),
        KeyPurpose::X509Ca | KeyPurpose::Nonce | KeyPurpose::Lease => None,
    }
}

/// Stores a new key of `purpose`, which signs from `active_at` on; its id.
pub(crate) async fn add_key(
    vault: &Vault,
    purpose: KeyPurpose,
    now: Timestamp,
    active_at: Timestamp,
) -> Result<String> {
    let (id, key) = match algorithm(purpose) {
        Some(SignatureAlgorithm::Rs256) => {
            let pair = KeyPair::generate(KeySize::Rsa2048).context("an RSA key cannot be made")?;
            let document: Pkcs8V1Der<'_> = pair.as_der().context("an RSA key cannot be encoded")?;
            let document = SecretBytes::new(document.as_ref().to_vec());
            let key = SigningKey::from_pkcs8(SignatureAlgorithm::Rs256, &document)?;
            (key.verifying_key().key_id().to_string(), document)
        }
        Some(algorithm) => {
            let key = SigningKey::generate(algorithm, &mut SystemRandom::new())?;
            (key.verifying_key().key_id().to_string(), key.to_pkcs8()?)
        }
        None => {
            let id = Uuid::new_v4().to_string();
            let name = format!("Countersign workload CA {}", id.get(..8).unwrap_or_default());
            (id, Ca::generate(&name, now)?)
        }
    };
    vault.put_key(purpose, &id, &key, now, active_at).await?;
    Ok(id)
}

/// Makes the first key of every purpose that has none: in a new store, or in one of an older version. When two brokers do
/// it at the same time there are two keys, which does no harm.
pub(crate) async fn ensure_keys(vault: &Vault, now: Timestamp) -> Result<()> {
    for purpose in KeyPurpose::SIGNING {
        if vault.keys(purpose).await?.is_empty() {
            add_key(vault, purpose, now, now).await?;
        }
    }
    Ok(())
}

/// When a key that is made now begins to sign.
pub(crate) fn signs_from(now: Timestamp, at_once: bool) -> Timestamp {
    if at_once { now } else { now.plus_seconds(AHEAD) }
}

impl KeyRing {
    /// Opens every key.
    pub(crate) async fn load(vault: &Vault, now: Timestamp) -> Result<Self> {
        let mut keys = Vec::new();
        for purpose in KeyPurpose::SIGNING {
            for (key, opened) in vault.keys(purpose).await? {
                let unreadable = || format!("signing key {}", key.id);
                let material = match algorithm(purpose) {
                    Some(algorithm) => {
                        Material::Token(Arc::new(SigningKey::from_pkcs8(algorithm, &opened).with_context(unreadable)?))
                    }
                    None => Material::Ca(Arc::new(Ca::read(&opened).with_context(unreadable)?)),
                };
                let (created_at, active_at) = (key.created_at, key.active_at);
                keys.push(RingKey { id: key.id, purpose, created_at, active_at, material });
            }
        }
        // Newest first, so that the first of a purpose that is active signs.
        keys.sort_by(|a, b| (b.active_at, &b.id).cmp(&(a.active_at, &a.id)));
        let mut ring = Self { keys, at: now, jwks: Bytes::new(), bundle: Bytes::new() };
        ring.jwks = serde_json::to_vec(&Jwks::new(ring.tokens(&[
            KeyPurpose::AttestationResult,
            KeyPurpose::TokenRs256,
            KeyPurpose::TokenEs256,
        ])))?
        .into();
        ring.bundle = serde_json::to_vec(&ring.bundle())?.into();
        Ok(ring)
    }

    /// The key that signs tokens of `purpose`.
    pub(crate) fn signer(&self, purpose: KeyPurpose) -> Option<&Arc<dyn Signer>> {
        match &self.signing(purpose)?.material {
            Material::Token(signer) => Some(signer),
            Material::Ca(_) => None,
        }
    }

    /// The CA that issues SVIDs.
    pub(crate) fn ca(&self) -> Option<&Arc<Ca>> {
        match &self.signing(KeyPurpose::X509Ca)?.material {
            Material::Ca(ca) => Some(ca),
            Material::Token(_) => None,
        }
    }

    /// The certificates of every CA that is published, DER.
    pub(crate) fn authorities(&self) -> impl Iterator<Item = &[u8]> {
        self.published(KeyPurpose::X509Ca).filter_map(|key| match &key.material {
            Material::Ca(ca) => Some(ca.certificate()),
            Material::Token(_) => None,
        })
    }

    /// How every key stands.
    pub(crate) fn states(&self) -> Vec<KeyState> {
        let state = |key: &RingKey| match self.signing(key.purpose) {
            Some(signing) if signing.id == key.id => "signing",
            _ if key.active_at > self.at => "next",
            _ if self.is_published(key) => "published",
            _ => "over",
        };
        let state_of = |key: &RingKey| KeyState {
            id: key.id.clone(),
            purpose: key.purpose.as_str(),
            algorithm: algorithm(key.purpose).map_or("X.509", SignatureAlgorithm::as_str),
            state: state(key),
            created_at: key.created_at,
            active_at: key.active_at,
        };
        let mut states: Vec<_> = self.keys.iter().map(state_of).collect();
        states.sort_by_key(|state| state.purpose);
        states
    }

    fn signing(&self, purpose: KeyPurpose) -> Option<&RingKey> {
        self.keys.iter().find(|key| key.purpose == purpose && key.active_at <= self.at)
    }

    /// A key is published from the start until [`OVERLAP`] after the next newer one began to sign.
    fn is_published(&self, key: &RingKey) -> bool {
        self.over_at(key).is_none_or(|over| over > self.at)
    }

    fn over_at(&self, key: &RingKey) -> Option<Timestamp> {
        let newer =
            |other: &&RingKey| other.purpose == key.purpose && (other.active_at, &other.id) > (key.active_at, &key.id);
        let successor = self.keys.iter().filter(newer).map(|other| other.active_at).min();
        successor.map(|began| began.plus_seconds(OVERLAP))
    }

    fn published(&self, purpose: KeyPurpose) -> impl Iterator<Item = &RingKey> {
        self.keys.iter().filter(move |key| key.purpose == purpose && self.is_published(key))
    }

    fn tokens(&self, purposes: &[KeyPurpose]) -> Vec<keys::sign::VerifyingKey> {
        let published = purposes.iter().flat_map(|purpose| self.published(*purpose));
        published
            .filter_map(|key| match &key.material {
                Material::Token(signer) => Some(signer.verifying_key().clone()),
                Material::Ca(_) => None,
            })
            .collect()
    }

    /// The SPIFFE bundle (SPIFFE Trust Domain and Bundle §4). Its sequence number is the time of its last change.
    fn bundle(&self) -> serde_json::Value {
        let authorities = self.published(KeyPurpose::X509Ca).filter_map(|key| match &key.material {
            Material::Ca(ca) => x509_authority(ca.point(), ca.certificate()),
            Material::Token(_) => None,
        });
        let tokens = self.tokens(&[KeyPurpose::JwtSvid]).into_iter();
        let tokens = tokens.filter_map(|key| serde_json::to_value(key.published_for(KeyUse::JwtSvid)).ok());
        let keys: Vec<_> = authorities.chain(tokens).collect();
        let of_bundle = |key: &&RingKey| matches!(key.purpose, KeyPurpose::X509Ca | KeyPurpose::JwtSvid);
        let added = self.keys.iter().filter(of_bundle).map(|key| key.created_at);
        let dropped = self.keys.iter().filter(of_bundle).filter_map(|key| self.over_at(key));
        let changed = added.chain(dropped).filter(|at| *at <= self.at).max().unwrap_or(self.at);
        json!({"keys": keys, "spiffe_sequence": changed.as_unix(), "spiffe_refresh_hint": REFRESH})
    }
}
