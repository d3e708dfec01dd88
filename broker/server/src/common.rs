//! What the tenants of one broker share: the store, the root key, what the vendors published, and the machine itself.
//!
//! Whatever decides for a tenant, or signs in its name, is not here: see [`Broker`](crate::broker::Broker).

use std::{fmt, sync::Arc};

use anyhow::Result;
use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use verifier::CrlFloors;

use crate::{
    broker::{STORE_FILE, read_root_key},
    chains::ChainCache,
    clock,
    collateral::Collateral,
    config::Config,
    endorsements::{Ground, Library},
    http::rate::RateLimit,
    metrics::Metrics,
    store::{Store, TenantId, sqlite::SqliteStore},
    vault::Vault,
};

/// Long request bodies in memory at once: together about 100 MB at the default limit.
const LONG_BODIES: usize = 16;

/// Seconds.
const DAY: i64 = 24 * 60 * 60;

/// What the tenants of one broker share.
pub(crate) struct Common {
    pub(crate) store: Arc<dyn Store>,
    /// Over the root key; tenants take theirs from it.
    pub(crate) vault: Vault,
    pub(crate) served: Arc<[Served]>,
    /// The number of the newest lease event.
    pub(crate) newest_event: Arc<watch::Sender<u64>>,
    /// Streams that end by themselves end when this is cancelled.
    pub(crate) stopping: CancellationToken,
    /// One permit for each guest that waits for an end of its leases; half of the connections at most.
    pub(crate) watchers: Arc<Semaphore>,
    /// The vendors' roots, and the operator's directory of endorsements.
    pub(crate) collateral: Arc<ArcSwap<Collateral>>,
    pub(crate) library: Arc<Library>,
    /// Vendor chains that were checked.
    pub(crate) chains: Arc<ChainCache>,
    pub(crate) crl_floors: Arc<ArcSwap<CrlFloors>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Limits requests by peer, whatever tenant they are for.
    pub(crate) rate: Arc<RateLimit>,
    pub(crate) attestations: Arc<Semaphore>,
    pub(crate) long_bodies: Arc<Semaphore>,
    pub(crate) processors: Arc<Semaphore>,
}

/// A tenant of this broker, as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Served {
    /// Its name.
    pub(crate) name: TenantId,
    /// `iss` of what it signs.
    pub(crate) issuer: String,
    /// Its SPIFFE trust domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trust_domain: Option<String>,
}

impl Served {
    fn of(config: &Config) -> Self {
        let trust_domain = config.identity.trust_domain.as_ref();
        Self {
            name: config.name.clone(),
            issuer: config.issuer.clone(),
            trust_domain: trust_domain.map(|trust_domain| trust_domain.as_str().to_owned()),
        }
    }
}

impl Common {
    /// Opens store and root key and reads what the vendors published.
    ///
    /// # Errors
    /// When any of them cannot be read.
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config.data_dir.join(STORE_FILE)).await?);
        let vault = Vault::new(Arc::clone(&store), read_root_key(&config.root_key)?);
        let collateral = Collateral::read(&config.verification)?;
        let library = Library::open(Arc::clone(&store), ground(&collateral), &config.endorsements).await?;
        let floors = store.crl_floors().await?;
        let newest_event = store.newest_lease_event().await?;
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            store,
            vault,
            served: config.all().map(Served::of).collect(),
            newest_event: Arc::new(watch::channel(newest_event).0),
            stopping: CancellationToken::new(),
            watchers: Arc::new(Semaphore::new(config.limits.connections.div_ceil(2))),
            collateral: Arc::new(ArcSwap::from_pointee(collateral)),
            library: Arc::new(library),
            chains: Arc::default(),
            crl_floors: Arc::new(ArcSwap::from_pointee(floors)),
            metrics: Arc::new(Metrics::new()),
            rate: Arc::new(RateLimit::new(config.limits.requests_per_second)),
            attestations: Arc::new(Semaphore::new(config.limits.attestations)),
            long_bodies: Arc::new(Semaphore::new(LONG_BODIES)),
            processors: Arc::new(Semaphore::new(processors)),
        })
    }

    /// Takes over other trust anchors and another directory of endorsements.
    pub(crate) async fn take_over(&self, collateral: Collateral) -> Result<()> {
        self.library.stand_on(ground(&collateral)).await?;
        self.collateral.store(Arc::new(collateral));
        self.chains.clear();
        Ok(())
    }

    /// Takes over vendor documents and CRL floors of other brokers on the same store, and fetches what grows old.
    pub(crate) async fn refresh_endorsements(&self) -> Result<()> {
        self.library.keep_fresh().await?;
        self.crl_floors.store(Arc::new(self.store.crl_floors().await?));
        Ok(())
    }

    /// Ends leases whose time is over, and wakes the event streams when any lease ended anywhere.
    pub(crate) async fn tend_leases(&self) -> Result<()> {
        let ended = self.store.end_expired(clock::now()).await?;
        if ended > 0 {
            tracing::debug!(ended, "leases expired");
        }
        let newest = self.store.newest_lease_event().await?;
        self.newest_event.send_if_modified(|known| std::mem::replace(known, newest) != newest);
        Ok(())
    }

    /// Drops what is of no use any more, whose ever it was.
    pub(crate) async fn sweep(&self) -> Result<()> {
        let now = clock::now();
        self.store.sweep_leases(now).await?;
        self.store.sweep_roles(now.plus_seconds(-DAY)).await?;
        self.store.sweep_join_tokens(now.plus_seconds(-DAY)).await?;
        self.store.sweep_certificates(now.plus_seconds(-DAY)).await?;
        Ok(self.store.sweep_proofs(now).await?)
    }
}

fn ground(collateral: &Collateral) -> Ground {
    Ground { anchors: collateral.anchors.clone(), directory: collateral.endorsements.clone() }
}

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Common").field("served", &self.served).finish_non_exhaustive()
    }
}
