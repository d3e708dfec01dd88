//! `/v1/admin/federation`: the trust domains that this one federates with.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use evidence_formats::code::Coded;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    broker::Broker,
    clock,
    federation::{self, FederationError, Federations, Held},
    fetch::Url,
    http::{
        Json, Path,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
    identity::{TrustBundle, TrustDomain},
    store::{Federation, FederationProfile, Fetched, StoredFederation},
};

/// Seconds after which a bundle that could not be fetched again is not trusted any more: by default, at least, at most.
const LONGEST_AGE: (u32, u32, u32) = (24 * 3600, 60, 30 * 24 * 3600);
/// Most trust domains.
const MOST: usize = 1000;

/// A new relationship.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    trust_domain: TrustDomain,
    url: String,
    profile: FederationProfile,
    /// `https_spiffe`: who the endpoint is.
    endpoint_spiffe_id: Option<String>,
    /// `https_web`: PEM of CAs that are trusted instead of the system's.
    ca: Option<String>,
    /// A bundle to begin with. `https_spiffe` needs one unless the endpoint is of another trust domain that is known.
    bundle: Option<String>,
    longest_age: Option<u32>,
}

/// A bundle that an administrator brings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Brought {
    /// The document; absent: it is fetched.
    bundle: Option<String>,
}

/// A relationship with the bundle that is held.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    held: Held,
    /// As guests get it.
    bundle: Option<Box<serde_json::value::RawValue>>,
}

/// Every relationship.
pub(crate) async fn list(State(broker): State<Arc<Broker>>, _: Reader) -> Result<axum::Json<Vec<Held>>, Problem> {
    let now = clock::now();
    let stored = broker.store.federations(&broker.tenant).await?;
    Ok(axum::Json(stored.into_iter().map(|stored| Held::read(stored, now)).collect()))
}

/// One relationship.
pub(crate) async fn show(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Path(name): Path<String>,
) -> Result<axum::Json<Shown>, Problem> {
    let held = Held::read(stored(&broker, &name).await?, clock::now());
    let bundle = held.document().map(ToOwned::to_owned);
    Ok(axum::Json(Shown { held, bundle }))
}

/// Begins a relationship. Its bundle is fetched at once, in the background.
pub(crate) async fn add(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Json(wanted): Json<Wanted>,
) -> Result<(StatusCode, axum::Json<Held>), Problem> {
    let known = broker.store.federations(&broker.tenant).await?;
    if known.len() >= MOST {
        return Err(malformed(format!("expected at most {MOST} trust domains")));
    }
    let now = clock::now();
    let bundle = wanted.bundle.clone();
    let federation = checked(&broker, wanted, administrator.name, &known)?;
    let sequence = match &bundle {
        Some(bundle) => TrustBundle::parse(bundle.as_bytes()).map_err(|error| malformed(error.to_string()))?.sequence,
        None => None,
    };
    let fetched = bundle.as_deref().map(|bundle| Fetched { bundle, sequence, at: now, next_at: now });
    broker.store.insert_federation(&broker.tenant, &federation, fetched).await?;
    let name = &federation.trust_domain;
    tracing::warn!(trust_domain = name, url = federation.url, by = federation.author, "federation began");
    let stored = stored(&broker, name).await?;
    read_again(&broker).await?;
    Ok((StatusCode::CREATED, axum::Json(Held::read(stored, now))))
}

/// Fetches a bundle now, or takes the one that is brought; neither may be older than the one that is held.
pub(crate) async fn refresh(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
    Json(Brought { bundle }): Json<Brought>,
) -> Result<axum::Json<Held>, Problem> {
    let now = clock::now();
    let known = stored(&broker, &name).await?;
    let outcome = match &bundle {
        Some(bundle) => federation::keep(&broker, &known, bundle).await,
        None => {
            // Taken from whoever has it: an administrator does not wait.
            broker.store.claim_federation(&known.federation.id, known.next_at, federation::due(now)).await?;
            federation::refresh(&broker, known).await
        }
    };
    read_again(&broker).await?;
    outcome.map_err(refused)?;
    tracing::info!(trust_domain = name, by = administrator.name, brought = bundle.is_some(), "trust bundle refreshed");
    Ok(axum::Json(Held::read(stored(&broker, &name).await?, clock::now())))
}

