//! The bundles that are held, as they stand at one moment.

use std::collections::BTreeMap;

use rustls_pki_types::CertificateDer;
use serde::Serialize;
use serde_json::value::RawValue;
use verifier::Timestamp;

use crate::{
    identity::{TrustBundle, distrusted},
    store::{FederationProfile, StoredFederation},
};

/// How a relationship stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// No bundle was fetched yet.
    Waiting,
    /// The bundle counts.
    Trusted,
    /// The owner took every key back.
    Distrusted,
    /// It could not be fetched for too long and does not count.
    Stale,
}

/// One relationship and its bundle.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Held {
    pub(crate) trust_domain: String,
    pub(crate) url: String,
    pub(crate) profile: FederationProfile,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint_spiffe_id: Option<String>,
    pub(crate) state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_hint: Option<u64>,
    /// CAs of X.509-SVIDs.
    pub(crate) x509_authorities: usize,
    /// Keys of JWT-SVIDs.
    pub(crate) jwt_authorities: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fetched_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) changed_at: Option<Timestamp>,
    pub(crate) next_at: Timestamp,
    pub(crate) longest_age: u32,
    pub(crate) failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    pub(crate) author: String,
    pub(crate) created_at: Timestamp,
    #[serde(skip)]
    bundle: Option<TrustBundle>,
}

impl Held {
    /// How a stored relationship stands now. A bundle that this version cannot read counts as none.
    pub(crate) fn read(stored: StoredFederation, now: Timestamp) -> Self {
        let StoredFederation { federation, bundle, fetched_at, changed_at, next_at, failures, error } = stored;
        let bundle = bundle.and_then(|text| TrustBundle::parse(text.as_bytes()).ok());
        let over = |at: Timestamp| at.plus_seconds(i64::from(federation.longest_age)) < now;
        let state = match &bundle {
            None => State::Waiting,
            Some(bundle) if bundle.is_empty() => State::Distrusted,
            Some(_) if fetched_at.is_none_or(over) => State::Stale,
            Some(_) => State::Trusted,
        };
        Self {
            trust_domain: federation.trust_domain,
            url: federation.url,
            profile: federation.profile,
            endpoint_spiffe_id: federation.endpoint,
            state,
            sequence: bundle.as_ref().and_then(|bundle| bundle.sequence),
            refresh_hint: bundle.as_ref().and_then(|bundle| bundle.refresh_hint),
            x509_authorities: bundle.as_ref().map_or(0, |bundle| bundle.authorities.len()),
            jwt_authorities: bundle.as_ref().map_or(0, |bundle| bundle.tokens),
            fetched_at,
            changed_at,
            next_at,
            longest_age: federation.longest_age,
            failures,
            error,
            author: federation.author,
            created_at: federation.created_at,
            bundle,
        }
    }

    /// The bundle as guests get it.
    pub(crate) fn document(&self) -> Option<&RawValue> {
        self.bundle.as_ref().map(|bundle| &*bundle.document)
    }
}

/// Every relationship at one moment.
#[derive(Debug)]
pub(crate) struct Federations {
    held: BTreeMap<String, Held>,
    distrusted: Box<RawValue>,
}

impl Federations {
    /// From the store.
    pub(crate) fn read(stored: Vec<StoredFederation>, now: Timestamp) -> Self {
        let held = stored.into_iter().map(|stored| Held::read(stored, now));
        Self { held: held.map(|held| (held.trust_domain.clone(), held)).collect(), distrusted: distrusted() }
    }

    /// What guests get for a trust domain: its bundle, an empty one when it does not count, nothing when none was fetched.
    pub(crate) fn document(&self, trust_domain: &str) -> Option<&RawValue> {
        let held = self.held.get(trust_domain)?;
        match held.state {
            State::Waiting => None,
            State::Trusted => held.document(),
            State::Distrusted | State::Stale => Some(&self.distrusted),
        }
    }

    /// The CAs of a trust domain whose bundle counts.
    pub(crate) fn authorities(&self, trust_domain: &str) -> Option<&[CertificateDer<'static>]> {
        let held = self.held.get(trust_domain).filter(|held| held.state == State::Trusted)?;
        held.bundle.as_ref().map(|bundle| bundle.authorities.as_slice())
    }

    /// The shortest refresh hint of the bundles of these trust domains, seconds.
    pub(crate) fn shortest_hint<'a>(&self, wanted: impl IntoIterator<Item = &'a str>) -> Option<u64> {
        wanted.into_iter().filter_map(|name| self.held.get(name)?.refresh_hint).min()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::Federation;

    const HEX_KEY: &str = r#"{"kty":"EC","crv":"P-256","use":"jwt-svid","kid":"a",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

    fn stored(bundle: Option<&str>, fetched_at: i64) -> StoredFederation {
        StoredFederation {
            federation: Federation {
                id: "f".to_owned(),
                trust_domain: "other.org".to_owned(),
                url: "https://other.org/".to_owned(),
                profile: FederationProfile::HttpsWeb,
                endpoint: None,
                roots: None,
                longest_age: 100,
                author: "admin".to_owned(),
                created_at: Timestamp::from_unix(0),
            },
            bundle: bundle.map(str::to_owned),
            fetched_at: bundle.map(|_| Timestamp::from_unix(fetched_at)),
            changed_at: None,
            next_at: Timestamp::from_unix(0),
            failures: 0,
            error: None,
        }
    }

    #[test]
    fn only_a_bundle_that_counts_is_handed_on() {
        let full = format!(r#"{{"keys":[{HEX_KEY}]}}"#);
        for (bundle, now, state, keys) in [
            (None, 1000, State::Waiting, None),
            (Some(full.as_str()), 1100, State::Trusted, Some(1)),
            (Some(full.as_str()), 1101, State::Stale, Some(0)),
            (Some(r#"{"keys":[]}"#), 1000, State::Distrusted, Some(0)),
            (Some("not a bundle"), 1000, State::Waiting, None),
        ] {
            let stored = stored(bundle, 1000);
            assert_eq!(Held::read(stored.clone(), Timestamp::from_unix(now)).state, state);
            let federations = Federations::read(vec![stored], Timestamp::from_unix(now));
            let document = federations.document("other.org").map(|document| {
                let document: serde_json::Value = serde_json::from_str(document.get()).unwrap();
                document.get("keys").and_then(serde_json::Value::as_array).unwrap().len()
            });
            assert_eq!(document, keys, "{state:?}");
            assert!(federations.document("elsewhere").is_none());
        }
    }
}
