//! Federation with other trust domains (SPIFFE Federation): their bundles are fetched ahead of their refresh hints, kept in
//! the store, and handed to the guests whose entries federate with them.
//!
//! What arrives is believed for what its endpoint proved, and never in the place of something newer. An empty bundle means
//! that the trust domain is not trusted any more. So does one that could not be fetched for too long: an attacker who
//! holds back the news of a stolen key must not keep it alive.

mod endpoint;
mod held;
mod tls;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use evidence_formats::code::{Code, Coded};
use serde_json::value::RawValue;
use thiserror::Error;
use verifier::Timestamp;

use crate::{
    broker::Broker,
    clock,
    fetch::{self, Bounds, FetchError, Url},
    identity::{BUNDLE_BYTES, BundleError, KeyRing, TrustBundle, TrustDomain},
    metrics::FederationLabels,
    store::{FederationProfile, Fetched, StoreError, StoredFederation},
};

pub(crate) use endpoint::{BundleEndpoint, routes as endpoint_routes, tls as endpoint_tls};
pub(crate) use held::{Federations, Held};
pub(crate) use tls::{TlsError, roots};

/// What a bundle may cost.
const BOUNDS: Bounds = Bounds { deadline: Duration::from_secs(10), bytes: BUNDLE_BYTES, accept: "application/json" };
/// Seconds that one fetch may take, and that nobody else tries meanwhile.
const CLAIM: i64 = 20;
/// Seconds between two fetches of one bundle, whatever its owner wants.
const SOONEST: i64 = 5;
/// Seconds after which a bundle is fetched again, whatever its owner wants.
const LATEST: i64 = 3600;
/// The hint of a bundle that has none (SPIFFE Trust Domain and Bundle §4.1.2), in seconds.
const DEFAULT_HINT: i64 = 300;
/// Longest pause after failures, in seconds.
const LONGEST_PAUSE: i64 = 300;

/// A bundle could not be fetched or is not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum FederationError {
    /// TLS cannot be set up with what is held.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no usable answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The answer is not text.
    #[error("expected a bundle in UTF-8")]
    Text,
    /// The answer is no bundle.
    #[error("expected a trust bundle: {0}")]
    Bundle(#[from] BundleError),
    /// The bundle is older than the one that is held, or the relationship ended meanwhile.
    #[error("expected a bundle that is not older than the one that is held")]
    WentBack,
    /// The store failed.
    #[error("the bundle cannot be kept")]
    Store(#[from] StoreError),
}

impl Coded for FederationError {
    fn code(&self) -> Code {
        match self {
            Self::Tls(error) => error.code(),
            Self::Fetch(error) => fetch_code(error),
            Self::Text => Code::new("endorsement.spiffe_bundle.text"),
            Self::Bundle(error) => error.code(),
            Self::WentBack => Code::new("endorsement.spiffe_bundle.went_back"),
            Self::Store(_) => Code::new("internal.store"),
        }
    }
}

fn fetch_code(error: &FetchError) -> Code {
    Code::new(match error {
        FetchError::Url => "endorsement.spiffe_bundle.url",
        FetchError::Transport { .. } => "endorsement.spiffe_bundle.transport",
        FetchError::Timeout { .. } => "endorsement.spiffe_bundle.timeout",
        FetchError::TooLong { .. } => "endorsement.spiffe_bundle.length",
        FetchError::Status { .. } => "endorsement.spiffe_bundle.status",
    })
}

/// The bundles that a guest with these entries gets, by trust domain: its own, and those that the entries federate with and
/// that are held.
pub(crate) fn bundles_for<'a>(
    own: &'a TrustDomain,
    keyring: &'a KeyRing,
    federations: &'a Federations,
    wanted: impl IntoIterator<Item = &'a TrustDomain>,
) -> BTreeMap<&'a str, &'a RawValue> {
    let held = |name: &'a TrustDomain| Some((name.as_str(), federations.document(name.as_str())?));
    let mut bundles: BTreeMap<_, _> = wanted.into_iter().filter_map(held).collect();
    bundles.insert(own.as_str(), &keyring.bundle_document);
    bundles
}

/// Fetches what is due, and takes over what other brokers on the same store fetched.
pub(crate) async fn keep_fresh(broker: &Arc<Broker>) -> Result<()> {
    let now = clock::now();
    let mut fetched = tokio::task::JoinSet::new();
    for stored in broker.store.federations(&broker.tenant).await? {
        let due = stored.next_at <= now;
        if due && broker.store.claim_federation(&stored.federation.id, now, now.plus_seconds(CLAIM)).await? {
            let broker = Arc::clone(broker);
            fetched.spawn(async move { refresh(&broker, stored).await });
        }
    }
    while fetched.join_next().await.is_some() {}
    let stored = broker.store.federations(&broker.tenant).await?;
    broker.federations.store(Arc::new(Federations::read(stored, clock::now())));
    Ok(())
}

/// Fetches one bundle and keeps it; a failure is remembered, logged and counted.
pub(crate) async fn refresh(broker: &Broker, stored: StoredFederation) -> Result<(), FederationError> {
    let name = stored.federation.trust_domain.clone();
    let outcome = try_refresh(broker, &stored).await;
    let label = if outcome.is_ok() { "fetched" } else { "failed" };
    broker.metrics.federation_fetches.get_or_create(&FederationLabels { outcome: label }).inc();
    if let Err(error) = &outcome {
        let text = with_causes(error);
        tracing::warn!(trust_domain = name, code = %error.code().as_str(), error = text, "a trust bundle was not refreshed");
        let next_at = clock::now().plus_seconds(pause(stored.failures, error));
        broker.store.remember_failure(&stored.federation.id, &text, next_at).await?;
    }
    outcome
}

