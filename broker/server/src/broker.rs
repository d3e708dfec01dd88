//! Everything that requests share.

use std::{fmt, fs, path::Path, sync::Arc};

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use keys::{envelope::RootKey, secret::SecretBytes};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use verifier::{Claims, CrlFloors, Platform, RawClaims, ar4si::TrustLabel, baseline::Baseline, x509::CrlNumber};
use zeroize::Zeroizing;

use crate::{
    chains::ChainCache,
    clock,
    collateral::{Collateral, ek_anchors},
    config::{Config, Exceptions, Exchange, Identity, Limits, Ssh},
    databases::Databases,
    endorsements::{Ground, Library},
    enrolment::EnrolmentTerms,
    exchange::Issuers,
    federation::{BundleEndpoint, Federations},
    http::{bridge::Bridge, rate::RateLimit},
    identity::{AuthorityTerms, KeyRing, Succession, ensure_keys, succeed},
    leases::{Places, SharedLeaseKey},
    metrics::Metrics,
    nonce::{KEY_LENGTH, NonceKey, SpentNonces},
    reference_trust::ReferenceTrust,
    rulebook::Rulebook,
    store::{KeyPurpose, Retention, Store, StoreError, TenantId, sqlite::SqliteStore},
    vault::Vault,
};

/// Name of the store's file in the data directory.
pub(crate) const STORE_FILE: &str = "countersign.db";

/// Long request bodies in memory at once: together about 100 MB at the default limit.
const LONG_BODIES: usize = 16;

/// Seconds.
const DAY: i64 = 24 * 60 * 60;
/// Event streams at once.
const STREAMS: usize = 64;

/// The broker's state. Shared by every request; what changes at run time is swapped whole.
pub(crate) struct Broker {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) limits: Limits,
    pub(crate) baseline: ArcSwap<Baseline>,
    pub(crate) allowed_warnings: Vec<TrustLabel>,
    pub(crate) tenant: TenantId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) vault: Vault,
    pub(crate) nonces: NonceKey,
    pub(crate) spent: SpentNonces,
    pub(crate) lease_key: SharedLeaseKey,
    pub(crate) places: Places,
    /// The number of the newest lease event, for the event streams.
    pub(crate) newest_event: watch::Sender<u64>,
    /// Streams that end by themselves end when this is cancelled.
    pub(crate) stopping: CancellationToken,
    /// One permit for each event stream.
    pub(crate) streams: Arc<Semaphore>,
    /// One permit for each guest that waits for an end of its leases; half of the connections at most.
    pub(crate) watchers: Semaphore,
    pub(crate) keyring: ArcSwap<KeyRing>,
    pub(crate) identity: Identity,
    pub(crate) exceptions: Exceptions,
    /// What hands legacy secrets over, if anything does.
    pub(crate) bridge: Option<Bridge>,
    /// How CAs of X.509-SVIDs are made.
    pub(crate) authority: ArcSwap<AuthorityTerms>,
    /// The bundles of other trust domains.
    pub(crate) federations: ArcSwap<Federations>,
    /// The certificate of the own bundle endpoint.
    pub(crate) bundle_endpoint: Arc<BundleEndpoint>,
    pub(crate) ssh: Ssh,
    pub(crate) databases: Databases,
    pub(crate) exchange: Exchange,
    /// The keys of those whose tokens are exchanged.
    pub(crate) issuers: Issuers,
    pub(crate) rules: ArcSwap<Rulebook>,
    pub(crate) collateral: ArcSwap<Collateral>,
    pub(crate) library: Library,
    pub(crate) enrolment: ArcSwap<EnrolmentTerms>,
    pub(crate) reference_trust: ArcSwap<ReferenceTrust>,
    pub(crate) chains: ChainCache,
    pub(crate) crl_floors: ArcSwap<CrlFloors>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rate: RateLimit,
    /// Limits exchanges by attested key.
    pub(crate) exchange_rate: RateLimit<String>,
    /// One permit for each attestation that is judged or waits to be judged.
    pub(crate) attestations: Semaphore,
    /// One permit for each long body that is in memory.
    pub(crate) long_bodies: Semaphore,
    /// One permit for each processor: verification and signing never take more threads than there are.
    pub(crate) processors: Semaphore,
}

