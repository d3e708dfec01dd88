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
    sign::{AuthorityKey, Jwks, KeyUse, SignatureAlgorithm, Signer, SigningKey, x509_authority},
    ssh::SshPublicKey,
};
use serde::Serialize;
use serde_json::{json, value::RawValue};
use uuid::Uuid;
use verifier::{
    Timestamp,
    x509::{Certificate, PublicKey},
};

use super::{AuthorityTerms, Ca, Succession, ca::certificate_pem};
use crate::{
    store::{KeyPurpose, KeyTimes},
    vault::Vault,
};

/// Seconds that a key is published before it signs: longer than anybody keeps `/.well-known/jwks.json`.
const AHEAD: i64 = 330;
/// Seconds that a key stays published after its successor signs: longer than anything that it signed holds.
const OVERLAP: i64 = 3600 + 600;
/// Longest time, in seconds, after which relying parties ask for the bundle again: shorter than [`AHEAD`].
pub(crate) const LONGEST_REFRESH: u32 = 300;
/// Changes of the bundle within one second that its sequence number tells apart.
const CHANGES: i64 = 1000;

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
    /// CAs only: when its certificate ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<Timestamp>,
}

/// Every key that is not retired, and what is published of them at one moment.
pub(crate) struct KeyRing {
    keys: Vec<RingKey>,
    at: Timestamp,
    /// `/.well-known/jwks.json`
    pub(crate) jwks: Bytes,
    /// `/.well-known/spiffe-bundle`
    pub(crate) bundle: Bytes,
    /// The same, to stand in an answer.
    pub(crate) bundle_document: Box<RawValue>,
    /// The CAs of the bundle, PEM.
    pub(crate) bundle_pem: String,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.keys.len())
    }
}

/// The algorithm of the keys of a purpose that signs tokens.
const fn algorithm(purpose: KeyPurpose) -> Option<SignatureAlgorithm> {
    match purpose {
        KeyPurpose::AttestationResult
        | KeyPurpose::TokenEs256
        | KeyPurpose::JwtSvid
        | KeyPurpose::SshUserCa
        | KeyPurpose::SshHostCa
        | KeyPurpose::AuditCheckpoint => Some(SignatureAlgorithm::Es256),
        KeyPurpose::TokenRs256 => Some(SignatureAlgorithm::Rs256),
        KeyPurpose::X509Ca | KeyPurpose::Nonce | KeyPurpose::Lease | KeyPurpose::DatabasePassword => None,
    }
}

/// A new key of `purpose`: its id, and what is stored of it.
fn make_key(purpose: KeyPurpose, terms: Option<&AuthorityTerms>, now: Timestamp) -> Result<(String, SecretBytes)> {
    Ok(match algorithm(purpose) {
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
            (id, Ca::generate(&name, terms.context("expected the terms of a CA")?, now)?)
        }
    })
}

/// Stores a new key of `purpose`, which signs from `active_at` on; its id.
pub(crate) async fn add_key(
    vault: &Vault,
    purpose: KeyPurpose,
    terms: Option<&AuthorityTerms>,
    now: Timestamp,
    active_at: Timestamp,
) -> Result<String> {
    let (id, key) = make_key(purpose, terms, now)?;
    vault.put_key(purpose, &id, &key, now, active_at).await?;
    Ok(id)
}

/// Makes the first key of every purpose that has none: in a new store, or in one of an older version. When two brokers do
/// it at the same time there are two keys, which does no harm. Without `terms` no CA is made.
pub(crate) async fn ensure_keys(vault: &Vault, terms: Option<&AuthorityTerms>, now: Timestamp) -> Result<()> {
    for purpose in KeyPurpose::SIGNING {
        if (terms.is_some() || purpose != KeyPurpose::X509Ca) && vault.keys(purpose).await?.is_empty() {
            add_key(vault, purpose, terms, now, now).await?;
        }
    }
    Ok(())
}

/// Makes the successor of the newest CA when it is due; what was done, for the log.
pub(crate) async fn succeed(
    vault: &Vault,
    keyring: &KeyRing,
    terms: &AuthorityTerms,
    now: Timestamp,
) -> Result<Succession> {
    let Some((newest, ca)) = keyring.newest_ca() else { return Ok(Succession::NotDue) };
    let due = terms.succession(ca, newest.active_at, now);
    let active_at = match due {
        Succession::Ahead(_) => signs_from(now, false),
        Succession::AtOnce(_) => signs_from(now, true),
        Succession::NotDue | Succession::Impossible(_) => return Ok(due),
    };
    let (id, key) = make_key(KeyPurpose::X509Ca, Some(terms), now)?;
    if !vault.put_successor(KeyPurpose::X509Ca, (&id, &key), &newest.id, now, active_at).await? {
        // Another broker was first.
        return Ok(Succession::NotDue);
    }
    if matches!(due, Succession::AtOnce(_)) {
        vault.retire_keys(KeyPurpose::X509Ca, &id, now).await?;
    }
    Ok(due)
}

/// When a key that is made now begins to sign.
pub(crate) fn signs_from(now: Timestamp, at_once: bool) -> Timestamp {
    if at_once { now } else { now.plus_seconds(AHEAD) }
}

