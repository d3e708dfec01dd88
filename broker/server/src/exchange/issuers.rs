//! The keys of foreign issuers: cached, fetched again when they grow old or a token names an unknown one, and bounded in all.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hyper::body::Bytes;
use keys::sign::Jwks;
use rustls::{ClientConfig, crypto::aws_lc_rs};
use tokio::{sync::Mutex, task::spawn_blocking};

use crate::{
    config::ForeignIssuer,
    fetch::{self, Bounds, Url},
};

/// Between two looks for an unknown key: whoever makes up key ids does not make us ask more often.
const PAUSE: Duration = Duration::from_secs(10);
/// Most keys of one issuer.
const KEYS: usize = 64;
/// Most bytes of a file with keys.
const FILE: u64 = 256 * 1024;
/// What a key set from the network may cost.
const BOUNDS: Bounds = Bounds {
    deadline: Duration::from_secs(5),
    bytes: 256 * 1024,
    accept: "application/jwk-set+json, application/json",
};

/// The keys of every configured issuer, by its name.
#[derive(Debug, Default)]
pub(crate) struct Issuers(BTreeMap<String, Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// The keys, and when they came.
    keys: Option<(Arc<Jwks>, Instant)>,
    /// When they were last asked for, whatever came of it.
    asked: Option<Instant>,
}

/// Which keys will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Those that are here, while they are young enough.
    Cached,
    /// Newer ones, because a token named a key that is not among those that are here.
    Newer,
}

impl Issuers {
    /// Nothing is fetched yet.
    pub(crate) fn new(issuers: &[ForeignIssuer]) -> Self {
        Self(issuers.iter().map(|issuer| (issuer.name.clone(), Mutex::default())).collect())
    }

    /// The keys of `issuer`; `None` when there are none that may count. Those who wait for the same keys wait for one fetch.
    pub(crate) async fn keys(&self, issuer: &ForeignIssuer, freshness: Freshness) -> Option<Arc<Jwks>> {
        let mut held = self.0.get(&issuer.name)?.lock().await;
        let now = Instant::now();
        let age = |since: Instant| now.saturating_duration_since(since);
        let limit = |seconds: u32| Duration::from_secs(u64::from(seconds));
        let young = held.keys.as_ref().filter(|(_, came)| age(*came) < limit(issuer.refresh_seconds));
        let wanted = freshness == Freshness::Newer || young.is_none();
        if wanted && held.asked.is_none_or(|asked| age(asked) >= PAUSE) {
            held.asked = Some(now);
            match load(issuer).await {
                Ok(keys) => held.keys = Some((Arc::new(keys), now)),
                Err(error) => {
                    tracing::warn!(issuer = issuer.name, error = format!("{error:#}"), "an issuer's keys did not come");
                }
            }
        }
        let usable = held.keys.as_ref().filter(|(_, came)| age(*came) < limit(issuer.stale_seconds));
        usable.map(|(keys, _)| Arc::clone(keys))
    }
}

async fn load(issuer: &ForeignIssuer) -> Result<Jwks> {
    let bytes = match (&issuer.jwks_file, &issuer.jwks_url) {
        (Some(file), _) => {
            let length = tokio::fs::metadata(file).await.with_context(|| file.display().to_string())?.len();
            ensure!(length <= FILE, "expected a key set of at most {FILE} bytes");
            tokio::fs::read(file).await?.into()
        }
        (None, Some(url)) => fetch(url, issuer.ca.clone()).await.with_context(|| url.clone())?,
        (None, None) => anyhow::bail!("expected jwks_file or jwks_url"),
    };
    let keys = Jwks::parse(&bytes)?;
    ensure!(!keys.keys().is_empty() && keys.keys().len() <= KEYS, "expected 1 to {KEYS} keys that can be used");
    Ok(keys)
}

/// The TLS server is authenticated by `ca`, or by the system's authorities: the keys of an issuer are believed for nothing
/// else.
async fn fetch(url: &str, ca: Option<PathBuf>) -> Result<Bytes> {
    let roots = spawn_blocking(move || endorsements::tls_roots(ca.as_ref())).await??;
    // Issuers of a site may still speak TLS 1.2.
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(fetch::get(&Url::parse(url)?, tls, BOUNDS).await?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use keys::{
        random::SystemRandom,
        sign::{SignatureAlgorithm, Signer, SigningKey},
    };

    use super::*;
    use crate::config::IssuerKind;

    fn write(place: &std::path::Path, count: usize) {
        let key = || SigningKey::generate(SignatureAlgorithm::Es256, &mut SystemRandom::new()).unwrap();
        let keys = Jwks::new((0..count).map(|_| key().verifying_key().clone()));
        std::fs::write(place, serde_json::to_vec(&keys).unwrap()).unwrap();
    }

    fn issuer(place: &std::path::Path, stale_seconds: u32) -> ForeignIssuer {
        ForeignIssuer {
            name: "ci".to_owned(),
            kind: IssuerKind::Oidc,
            issuer: "https://ci.example".to_owned(),
            audience: "countersign".to_owned(),
            jwks_file: Some(place.to_owned()),
            jwks_url: None,
            ca: None,
            token_review: None,
            algorithms: vec![SignatureAlgorithm::Es256],
            refresh_seconds: 300,
            stale_seconds,
        }
    }

    /// How many keys count, one question after the other.
    async fn counts<const N: usize>(issuer: &ForeignIssuer, questions: [(usize, Freshness); N]) -> [Option<usize>; N] {
        let issuers = Issuers::new(std::slice::from_ref(issuer));
        let mut counts = [None; N];
        for (count, (written, freshness)) in counts.iter_mut().zip(questions) {
            write(issuer.jwks_file.as_ref().unwrap(), written);
            *count = issuers.keys(issuer, freshness).await.map(|keys| keys.keys().len());
        }
        counts
    }

    #[tokio::test]
    async fn an_unknown_key_does_not_make_us_ask_at_once_again() {
        let directory = tempfile::tempdir().unwrap();
        let issuer = issuer(&directory.path().join("jwks"), 3600);
        let questions = [(1, Freshness::Cached), (2, Freshness::Cached), (3, Freshness::Newer)];
        assert_eq!(counts(&issuer, questions).await, [Some(1); 3]);
    }

    #[tokio::test]
    async fn keys_that_are_too_many_or_too_old_count_for_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("jwks");
        assert_eq!(counts(&issuer(&place, 3600), [(KEYS + 1, Freshness::Cached)]).await, [None]);
        assert_eq!(counts(&issuer(&place, 3600), [(0, Freshness::Cached)]).await, [None]);
        assert_eq!(counts(&issuer(&place, 0), [(1, Freshness::Cached)]).await, [None]);
    }
}