impl Broker {
    /// Opens store and keys, compiles the rules and reads the collateral.
    ///
    /// # Errors
    /// When any of them cannot be read: a broker that cannot decide does not start.
    pub(crate) async fn open(config: &Config) -> Result<Arc<Self>> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config.data_dir.join(STORE_FILE)).await?);
        let vault = Vault::new(Arc::clone(&store), read_root_key(&config.root_key)?);
        let nonces = nonce_key(&vault).await?;
        let lease_key = shared_key(&vault, KeyPurpose::Lease).await?;
        let password_key = shared_key(&vault, KeyPurpose::DatabasePassword).await?;
        let databases = Databases::open(&config.postgres, store.installation().await?, password_key)?;
        let now = clock::now();
        let authority = AuthorityTerms::read(&config.identity, now).context("identity.authority.upstream")?;
        ensure_keys(&vault, Some(&authority), now).await?;
        let keyring = KeyRing::load(&vault, config.identity.bundle.refresh_hint_seconds, now).await?;
        let tenant = TenantId::default_tenant();
        let federations = Federations::read(store.federations(&tenant).await?, now);
        let rules = Rulebook::load(&*store, &tenant).await?;
        let collateral = Collateral::read(&config.verification)?;
        let reference_trust = ReferenceTrust::read(&config.reference_values, &tenant)?;
        let library = Library::open(Arc::clone(&store), ground(&collateral), &config.endorsements).await?;
        let floors = store.crl_floors().await?;
        let newest_event = store.newest_lease_event().await?;
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Arc::new(Self {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            limits: config.limits.clone(),
            baseline: ArcSwap::from_pointee(config.baseline.clone()),
            allowed_warnings: config.appraisal.allowed_warnings.clone(),
            tenant,
            store,
            vault,
            nonces,
            spent: SpentNonces::default(),
            lease_key,
            places: Places::default(),
            newest_event: watch::channel(newest_event).0,
            stopping: CancellationToken::new(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            watchers: Semaphore::new(config.limits.connections.div_ceil(2)),
            keyring: ArcSwap::from_pointee(keyring),
            identity: config.identity.clone(),
            exceptions: config.exceptions.clone(),
            bridge: config.bridge.as_ref().map(Bridge::open).transpose()?,
            authority: ArcSwap::from_pointee(authority),
            federations: ArcSwap::from_pointee(federations),
            bundle_endpoint: Arc::default(),
            ssh: config.ssh.clone(),
            databases,
            exchange: config.exchange.clone(),
            issuers: Issuers::new(&config.exchange.issuer),
            rules: ArcSwap::from_pointee(rules),
            collateral: ArcSwap::from_pointee(collateral),
            library,
            enrolment: ArcSwap::from_pointee(enrolment_terms(config)?),
            reference_trust: ArcSwap::from_pointee(reference_trust),
            chains: ChainCache::default(),
            crl_floors: ArcSwap::from_pointee(floors),
            metrics: Arc::new(Metrics::new()),
            rate: RateLimit::new(config.limits.requests_per_second),
            exchange_rate: RateLimit::new(config.exchange.requests_per_second),
            attestations: Semaphore::new(config.limits.attestations),
            long_bodies: Semaphore::new(LONG_BODIES),
            processors: Semaphore::new(processors),
        }))
    }

    /// Takes over changed policies and reference values, when there are any.
    pub(crate) async fn refresh_rules(&self) -> Result<()> {
        if self.store.rulebook_generation().await? != self.rules.load().generation {
            let rules = Rulebook::load(&*self.store, &self.tenant).await?;
            tracing::info!(generation = rules.generation, "rules reloaded");
            self.rules.store(Arc::new(rules));
        }
        Ok(())
    }

    /// Reads trust anchors, endorsements, the signers of reference values, the baseline and the upstream CA again: all of them
    /// or none.
    pub(crate) async fn reload_collateral(&self, config: &Config) -> Result<()> {
        let enrolment = enrolment_terms(config)?;
        let reference_trust = ReferenceTrust::read(&config.reference_values, &self.tenant)?;
        let collateral = Collateral::read(&config.verification)?;
        let authority = AuthorityTerms::read(&reread(&self.identity, config), clock::now())
            .context("identity.authority.upstream")?;
        self.library.stand_on(ground(&collateral)).await?;
        self.collateral.store(Arc::new(collateral));
        self.enrolment.store(Arc::new(enrolment));
        self.reference_trust.store(Arc::new(reference_trust));
        self.baseline.store(Arc::new(config.baseline.clone()));
        self.authority.store(Arc::new(authority));
        self.chains.clear();
        tracing::info!("configuration reloaded");
        Ok(())
    }

    /// Takes over vendor documents and CRL floors of other brokers on the same store, and fetches what grows old.
    pub(crate) async fn refresh_endorsements(&self) -> Result<()> {
        self.library.keep_fresh().await?;
        self.crl_floors.store(Arc::new(self.store.crl_floors().await?));
        Ok(())
    }

    /// Remembers the numbers of the CRLs and the collateral that authentic evidence was checked against. A simulated
    /// authority has the names of a real one, so its numbers are not remembered.
    pub(crate) async fn raise_crl_floor(&self, claims: &Claims) -> Result<(), StoreError> {
        if claims.platform == Platform::Simulated {
            return Ok(());
        }
        for (subject, number) in numbers_of(&claims.raw) {
            if self.crl_floors.load().of(subject).is_some_and(|floor| floor >= number) {
                continue;
            }
            self.store.raise_crl_floor(subject, number).await?;
            self.crl_floors.rcu(|floors| {
                let mut raised = CrlFloors::clone(floors);
                raised.raise(subject, number);
                raised
            });
        }
        Ok(())
    }

    /// Takes over changed signing keys, and lets those whose time came begin or end.
    pub(crate) async fn refresh_keys(&self) -> Result<()> {
        let (now, hint) = (clock::now(), self.identity.bundle.refresh_hint_seconds);
        let keyring = KeyRing::load(&self.vault, hint, now).await?;
        if let (Some(trust_domain), Some(_)) = (&self.identity.trust_domain, self.identity.bundle.listen) {
            self.bundle_endpoint.renew(trust_domain, &keyring, now)?;
        }
        self.keyring.store(Arc::new(keyring));
        Ok(())
    }

    /// Prepares the successor of the CA that issues SVIDs when it is due.
    pub(crate) async fn tend_authority(&self) -> Result<()> {
        let (authority, keyring) = (self.authority.load(), self.keyring.load());
        match succeed(&self.vault, &keyring, &authority, clock::now()).await? {
            Succession::NotDue => return Ok(()),
            Succession::Ahead(why) => tracing::warn!(why, "the next CA of SVIDs is published and signs soon"),
            Succession::AtOnce(why) => tracing::warn!(why, "another CA of SVIDs signs from now on"),
            Succession::Impossible(ends) => {
                tracing::error!(%ends, "the CA of SVIDs cannot be succeeded: the upstream CA ends then; replace it");
                return Ok(());
            }
        }
        self.refresh_keys().await
    }

    /// Drops what is of no use any more.
    pub(crate) async fn sweep(&self) -> Result<()> {
        let now = clock::now();
        let keep = Retention {
            unauthenticated: self.limits.unauthenticated_decisions,
            decisions: self.limits.decisions,
            since: now.plus_seconds(i64::from(self.limits.decision_days).saturating_mul(-DAY)),
        };
        self.store.sweep_leases(now).await?;
        self.store.sweep_roles(now.plus_seconds(-DAY)).await?;
        self.store.sweep_proofs(now).await?;
        Ok(self.store.sweep(now, keep).await?)
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
}