impl KeyRing {
    /// Opens every key.
    ///
    /// `refresh_seconds` says how often relying parties ask for the bundle.
    pub(crate) async fn load(vault: &Vault, refresh_seconds: u32, now: Timestamp) -> Result<Self> {
        let mut keys = Vec::new();
        let mut times = Vec::new();
        for purpose in [KeyPurpose::X509Ca, KeyPurpose::JwtSvid] {
            times.extend(vault.key_times(purpose).await?);
        }
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
        let mut ring = Self {
            keys,
            at: now,
            jwks: Bytes::new(),
            bundle: Bytes::new(),
            bundle_document: RawValue::NULL.to_owned(),
            bundle_pem: String::new(),
        };
        ring.jwks = serde_json::to_vec(&Jwks::new(ring.tokens(&[
            KeyPurpose::AttestationResult,
            KeyPurpose::TokenRs256,
            KeyPurpose::TokenEs256,
            // JWT-SVIDs have the issuer of the discovery document: who has nothing else verifies them with this set.
            KeyPurpose::JwtSvid,
        ])))?
        .into();
        let bundle = serde_json::to_string(&ring.bundle(refresh_seconds, &times))?;
        ring.bundle_document = RawValue::from_string(bundle.clone())?;
        ring.bundle = bundle.into();
        ring.bundle_pem = ring.authorities().map(certificate_pem).collect();
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
        self.ca_with_id().map(|(_, ca)| ca)
    }

    /// The same, and its id.
    pub(crate) fn ca_with_id(&self) -> Option<(&str, &Arc<Ca>)> {
        let key = self.signing(KeyPurpose::X509Ca)?;
        match &key.material {
            Material::Ca(ca) => Some((&key.id, ca)),
            Material::Token(_) => None,
        }
    }

    /// Every published CA with its id: what it issued may still verify.
    pub(crate) fn published_cas(&self) -> impl Iterator<Item = (&str, &Arc<Ca>)> {
        self.published(KeyPurpose::X509Ca).filter_map(|key| match &key.material {
            Material::Ca(ca) => Some((key.id.as_str(), ca)),
            Material::Token(_) => None,
        })
    }

    /// The newest CA, whether it signs already or not.
    fn newest_ca(&self) -> Option<(&RingKey, &Ca)> {
        // Keys are sorted, newest first.
        self.keys.iter().find_map(|key| match &key.material {
            Material::Ca(ca) => Some((key, &**ca)),
            Material::Token(_) => None,
        })
    }

    /// What verifies X.509-SVIDs, DER: each published CA or its upstream's roots, each once.
    pub(crate) fn authorities(&self) -> impl Iterator<Item = &[u8]> {
        let mut anchors: Vec<&[u8]> = Vec::new();
        for key in self.published(KeyPurpose::X509Ca) {
            if let Material::Ca(ca) = &key.material {
                let new = |der: &&[u8]| !anchors.contains(der);
                let new: Vec<_> = ca.anchors().filter(new).collect();
                anchors.extend(new);
            }
        }
        anchors.into_iter()
    }

    /// The published keys of these purposes, to verify what they signed.
    pub(crate) fn verification(&self, purposes: &[KeyPurpose]) -> Jwks {
        Jwks::new(self.tokens(purposes))
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
            ends_at: match &key.material {
                Material::Ca(ca) => Some(ca.validity().not_after),
                Material::Token(_) => None,
            },
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

    /// The published public keys of CAs for SSH.
    pub(crate) fn ssh_authorities(&self, purpose: KeyPurpose) -> Vec<SshPublicKey> {
        self.tokens(&[purpose]).iter().filter_map(SshPublicKey::of_signer).collect()
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

    /// The SPIFFE bundle (SPIFFE Trust Domain and Bundle §4).
    fn bundle(&self, refresh_seconds: u32, times: &[KeyTimes]) -> serde_json::Value {
        let authorities = self.authorities().filter_map(authority);
        let tokens = self.tokens(&[KeyPurpose::JwtSvid]).into_iter();
        let tokens = tokens.filter_map(|key| serde_json::to_value(key.published_for(KeyUse::JwtSvid)).ok());
        let keys: Vec<_> = authorities.chain(tokens).collect();
        json!({"keys": keys, "spiffe_sequence": self.sequence(times), "spiffe_refresh_hint": refresh_seconds})
    }

    /// The time of the bundle's last change, and how many there were: it rises with every change, also with two in one
    /// second, and every broker of a store finds the same. `times` are those of all keys, retired ones included.
    fn sequence(&self, times: &[KeyTimes]) -> i64 {
        let of_bundle = |key: &&RingKey| matches!(key.purpose, KeyPurpose::X509Ca | KeyPurpose::JwtSvid);
        let over = self.keys.iter().filter(of_bundle).filter_map(|key| self.over_at(key)).filter(|at| *at <= self.at);
        let made = times.iter().map(|key| key.created_at);
        let retired = times.iter().filter_map(|key| key.retired_at);
        let changes: Vec<_> = made.chain(retired).chain(over).map(Timestamp::as_unix).collect();
        let count = i64::try_from(changes.len()).unwrap_or(i64::MAX).checked_rem(CHANGES).unwrap_or(0);
        let last = changes.into_iter().max().unwrap_or(self.at.as_unix());
        last.saturating_mul(CHANGES).saturating_add(count)
    }
}

/// A CA of the bundle.
fn authority(der: &[u8]) -> Option<serde_json::Value> {
    let certificate = Certificate::parse_der(der).ok()?;
    let key = match certificate.public_key() {
        PublicKey::P256(point) => AuthorityKey::Point(SignatureAlgorithm::Es256, point),
        PublicKey::P384(point) => AuthorityKey::Point(SignatureAlgorithm::Es384, point),
        PublicKey::Rsa { modulus, exponent } => AuthorityKey::Rsa { modulus, exponent },
    };
    x509_authority(&key, der)
}

#[cfg(test)]
mod tests;
