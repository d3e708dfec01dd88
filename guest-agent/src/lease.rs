//! What this guest holds of the broker: opened and renewed on fresh evidence, looked after, and given back.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use evidence_formats::binding::Nonce;
use hyper::Method;
use keys::{
    grant::GrantPayload,
    lease::{LeaseAction, LeaseKey},
    seal::Sealed,
    secret::SecretBytes,
    tee_key::TeeKeyPair,
};
use serde::{Deserialize, Serialize};

use crate::{
    backoff::Backoff,
    connection::Connection,
    exchange::{Attempt, Exchange, Presentation, Presented, Renewal, Wanted, authorization},
    failure::{Failure, Refusal},
    life::Life,
    protocol::{CHALLENGE, Challenge, ChallengeRequest, Ended, GrantResponse, Lease, Standing, TrustBundles},
    result,
    svid::{PendingKey, X509Svid},
};

/// The name inside of a sealed lease key.
const LEASE_KEY: &str = "lease-key";
/// Longest time for asking for bundles.
const ASKING: Duration = Duration::from_secs(30);
/// Most grants of one attestation.
pub(crate) const GRANTS: usize = 16;

/// One thing that a guest wants to hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Want {
    /// A stored secret.
    Secret {
        /// Its name.
        name: String,
    },
    /// A token for another system.
    Token {
        /// Name of the broker's entry.
        name: String,
    },
    /// A SPIFFE identity as a token.
    JwtSvid {
        /// Name of the broker's entry.
        name: String,
        /// For whom.
        audience: String,
    },
    /// A SPIFFE identity as a certificate.
    #[serde(rename = "x509-svid")]
    X509Svid {
        /// Name of the broker's entry.
        name: String,
    },
    /// A role of a database.
    Postgres {
        /// Name of the broker's entry.
        name: String,
    },
    /// An SSH certificate.
    SshCert {
        /// Name of the broker's entry.
        name: String,
        /// The public key, a line.
        public_key: String,
        /// Where the private key is; the certificate is written beside it.
        key: PathBuf,
    },
}

impl Want {
    /// The name that the broker knows it by.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Secret { name }
            | Self::Token { name }
            | Self::JwtSvid { name, .. }
            | Self::X509Svid { name }
            | Self::Postgres { name }
            | Self::SshCert { name, .. } => name,
        }
    }

    fn wanted<'a>(&'a self, key: Option<&'a PendingKey>) -> Wanted<'a> {
        let of = |kind| Wanted::of(kind, self.name());
        match self {
            Self::Secret { .. } => of("secret"),
            Self::Token { .. } => of("token"),
            Self::JwtSvid { audience, .. } => Wanted { audience: Some(audience), ..of("jwt-svid") },
            Self::X509Svid { .. } => Wanted { csr: key.map(PendingKey::csr), ..of("x509-svid") },
            Self::Postgres { .. } => of("postgres"),
            Self::SshCert { public_key, .. } => Wanted { public_key: Some(public_key), ..of("ssh-cert") },
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { name } => write!(f, "secret {name}"),
            Self::Token { name } => write!(f, "token {name}"),
            Self::JwtSvid { name, audience } => write!(f, "jwt-svid {name} for {audience}"),
            Self::X509Svid { name } => write!(f, "x509-svid {name}"),
            Self::Postgres { name } => write!(f, "postgres {name}"),
            Self::SshCert { name, .. } => write!(f, "ssh-cert {name}"),
        }
    }
}

/// What was given.
pub(crate) enum Given {
    /// A secret or a token.
    Value(SecretBytes),
    /// A certificate with its key.
    X509(Box<X509Svid>),
}

/// Everything of one answer.
pub(crate) struct Issue {
    /// The leases.
    pub(crate) session: Session,
    /// What they are of.
    pub(crate) given: Vec<(Want, Given, Life)>,
    /// What the policy does not give.
    pub(crate) denied: Vec<(Want, Refusal)>,
}

/// The leases of one attestation, and the key that proves them.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Id of the first attestation, and of the lease of its result.
    guest: String,
    key: Arc<LeaseKey>,
    held: BTreeMap<Want, String>,
}

/// The same as it is kept in a file of mode 0600.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    guest: String,
    /// Base64url.
    key: SecretText,
    /// Each with its id.
    leases: Vec<(String, Want)>,
}

/// Wiped when it is dropped.
type SecretText = zeroize::Zeroizing<String>;