/// The identities of the start, under the authority of the configuration as it is now.
fn reread(identity: &Identity, config: &Config) -> Identity {
    Identity { authority: config.identity.authority.clone(), ..identity.clone() }
}

fn enrolment_terms(config: &Config) -> Result<EnrolmentTerms> {
    let anchors = ek_anchors(&config.enrolment.ek_trust_anchors)?;
    Ok(EnrolmentTerms { anchors, settings: config.enrolment.clone() })
}

fn ground(collateral: &Collateral) -> Ground {
    Ground { anchors: collateral.anchors.clone(), directory: collateral.endorsements.clone() }
}

/// The numbers of the CRLs and the collateral that the hardware's chain was checked against.
fn numbers_of(raw: &RawClaims) -> Vec<(&str, CrlNumber)> {
    match raw {
        RawClaims::Snp(snp) => snp.crl.iter().map(|crl| (crl.issuer.as_str(), crl.number)).collect(),
        RawClaims::Azure(azure) => numbers_of(&azure.hardware),
        RawClaims::Tdx(tdx) => {
            tdx.collateral.floors.iter().map(|floor| (floor.subject.as_str(), floor.number)).collect()
        }
        RawClaims::HostedVtpm(composite) | RawClaims::Svsm(composite) => numbers_of(&composite.hardware),
        RawClaims::Tpm(_) => Vec::new(),
    }
}

/// Reads the file with the root key.
pub(crate) fn read_root_key(path: &Path) -> Result<RootKey> {
    let bytes = fs::read(path).with_context(|| format!("the root key {} cannot be read", path.display()))?;
    RootKey::from_file_bytes(&Zeroizing::new(bytes)).with_context(|| path.display().to_string())
}

async fn nonce_key(vault: &Vault) -> Result<NonceKey> {
    let keys = vault.keys(KeyPurpose::Nonce).await?;
    let (_, key) = keys.first().context("expected a nonce key in the store: run countersign init")?;
    let key: &[u8; KEY_LENGTH] = key.expose().try_into().context("expected a nonce key of 32 bytes in the store")?;
    Ok(NonceKey::new(key))
}

/// The key of a purpose that others are derived from. A store of an older version has none: it is made once, by whoever is
/// first.
async fn shared_key(vault: &Vault, purpose: KeyPurpose) -> Result<SharedLeaseKey> {
    let name = purpose.as_str();
    if vault.keys(purpose).await?.is_empty() {
        let key = SecretBytes::new(NonceKey::generate()?.to_vec());
        // Another broker may be first; then its key is the one.
        let _lost_race = vault.put_key(purpose, &format!("{name}-1"), &key, clock::now(), clock::now()).await;
    }
    let keys = vault.keys(purpose).await?;
    let (_, key) = keys.first().with_context(|| format!("expected a {name} key in the store"))?;
    let key = key.expose().try_into().with_context(|| format!("expected a {name} key of 32 bytes in the store"))?;
    Ok(Zeroizing::new(key))
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("issuer", &self.issuer).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
