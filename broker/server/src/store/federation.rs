//! Trust domains that this one federates with, and their bundles.

use serde::{Deserialize, Serialize};
use verifier::Timestamp;

use super::{StoreError, StoreFuture, TenantId};

/// How a bundle endpoint proves itself (SPIFFE Federation §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FederationProfile {
    /// By a certificate of a web CA for its host name.
    HttpsWeb,
    /// By an X.509-SVID.
    HttpsSpiffe,
}

impl FederationProfile {
    /// As written in the store and in the specification.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::HttpsWeb => "https_web",
            Self::HttpsSpiffe => "https_spiffe",
        }
    }

    /// Reads what [`FederationProfile::as_str`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "https_web" => Ok(Self::HttpsWeb),
            "https_spiffe" => Ok(Self::HttpsSpiffe),
            unknown => Err(StoreError::Unknown { what: "federation profile", found: unknown.to_owned() }),
        }
    }
}

/// One relationship.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Federation {
    /// Names this relationship; another one with the same trust domain has another id.
    pub(crate) id: String,
    /// The other trust domain.
    pub(crate) trust_domain: String,
    /// Where its bundle is.
    pub(crate) url: String,
    /// How the endpoint proves itself.
    pub(crate) profile: FederationProfile,
    /// `https_spiffe`: the SPIFFE ID of the endpoint.
    pub(crate) endpoint: Option<String>,
    /// `https_web`: the CAs that are trusted instead of the system's, PEM.
    pub(crate) roots: Option<String>,
    /// Seconds after which a bundle that could not be fetched again is not trusted any more.
    pub(crate) longest_age: u32,
    /// Who made it.
    pub(crate) author: String,
    /// When.
    pub(crate) created_at: Timestamp,
}

/// A relationship and what is held of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredFederation {
    /// The relationship.
    pub(crate) federation: Federation,
    /// The bundle as it arrived.
    pub(crate) bundle: Option<String>,
    /// When it was fetched last.
    pub(crate) fetched_at: Option<Timestamp>,
    /// When it changed last.
    pub(crate) changed_at: Option<Timestamp>,
    /// When it is fetched again.
    pub(crate) next_at: Timestamp,
    /// Fetches that failed since the last that did not.
    pub(crate) failures: u32,
    /// Why the last fetch failed.
    pub(crate) error: Option<String>,
}

/// A bundle that was fetched and read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetched<'a> {
    /// The document.
    pub(crate) bundle: &'a str,
    /// Its sequence number.
    pub(crate) sequence: Option<u64>,
    /// When.
    pub(crate) at: Timestamp,
    /// When it is fetched again.
    pub(crate) next_at: Timestamp,
}

/// Stores federation relationships.
pub(crate) trait FederationStore {
    /// Every relationship, by trust domain.
    fn federations<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<StoredFederation>>;

    /// Stores a relationship, to be fetched at once. [`StoreError::Conflict`] when there is one with this trust domain.
    fn insert_federation<'a>(
        &'a self,
        tenant: &'a TenantId,
        federation: &'a Federation,
        bundle: Option<Fetched<'a>>,
    ) -> StoreFuture<'a, ()>;

    /// Ends a relationship; whether there was one.
    fn remove_federation<'a>(
        &'a self,
        tenant: &'a TenantId,
        trust_domain: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, bool>;

    /// Takes the right to fetch a bundle that is due at `now`, until `until`; whether nobody else has it.
    fn claim_federation<'a>(&'a self, id: &'a str, now: Timestamp, until: Timestamp) -> StoreFuture<'a, bool>;

    /// Keeps a fetched bundle. False, and nothing changes, when a newer one is held or the relationship ended.
    fn keep_bundle<'a>(&'a self, id: &'a str, fetched: Fetched<'a>) -> StoreFuture<'a, bool>;

    /// Remembers that a fetch failed.
    fn remember_failure<'a>(&'a self, id: &'a str, error: &'a str, next_at: Timestamp) -> StoreFuture<'a, ()>;
}