/// Ends a relationship: guests get its bundle no more.
pub(crate) async fn remove(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    if !broker.store.remove_federation(&broker.tenant, &name, clock::now()).await? {
        return Err(RequestError::NotFound { what: "federation" }.into());
    }
    tracing::warn!(trust_domain = name, by = administrator.name, "federation ended");
    read_again(&broker).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn stored(broker: &Broker, name: &str) -> Result<StoredFederation, Problem> {
    let known = broker.store.federations(&broker.tenant).await?;
    let found = known.into_iter().find(|stored| stored.federation.trust_domain == name);
    found.ok_or_else(|| RequestError::NotFound { what: "federation" }.into())
}

/// What guests get from now on.
async fn read_again(broker: &Broker) -> Result<(), Problem> {
    let stored = broker.store.federations(&broker.tenant).await?;
    broker.federations.store(Arc::new(Federations::read(stored, clock::now())));
    Ok(())
}

/// The relationship, when everything about it goes together.
fn checked(broker: &Broker, wanted: Wanted, author: String, known: &[StoredFederation]) -> Result<Federation, Problem> {
    let name = wanted.trust_domain.as_str();
    let Some(own) = &broker.identity.trust_domain else {
        return Err(malformed("trust_domain: expected identity.trust_domain in the configuration".to_owned()));
    };
    if *own == wanted.trust_domain {
        return Err(malformed("trust_domain: expected another one than the broker's own".to_owned()));
    }
    Url::parse(&wanted.url).map_err(|error| malformed(format!("url: {error}")))?;
    match (wanted.profile, &wanted.endpoint_spiffe_id, &wanted.ca) {
        (FederationProfile::HttpsWeb, None, None) => {}
        (FederationProfile::HttpsWeb, None, Some(pem)) => {
            federation::roots(pem).map_err(|error| malformed(format!("ca: {error}")))?;
        }
        (FederationProfile::HttpsSpiffe, Some(endpoint), None) => {
            let domain = endpoint.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
            let domain = domain.and_then(|(domain, _)| domain.parse::<TrustDomain>().ok());
            let domain = domain.filter(|_| endpoint.len() <= 2048);
            let domain = domain.ok_or_else(|| malformed("endpoint_spiffe_id: expected a SPIFFE ID".to_owned()))?;
            let held = domain == *own || known.iter().any(|stored| stored.federation.trust_domain == domain.as_str());
            if wanted.bundle.is_none() && !held {
                return Err(malformed(format!("bundle: expected a bundle of {domain} to begin with")));
            }
            if wanted.bundle.is_some() && domain.as_str() != name {
                return Err(malformed(format!("bundle: expected none, {domain} proves the endpoint")));
            }
        }
        (FederationProfile::HttpsWeb | FederationProfile::HttpsSpiffe, _, _) => {
            let detail = "expected endpoint_spiffe_id with https_spiffe alone, and ca with https_web alone";
            return Err(malformed(detail.to_owned()));
        }
    }
    let (default, least, most) = LONGEST_AGE;
    let longest_age = wanted.longest_age.unwrap_or(default);
    if !(least..=most).contains(&longest_age) {
        return Err(malformed(format!("longest_age: expected {least} to {most}, found {longest_age}")));
    }
    Ok(Federation {
        id: Uuid::new_v4().to_string(),
        trust_domain: name.to_owned(),
        url: wanted.url,
        profile: wanted.profile,
        endpoint: wanted.endpoint_spiffe_id,
        roots: wanted.ca,
        longest_age,
        author,
        created_at: clock::now(),
    })
}

fn malformed(detail: String) -> Problem {
    RequestError::Malformed { detail }.into()
}

/// What an administrator learns about a bundle that is not taken.
fn refused(error: FederationError) -> Problem {
    match error {
        FederationError::Store(error) => error.into(),
        error @ (FederationError::Tls(_)
        | FederationError::Fetch(_)
        | FederationError::Text
        | FederationError::Bundle(_)
        | FederationError::WentBack) => Problem::new(StatusCode::BAD_GATEWAY, error.code(), error.to_string()),
    }
}