impl Session {
    /// Attests for `wants`, at most [`GRANTS`], and opens a lease for each that is given.
    pub(crate) async fn open(exchange: &Exchange, wants: &[Want], time: &Backoff) -> Result<Issue, Attempt> {
        let keys = pending_keys(wants)?;
        let ids: Vec<String> = (0..wants.len()).map(|place| format!("g{place}")).collect();
        let grants: Vec<_> =
            wants.iter().zip(&ids).map(|(want, id)| want.wanted(keys.get(want)).as_request(id)).collect();
        let what = Presentation { grants: &grants, renewable: true, ..Presentation::default() };
        let presented = exchange.present(what, time).await?;
        let sealed = presented.response.lease_key.as_ref();
        let sealed = sealed.ok_or(Failure::Answer { expected: "the key of the leases" })?;
        let key = LeaseKey::from_bytes(&open(sealed, &presented.key, LEASE_KEY)?);
        let key = key.ok_or(Failure::Answer { expected: "the key of the leases" })?;
        let guest = presented.response.attestation_id.clone();
        if !is_plain(&guest) {
            return Err(Failure::Answer { expected: "the id of an attestation" }.into());
        }
        let named = wants.iter().cloned().zip(ids).collect();
        Self { guest, key: Arc::new(key), held: BTreeMap::new() }.issue(&presented, named, &keys)
    }

    /// Renews everything on fresh evidence.
    pub(crate) async fn renew(&self, exchange: &Exchange, time: &Backoff) -> Result<Issue, Attempt> {
        let wants: Vec<Want> = self.held.keys().cloned().collect();
        let keys = pending_keys(&wants)?;
        let grants: Vec<_> = self.held.iter().map(|(want, id)| want.wanted(keys.get(want)).as_request(id)).collect();
        let renewal = Some(Renewal { lease: &self.guest, key: &self.key });
        let what = Presentation { grants: &grants, renewal, ..Presentation::default() };
        let presented = exchange.present(what, time).await?;
        let named = self.held.iter().map(|(want, id)| (want.clone(), id.clone())).collect();
        Self { held: BTreeMap::new(), ..self.clone() }.issue(&presented, named, &keys)
    }

    /// Reads the answer: which want has which name in it is in `named`.
    fn issue(
        mut self,
        presented: &Presented,
        named: Vec<(Want, String)>,
        keys: &BTreeMap<Want, PendingKey>,
    ) -> Result<Issue, Attempt> {
        let response = &presented.response;
        let issued_at = result::issued_at(&response.result);
        let issued_at = issued_at.ok_or(Failure::Answer { expected: "an attestation result with a date" })?;
        let (mut given, mut denied) = (Vec::new(), Vec::new());
        for (want, id) in named {
            if let Some(grant) = response.grants.iter().find(|grant| grant.id == id) {
                let value = read(&want, grant, &presented.key, keys)?;
                let life = Life::new(presented.asked_at, issued_at, &grant.lease.expires_at);
                let life = life.ok_or(Failure::Answer { expected: "the end of a lease" })?;
                if !is_plain(&grant.lease.id) {
                    return Err(Failure::Answer { expected: "the id of a lease" }.into());
                }
                self.held.insert(want.clone(), grant.lease.id.clone());
                given.push((want, value, life));
            } else {
                let refusal = response.denied.iter().find(|denied| denied.id == id);
                let refusal = refusal.ok_or(Failure::Answer { expected: "a grant or a reason why not" })?;
                let refusal = Refusal {
                    code: refusal.code.clone(),
                    detail: None,
                    reasons: refusal.reasons.clone(),
                    decision: Some(response.attestation_id.clone()),
                };
                denied.push((want, refusal));
            }
        }
        Ok(Issue { session: self, given, denied })
    }

    /// What it holds.
    pub(crate) fn wants(&self) -> impl Iterator<Item = &Want> {
        self.held.keys()
    }

