//! `[identity]`: which tokens and SVIDs there are, and for whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

use keys::sign::SignatureAlgorithm;
use serde::Deserialize;

use crate::{
    identity::{LONGEST_REFRESH, SpiffePath, Template, TrustDomain},
    store::is_name,
};

/// Identities that affirmed guests may ask for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// The SPIFFE trust domain; without one there are no SPIFFE identities.
    pub(crate) trust_domain: Option<TrustDomain>,
    /// The path of a guest's SPIFFE ID.
    pub(crate) path: SpiffePath,
    /// The CA that issues X.509-SVIDs.
    pub(crate) authority: Authority,
    /// The trust bundle, as others fetch it.
    pub(crate) bundle: PublishedBundle,
    /// Tokens for other systems' federation.
    pub(crate) token: Vec<TokenEntry>,
    /// SPIFFE identities.
    pub(crate) svid: Vec<SvidEntry>,
}

/// The CA that issues X.509-SVIDs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Authority {
    /// Days that a CA lives; its successor is made in the last sixth.
    pub(crate) life_days: u32,
    /// What certifies the CA; without one it certifies itself.
    pub(crate) upstream: Option<UpstreamFiles>,
    /// Where relying parties reach this broker for revocation lists; without it certificates do not say where their list is.
    pub(crate) crl_url: Option<String>,
}

impl Authority {
    /// The address of the revocation list of the CA with this id, for the certificates that it issues.
    pub(crate) fn list_url(&self, authority: &str) -> Option<String> {
        self.crl_url.as_ref().map(|base| format!("{}/v1/crl/{authority}", base.trim_end_matches('/')))
    }

    /// RFC 5280 §4.2.1.13: an address that everybody can read without asking what it means.
    fn has_usable_url(&self) -> bool {
        self.crl_url.as_ref().is_none_or(|url| {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            rest.is_some_and(|rest| !rest.is_empty())
                && url.len() <= 512
                && url.bytes().all(|byte| byte.is_ascii_graphic())
        })
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self { life_days: 365, upstream: None, crl_url: None }
    }
}

/// An upstream CA, PEM.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamFiles {
    /// The certifying CA and the certificates between it and the root.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// The roots, which the trust bundle then holds.
    pub(crate) roots: PathBuf,
}

/// The trust bundle, as others fetch it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PublishedBundle {
    /// How often others are asked to fetch it.
    pub(crate) refresh_hint_seconds: u32,
    /// Own listener with the profile `https_spiffe`; absent: the bundle is served with `https_web` alone.
    pub(crate) listen: Option<SocketAddr>,
}

impl Default for PublishedBundle {
    fn default() -> Self {
        Self { refresh_hint_seconds: LONGEST_REFRESH, listen: None }
    }
}

/// One audience that tokens are made for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenEntry {
    /// What guests ask for.
    pub(crate) name: String,
    /// `aud`.
    pub(crate) audience: String,
    /// Workloads that may have it.
    pub(crate) workloads: Vec<String>,
    /// How it is signed.
    #[serde(default = "rs256")]
    pub(crate) algorithm: SignatureAlgorithm,
    /// `sub`.
    #[serde(default = "spiffe_id")]
    pub(crate) subject: Template,
    /// Longest life in seconds.
    #[serde(default = "ttl")]
    pub(crate) ttl_seconds: u32,
    /// More claims.
    #[serde(default)]
    pub(crate) claims: BTreeMap<String, Template>,
}

/// One SPIFFE identity.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SvidEntry {
    /// What guests ask for.
    pub(crate) name: String,
    /// Workloads that may have it.
    pub(crate) workloads: Vec<String>,
    /// Audiences that a JWT-SVID may be asked for.
    #[serde(default)]
    pub(crate) audiences: BTreeSet<String>,
    /// Other trust domains whose bundles the guest gets.
    #[serde(default)]
    pub(crate) federates_with: BTreeSet<TrustDomain>,
    /// Longest life in seconds.
    #[serde(default = "ttl")]
    pub(crate) ttl_seconds: u32,
}

const fn rs256() -> SignatureAlgorithm {
    SignatureAlgorithm::Rs256
}

const fn ttl() -> u32 {
    900
}

fn spiffe_id() -> Template {
    Template::spiffe_id()
}

/// Claims that a template may not set: each says something that the broker vouches for itself.
const RESERVED: [&str; 12] =
    ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "cnf", "status", "act", "may_act", "azp"];

impl Identity {
    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        let names = self.token.iter().map(|entry| (&entry.name, &entry.workloads, entry.ttl_seconds));
        let svids = self.svid.iter().map(|entry| (&entry.name, &entry.workloads, entry.ttl_seconds));
        for (name, workloads, ttl) in names.chain(svids) {
            if !is_name(name) || workloads.is_empty() || !workloads.iter().all(|workload| is_name(workload)) {
                return Some(format!("{name:?}: expected a plain name and the names of workloads"));
            }
            if !(1..=3600).contains(&ttl) {
                return Some(format!("{name}: expected ttl_seconds between 1 and 3600, found {ttl}"));
            }
        }
        let twice = |names: Vec<&String>| names.iter().collect::<BTreeSet<_>>().len() != names.len();
        if twice(self.token.iter().map(|entry| &entry.name).collect())
            || twice(self.svid.iter().map(|entry| &entry.name).collect())
        {
            return Some("expected a name that no other entry has".to_owned());
        }
        for entry in &self.token {
            if entry.algorithm == SignatureAlgorithm::Es384 {
                return Some(format!("{}: expected the algorithm RS256 or ES256", entry.name));
            }
            if entry.audience.is_empty() || entry.audience.len() > 512 {
                return Some(format!("{}: expected an audience of 1 to 512 bytes", entry.name));
            }
            if let Some(claim) = entry.claims.keys().find(|claim| RESERVED.contains(&claim.as_str())) {
                return Some(format!("{}: expected claims other than {claim}", entry.name));
            }
            let spiffe = entry.claims.values().chain([&entry.subject]).any(Template::needs_trust_domain);
            if spiffe && self.trust_domain.is_none() {
                return Some(format!("{}: expected identity.trust_domain for {{spiffe_id}}", entry.name));
            }
        }
        self.spiffe_fault()
    }

    fn spiffe_fault(&self) -> Option<String> {
        let (days, hint) = (self.authority.life_days, self.bundle.refresh_hint_seconds);
        if !(1..=3650).contains(&days) {
            return Some(format!("expected authority.life_days between 1 and 3650, found {days}"));
        }
        if !self.authority.has_usable_url() {
            return Some("expected authority.crl_url to be an http or https URL of 512 bytes at most".to_owned());
        }
        if !(1..=LONGEST_REFRESH).contains(&hint) {
            return Some(format!("expected bundle.refresh_hint_seconds between 1 and {LONGEST_REFRESH}, found {hint}"));
        }
        let Some(own) = &self.trust_domain else {
            let spiffe = !self.svid.is_empty() || self.authority.upstream.is_some() || self.bundle.listen.is_some();
            return spiffe
                .then(|| "svid, authority.upstream, bundle.listen: expected identity.trust_domain".to_owned());
        };
        let federates = |entry: &&SvidEntry| entry.federates_with.contains(own);
        let itself = self.svid.iter().find(federates);
        itself.map(|entry| format!("{}: expected federates_with to name other trust domains", entry.name))
    }
}