async fn try_refresh(broker: &Broker, stored: &StoredFederation) -> Result<(), FederationError> {
    let federation = &stored.federation;
    let tls = match federation.profile {
        FederationProfile::HttpsWeb => tls::web(federation.roots.as_deref())?,
        FederationProfile::HttpsSpiffe => {
            let endpoint = federation.endpoint.as_deref().ok_or(TlsError::NoEndpoint)?;
            tls::spiffe(endpoint, &authorities(broker, endpoint, stored)?)?
        }
    };
    let document = fetch::get(&Url::parse(&federation.url)?, tls, BOUNDS).await?;
    keep(broker, stored, str::from_utf8(&document).map_err(|_not_utf_8| FederationError::Text)?).await
}

/// Keeps a document, fetched or brought by an administrator, when it is a bundle that is not older than the one held.
pub(crate) async fn keep(broker: &Broker, stored: &StoredFederation, document: &str) -> Result<(), FederationError> {
    let bundle = TrustBundle::parse(document.as_bytes())?;
    let at = clock::now();
    let fetched = Fetched { bundle: document, sequence: bundle.sequence, at, next_at: at.plus_seconds(wait(&bundle)) };
    if !broker.store.keep_bundle(&stored.federation.id, fetched).await? {
        return Err(FederationError::WentBack);
    }
    if stored.bundle.as_deref() != Some(document) {
        tracing::info!(
            trust_domain = stored.federation.trust_domain,
            sequence = bundle.sequence,
            authorities = bundle.authorities.len(),
            tokens = bundle.tokens,
            "a trust bundle changed"
        );
    }
    Ok(())
}

/// The CAs that an endpoint's certificate must come from: those of the endpoint's trust domain.
fn authorities(
    broker: &Broker,
    endpoint: &str,
    stored: &StoredFederation,
) -> Result<Vec<rustls_pki_types::CertificateDer<'static>>, FederationError> {
    let domain = endpoint.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    if broker.identity.trust_domain.as_ref().is_some_and(|own| own.as_str() == domain) {
        let keyring = broker.keyring.load();
        return Ok(keyring.authorities().map(|der| rustls_pki_types::CertificateDer::from(der.to_vec())).collect());
    }
    if domain == stored.federation.trust_domain {
        let bundle = stored.bundle.as_deref().map(|text| TrustBundle::parse(text.as_bytes())).transpose()?;
        return Ok(bundle.map(|bundle| bundle.authorities).unwrap_or_default());
    }
    let federations = broker.federations.load();
    Ok(federations.authorities(domain).map(<[_]>::to_vec).unwrap_or_default())
}

/// Seconds until a bundle is fetched again: well before its hint is over, and not at the same moment everywhere.
fn wait(bundle: &TrustBundle) -> i64 {
    let hint = bundle.refresh_hint.map_or(DEFAULT_HINT, |hint| i64::try_from(hint).unwrap_or(LATEST));
    let hint = hint.clamp(SOONEST, LATEST);
    let latest = hint.saturating_mul(3).checked_div(4).unwrap_or(hint);
    latest.saturating_sub(jitter(hint.checked_div(8).unwrap_or(0))).max(1)
}

/// Seconds until the next try after `failures` earlier ones: doubling, and as long as the endpoint asks.
fn pause(failures: u32, error: &FederationError) -> i64 {
    let doubled = SOONEST.checked_shl(failures.min(8)).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
    let asked = if let FederationError::Fetch(FetchError::Status { retry_after: Some(seconds), .. }) = error {
        i64::from(*seconds).min(LATEST)
    } else {
        0
    };
    doubled.saturating_sub(jitter(doubled.checked_div(4).unwrap_or(0))).max(asked)
}

/// A random number from 0 to `most`.
fn jitter(most: i64) -> i64 {
    let mut bytes = [0; 2];
    // Without randomness everybody waits equally long: no harm.
    let _unfilled = aws_lc_rs::rand::fill(&mut bytes);
    i64::from(u16::from_be_bytes(bytes)).checked_rem(most.saturating_add(1)).unwrap_or(0)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(512).collect()
}

/// When the next fetch may be, for a relationship that is fetched on demand.
pub(crate) fn due(now: Timestamp) -> Timestamp {
    now.plus_seconds(CLAIM)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_bundle_is_fetched_well_within_its_hint() {
        for (hint, latest) in [("5", 3), ("300", 225), ("0", 3), ("999999999", 2700)] {
            let document = format!(r#"{{"keys":[],"spiffe_refresh_hint":{hint}}}"#);
            let bundle = TrustBundle::parse(document.as_bytes()).unwrap();
            for _ in 0..20 {
                assert!((1..=latest).contains(&wait(&bundle)), "{hint}");
            }
        }
        let without = TrustBundle::parse(br#"{"keys":[]}"#).unwrap();
        assert!((180..=225).contains(&wait(&without)));
    }

    #[test]
    fn failures_are_followed_by_longer_pauses() {
        let failed = |retry_after| FederationError::Fetch(FetchError::Status { status: 503, retry_after });
        assert!((4..=5).contains(&pause(0, &failed(None))));
        assert!((30..=40).contains(&pause(3, &failed(None))));
        assert!((225..=300).contains(&pause(u32::MAX, &failed(None))));
        assert_eq!(pause(0, &failed(Some(100))), 100);
        assert_eq!(pause(0, &failed(Some(u32::MAX))), LATEST);
    }
}
