//! The bundle of our trust domain: asked for as often as it says, and whenever a certificate is issued.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hyper::Method;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    keeper::Keeping,
    world::{Standing, Trust, World},
};
use crate::{
    backoff::{Backoff, jittered, random_byte},
    bundle::{Bundle, BundleDocument},
    connection::TransportError,
    console,
    exchange::Exchange,
    lease::{Given, Want},
    life::Life,
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
        world.certificates.values().filter_map(|standing| match standing {
            Standing::Held(certificate) => Some(&certificate.svid),
            Standing::Absent | Standing::Refused => None,
        })
    };
    let own = held().find_map(|svid| svid.trust_domain().map(|name| format!("spiffe://{name}")));
    let own = own.or_else(|| world.trust.own.clone())?;
    // Those of foreign trust domains came with the certificates.
    let mut bundles: BTreeMap<_, _> = held().flat_map(|svid| svid.trusted.clone()).collect();
    bundles.insert(own.clone(), bundle);
    let trust = Trust { own: Some(own), bundles };
    (*world.trust != trust).then(|| Arc::new(trust))
}
