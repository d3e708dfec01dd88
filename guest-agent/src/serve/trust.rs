//! The bundle of our trust domain: asked for as often as it says, and whenever a certificate is issued.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hyper::Method;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    keeper::Keeping,
    world::{Change, Standing, Trust, World},
};
use crate::{
    backoff::{Backoff, jittered, random_byte},
    bundle::{Bundle, BundleDocument},
    connection::TransportError,
    console,
    exchange::{Attempt, Exchange},
    lease::{Given, Session, Want},
    life::Life,
    protocol::{CHALLENGE, Challenge, ChallengeRequest, TrustBundles},
};

/// Where the broker publishes it (SPIFFE Trust Domain and Bundle §4).
const BUNDLE: &str = "/.well-known/spiffe-bundle";
/// Longest time for asking.
const ASKING: Duration = Duration::from_secs(30);
/// Longest time that new certificates wait for the bundle of the same moment.
const SOON: Duration = Duration::from_secs(3);
/// Pauses between two questions: when the bundle says none, at least, and at most.
const REFRESH: u64 = 300;
const LEAST: u64 = 5;
const MOST: u64 = 3600;
/// The same, in seconds, after it could not be had.
const AGAIN: u64 = 30;
/// So many times as seldom is asked for bundles of others when there are none.
const ALONE: u64 = 5;

/// Follows the bundle until it is stopped.
pub(crate) async fn follow(shared: Arc<Keeping>, stop: CancellationToken) {
    let mut pause = Duration::from_secs(REFRESH);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.untrusted.notified() => {}
            () = sleep(pause) => {}
        }
        let hint = match fetch(&shared.exchange).await {
            Ok(document) => {
                let hint = document.spiffe_refresh_hint;
                let bundle = document.bundle();
                if bundle.is_none() {
                    console::say("expected a SPIFFE bundle with authorities");
                }
                shared.world.send_if_modified(|world| {
                    let learned = bundle.and_then(|bundle| learn(world, bundle));
                    learned.map(|trust| *world = Arc::new(World { trust, ..World::clone(world) })).is_some()
                });
                hint
            }
            Err(error) => {
                console::say(&format!("the trust bundle is not to be had: {}", console::chain(&error)));
                Some(AGAIN)
            }
        };
        pause = jittered(Duration::from_secs(hint.unwrap_or(REFRESH).clamp(LEAST, MOST)), random_byte());
    }
}

/// The bundle as it is now: as it came with a certificate, or, if the broker says it soon, as it is published.
pub(crate) async fn now(exchange: &Exchange, given: &[(Want, Given, Life)]) -> Option<Bundle> {
    let with_it = given.iter().find_map(|(_, given, _)| match given {
        Given::X509(svid) => svid.trusted.get(&format!("spiffe://{}", svid.trust_domain()?)),
        Given::Value(_) => None,
    });
    if let Some(bundle) = with_it {
        return Some(bundle.clone());
    }
    timeout(SOON, fetch(exchange)).await.ok()?.ok()?.bundle()
}

async fn fetch(exchange: &Exchange) -> Result<BundleDocument, TransportError> {
    let time = Backoff::new(ASKING);
    let mut connection = exchange.connect(&time).await?;
    connection.call(Method::GET, None, BUNDLE, time.left()).await
}

/// What is to be trusted with this bundle, under the name that our own certificates say; `None` when nothing changes.
pub(crate) fn learn(world: &World, bundle: Bundle) -> Option<Arc<Trust>> {
    let held = || {
        world.certificates.iter().filter_map(|(name, standing)| match standing {
            Standing::Held(certificate) => Some((name, &certificate.svid)),
            Standing::Absent | Standing::Refused => None,
        })
    };
    let own = held().find_map(|(_, svid)| svid.trust_domain().map(|name| format!("spiffe://{name}")));
    let own = own.or_else(|| world.trust.own.clone())?;
    // Those of foreign trust domains came with the certificates, or were asked for since.
    let trusted = held().filter_map(|(name, _)| world.trusted.get(name));
    let mut bundles: BTreeMap<_, _> = trusted.flat_map(|bundles| BTreeMap::clone(bundles)).collect();
    bundles.insert(own.clone(), bundle);
    let trust = Trust { own: Some(own), bundles };
    (*world.trust != trust).then(|| Arc::new(trust))
}

/// Waits until `at`, asks the broker for the bundles that go with the certificates of `session`, and says when to ask again;
/// without certificates for ever.
pub(crate) async fn ask(
    exchange: &Exchange,
    session: Option<&Session>,
    at: Instant,
) -> (Result<TrustBundles, Attempt>, Duration) {
    let certified = |want: &Want| matches!(want, Want::X509Svid { .. });
    let Some(session) = session.filter(|session| session.wants().any(certified)) else {
        return std::future::pending().await;
    };
    sleep_until(at).await;
    let asked = async {
        let mut connection = exchange.connect(&Backoff::new(ASKING)).await?;
        let Challenge { nonce } = connection.post(CHALLENGE, &ChallengeRequest {}, ASKING).await?;
        session.bundles(&mut connection, &nonce).await
    };
    let asked = asked.await;
    let seconds = match &asked {
        // Nobody else's bundle: ours is followed where it is published, as often as it says.
        Ok(answer) if answer.trust_bundles.len() <= 1 => answer.refresh_seconds.saturating_mul(ALONE),
        Ok(answer) => answer.refresh_seconds,
        Err(_) => AGAIN,
    };
    (asked, jittered(Duration::from_secs(seconds.clamp(1, MOST)), random_byte()))
}

/// Takes over what the broker said about the trust domains of the entries `names`. A domain that it names no more, or
/// whose bundle is empty, is trusted no more.
pub(crate) fn refresh(change: &Change, names: &[String], answer: TrustBundles) {
    let own = format!("spiffe://{}", answer.trust_domain);
    let fresh = answer.trust_bundles.into_iter();
    let fresh = fresh.filter_map(|(name, document)| Some((format!("spiffe://{name}"), document.bundle()?)));
    let fresh: Arc<BTreeMap<String, Bundle>> = Arc::new(fresh.collect());
    let Some(bundle) = fresh.get(&own).cloned() else {
        console::say("expected the bundle of our own trust domain");
        return;
    };
    change.send_if_modified(|world| {
        let mut next = World::clone(world);
        for name in names {
            next.trusted.insert(name.clone(), Arc::clone(&fresh));
        }
        let learned = learn(&next, bundle);
        let changed = learned.is_some();
        next.trust = learned.unwrap_or(next.trust);
        *world = Arc::new(next);
        changed
    });
}