    /// Whether it is the same one, however often it was renewed.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.guest == other.guest
    }

    /// Whether every lease of it is among `open`.
    pub(crate) fn is_whole(&self, open: &[Lease]) -> bool {
        self.held.values().all(|id| open.iter().any(|lease| lease.id == *id))
    }

    /// Drops everything whose lease is not among `open`; what is dropped.
    pub(crate) fn keep_only(&mut self, open: &[Lease]) -> Vec<Want> {
        let ended = |id: &String| !open.iter().any(|lease| lease.id == *id);
        let gone: Vec<Want> = self.held.iter().filter(|(_, id)| ended(id)).map(|(want, _)| want.clone()).collect();
        self.held.retain(|_, id| !ended(id));
        gone
    }

    /// The leases that are open: as soon as it is another number than we know, or after `wait`.
    pub(crate) async fn standing(
        &self,
        connection: &mut Connection,
        nonce: &Nonce,
        wait: Duration,
    ) -> Result<Standing, Attempt> {
        let proof = authorization(&self.key, LeaseAction::Watch, &self.guest, nonce, "");
        // Beside those of the grants there is the one of the result.
        let open = self.held.len().saturating_add(1);
        let path = format!("/v1/leases/{}?open={open}&wait={}", self.guest, wait.as_secs());
        let left = wait.saturating_add(Duration::from_secs(10));
        Ok(connection.call(Method::GET, Some(&proof), &path, left).await?)
    }

    /// The trust bundles that go with the SPIFFE identities among the leases, as they are now.
    pub(crate) async fn bundles(&self, connection: &mut Connection, nonce: &Nonce) -> Result<TrustBundles, Attempt> {
        let proof = authorization(&self.key, LeaseAction::Bundles, &self.guest, nonce, "");
        let path = format!("/v1/leases/{}/bundles", self.guest);
        Ok(connection.call(Method::GET, Some(&proof), &path, ASKING).await?)
    }

    /// Gives everything back; how many leases ended.
    pub(crate) async fn release(&self, exchange: &Exchange, time: &Backoff) -> Result<u64, Attempt> {
        let mut connection = exchange.connect(time).await?;
        let Challenge { nonce } = connection.post(CHALLENGE, &ChallengeRequest {}, time.left()).await?;
        let proof = authorization(&self.key, LeaseAction::Release, &self.guest, &nonce, "");
        let path = format!("/v1/leases/{}", self.guest);
        let Ended { ended } = connection.call(Method::DELETE, Some(&proof), &path, time.left()).await?;
        Ok(ended)
    }

    /// As JSON, with the key: for a file of mode 0600.
    pub(crate) fn to_json(&self) -> Result<SecretBytes, Failure> {
        let leases = self.held.iter().map(|(want, id)| (id.clone(), want.clone()));
        let key = SecretText::new(BASE64_URL_SAFE_NO_PAD.encode(self.key.to_bytes().expose()));
        let stored = Stored { guest: self.guest.clone(), key, leases: leases.collect() };
        let json = serde_json::to_vec(&stored);
        Ok(SecretBytes::new(json.map_err(|error| Failure::Make { what: "JSON", reason: error.to_string() })?))
    }

    /// Reads what [`Session::to_json`] wrote.
    pub(crate) fn parse(json: &SecretBytes) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(json.expose()).ok()?;
        let key = LeaseKey::from_bytes(&SecretBytes::new(BASE64_URL_SAFE_NO_PAD.decode(&*stored.key).ok()?))?;
        let plain = is_plain(&stored.guest) && stored.leases.iter().all(|(id, _)| is_plain(id));
        let held = stored.leases.into_iter().map(|(id, want)| (want, id)).collect();
        plain.then_some(Self { guest: stored.guest, key: Arc::new(key), held })
    }
}

/// A key for each certificate that is wanted.
fn pending_keys(wants: &[Want]) -> Result<BTreeMap<Want, PendingKey>, Failure> {
    let certified = wants.iter().filter(|want| matches!(want, Want::X509Svid { .. }));
    certified.map(|want| Ok((want.clone(), PendingKey::new()?))).collect()
}

fn read(
    want: &Want,
    grant: &GrantResponse,
    tee_key: &TeeKeyPair,
    keys: &BTreeMap<Want, PendingKey>,
) -> Result<Given, Failure> {
    let value = open(&grant.sealed, tee_key, want.name())?;
    match keys.get(want) {
        Some(key) => Ok(Given::X509(Box::new(key.certified(&value)?))),
        None => Ok(Given::Value(value)),
    }
}

/// Opens what was sealed to our key, which must be the grant called `name`.
fn open(sealed: &Sealed, key: &TeeKeyPair, name: &str) -> Result<SecretBytes, Failure> {
    let plaintext = key.open(sealed).map_err(|_unopened| Failure::Answer { expected: "a grant sealed to our key" })?;
    let payload = GrantPayload::parse(&plaintext).ok().filter(|payload| payload.grant == name);
    payload.map(|payload| payload.value).ok_or(Failure::Answer { expected: "the grant that was asked for" })
}

/// What may stand in a path as it is.
pub(crate) fn is_plain(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use keys::{jwk::TeeKeyType, random::SystemRandom, seal::seal};

    use super::*;

    #[test]
    fn what_is_opened_is_what_was_asked_for() {
        let mut random = SystemRandom::new();
        let key = TeeKeyPair::generate(TeeKeyType::X25519, &mut random).unwrap();
        let value = SecretBytes::new(b"secret".to_vec());
        let payload = GrantPayload { grant: "disk".to_owned(), version: 1, value, offline: None };
        let sealed = seal(&payload.to_plaintext(), key.public(), &mut random).unwrap();
        assert!(open(&sealed, &key, "disk").is_ok_and(|value| value.expose() == b"secret"));
        assert!(open(&sealed, &key, "another").is_err());
        let other = TeeKeyPair::generate(TeeKeyType::X25519, &mut random).unwrap();
        assert!(open(&sealed, &other, "disk").is_err());
    }

    #[test]
    fn an_id_stands_in_a_path_as_it_is() {
        assert!(is_plain("3e9a-B_7"));
        for wrong in ["", "a/b", "..", "a?b", "a%2f", "a b", &"x".repeat(129)] {
            assert!(!is_plain(wrong), "{wrong}");
        }
    }
}
