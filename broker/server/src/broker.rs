//! Everything that the requests to one tenant share.

use std::{
    fmt, fs,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

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
    common::{Common, Served},
    config::{Audit, BreakGlass, Config, Exceptions, Exchange, Identity, Limits, Ssh},
    databases::Databases,
    endorsements::Library,
    enrolment::EnrolmentTerms,
    exceptions::Pauses,
    exchange::{Issuers, Reviews},
    federation::{BundleEndpoint, Federations},
    http::{bridge::Bridge, rate::RateLimit},
    identity::{AuthorityTerms, KeyRing, RevocationLists, Succession, ensure_keys, succeed},
    leases::{Places, SharedLeaseKey},
    metrics::Metrics,
    nonce::{NonceKey, SpentNonces},
    reference_trust::ReferenceTrust,
    rulebook::Rulebook,
    store::{KeyPurpose, Retention, Store, StoreError, TenantId},
    vault::Vault,
};

/// Name of the store's file in the data directory.
pub(crate) const STORE_FILE: &str = "countersign.db";

/// Seconds.
const DAY: i64 = 24 * 60 * 60;
/// Event streams of one tenant at once.
const STREAMS: usize = 64;

/// The broker as one tenant sees it. Shared by every request to that tenant; what changes at run time is swapped whole. What
/// is in an `Arc` here may be shared with other tenants: it comes from [`Common`], and nothing else does.
pub(crate) struct Broker {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) limits: Limits,
    pub(crate) baseline: ArcSwap<Baseline>,
    pub(crate) allowed_warnings: Vec<TrustLabel>,
    pub(crate) tenant: TenantId,
    /// Every tenant of this broker, for the operator.
    pub(crate) served: Arc<[Served]>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) vault: Vault,
    pub(crate) nonces: NonceKey,
    pub(crate) spent: SpentNonces,
    pub(crate) lease_key: SharedLeaseKey,
    pub(crate) places: Places,
    /// The number of the newest lease event of any tenant, for the event streams.
    pub(crate) newest_event: Arc<watch::Sender<u64>>,
    /// Streams that end by themselves end when this is cancelled.
    pub(crate) stopping: CancellationToken,
    /// One permit for each event stream.
    pub(crate) streams: Arc<Semaphore>,
    /// One permit for each guest that waits for an end of its leases; half of the connections at most.
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) keyring: ArcSwap<KeyRing>,
    pub(crate) identity: Identity,
    pub(crate) exceptions: Exceptions,
    pub(crate) audit: Audit,
    /// Who may approve a release that the policies refuse, if anybody.
    pub(crate) break_glass: Option<BreakGlass>,
    /// Decisions over evidence that was not authentic, which the audit log was not told yet.
    pub(crate) not_authentic: AtomicU64,
    /// When a legacy secret that could not be changed is tried again.
    pub(crate) rotation_pauses: Pauses,
    /// What hands legacy secrets over, if anything does.
    pub(crate) bridge: Option<Bridge>,
    /// How CAs of X.509-SVIDs are made.
    pub(crate) authority: ArcSwap<AuthorityTerms>,
    /// The revocation lists of those CAs.
    pub(crate) revocation_lists: RevocationLists,
    /// The bundles of other trust domains.
    pub(crate) federations: ArcSwap<Federations>,
    /// The certificate of the own bundle endpoint.
    pub(crate) bundle_endpoint: Arc<BundleEndpoint>,
    pub(crate) ssh: Ssh,
    pub(crate) databases: Databases,
    pub(crate) exchange: Exchange,
    /// Asks clusters about their tokens.
    pub(crate) reviews: Reviews,
    /// The keys of those whose tokens are exchanged.
    pub(crate) issuers: Issuers,
    pub(crate) rules: ArcSwap<Rulebook>,
    pub(crate) collateral: Arc<ArcSwap<Collateral>>,
    pub(crate) library: Arc<Library>,
    pub(crate) enrolment: ArcSwap<EnrolmentTerms>,
    pub(crate) reference_trust: ArcSwap<ReferenceTrust>,
    pub(crate) chains: Arc<ChainCache>,
    pub(crate) crl_floors: Arc<ArcSwap<CrlFloors>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rate: Arc<RateLimit>,
    /// Limits exchanges by attested key.
    pub(crate) exchange_rate: RateLimit<String>,
    /// One permit for each attestation that is judged or waits to be judged.
    pub(crate) attestations: Arc<Semaphore>,
    /// One permit for each long body that is in memory.
    pub(crate) long_bodies: Arc<Semaphore>,
    /// One permit for each processor: verification and signing never take more threads than there are.
    pub(crate) processors: Arc<Semaphore>,
}

/// What a tenant reads again while it runs.
#[derive(Debug)]
pub(crate) struct Reread {
    enrolment: EnrolmentTerms,
    reference_trust: ReferenceTrust,
    baseline: Baseline,
    authority: AuthorityTerms,
}

impl Broker {
    /// Opens the keys of the tenant of `config`, compiles its rules and reads the files that it names. What it shares with
    /// others comes from `common`.
    ///
    /// # Errors
    /// When any of them cannot be read: a broker that cannot decide does not start.
    pub(crate) async fn open(config: &Config, common: &Common) -> Result<Arc<Self>> {
        let tenant = config.name.clone();
        let (store, now) = (Arc::clone(&common.store), clock::now());
        store.ensure_tenant(&tenant, now).await?;
        let vault = common.vault.of_tenant(&tenant);
        let nonces = nonce_key(&vault).await?;
        let lease_key = shared_key(&vault, KeyPurpose::Lease).await?;
        let password_key = shared_key(&vault, KeyPurpose::DatabasePassword).await?;
        let databases = Databases::open(&config.postgres, store.installation().await?, password_key)?;
        let authority = AuthorityTerms::read(&config.identity, now).context("identity.authority.upstream")?;
        ensure_keys(&vault, Some(&authority), now).await?;
        let keyring = KeyRing::load(&vault, config.identity.bundle.refresh_hint_seconds, now).await?;
        let federations = Federations::read(store.federations(&tenant).await?, now);
        let rules = Rulebook::load(&*store, &tenant).await?;
        let reference_trust = ReferenceTrust::read(&config.reference_values)?;
        Ok(Arc::new(Self {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            limits: config.limits.clone(),
            baseline: ArcSwap::from_pointee(config.baseline.clone()),
            allowed_warnings: config.appraisal.allowed_warnings.clone(),
            tenant,
            served: Arc::clone(&common.served),
            store,
            vault,
            nonces,
            spent: SpentNonces::default(),
            lease_key,
            places: Places::default(),
            newest_event: Arc::clone(&common.newest_event),
            stopping: common.stopping.clone(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            watchers: Arc::clone(&common.watchers),
            keyring: ArcSwap::from_pointee(keyring),
            identity: config.identity.clone(),
            exceptions: config.exceptions.clone(),
            audit: config.audit.clone(),
            break_glass: config.break_glass.clone(),
            not_authentic: AtomicU64::new(0),
            rotation_pauses: Pauses::default(),
            bridge: config.bridge.as_ref().map(Bridge::open).transpose()?,
            authority: ArcSwap::from_pointee(authority),
            revocation_lists: RevocationLists::default(),
            federations: ArcSwap::from_pointee(federations),
            bundle_endpoint: Arc::default(),
            ssh: config.ssh.clone(),
            databases,
            exchange: config.exchange.clone(),
            reviews: Reviews::default(),
            issuers: Issuers::new(&config.exchange.issuer),
            rules: ArcSwap::from_pointee(rules),
            collateral: Arc::clone(&common.collateral),
            library: Arc::clone(&common.library),
            enrolment: ArcSwap::from_pointee(enrolment_terms(config)?),
            reference_trust: ArcSwap::from_pointee(reference_trust),
            chains: Arc::clone(&common.chains),
            crl_floors: Arc::clone(&common.crl_floors),
            metrics: Arc::clone(&common.metrics),
            rate: Arc::clone(&common.rate),
            exchange_rate: RateLimit::new(config.exchange.requests_per_second),
            attestations: Arc::clone(&common.attestations),
            long_bodies: Arc::clone(&common.long_bodies),
            processors: Arc::clone(&common.processors),
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

    /// Reads again what the tenant's configuration names: enrolment's anchors, the signers of reference values, the baseline and
    /// the upstream CA. Nothing changes before [`Broker::take_over`].
    pub(crate) fn reread(&self, config: &Config) -> Result<Reread> {
        Ok(Reread {
            enrolment: enrolment_terms(config)?,
            reference_trust: ReferenceTrust::read(&config.reference_values)?,
            baseline: config.baseline.clone(),
            authority: AuthorityTerms::read(&under_authority(&self.identity, config), clock::now())
                .context("identity.authority.upstream")?,
        })
    }

    /// From now on this holds.
    pub(crate) fn take_over(&self, reread: Reread) {
        let Reread { enrolment, reference_trust, baseline, authority } = reread;
        self.enrolment.store(Arc::new(enrolment));
        self.reference_trust.store(Arc::new(reference_trust));
        self.baseline.store(Arc::new(baseline));
        self.authority.store(Arc::new(authority));
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

    /// Drops decisions of the tenant that are of no use any more.
    pub(crate) async fn sweep(&self) -> Result<()> {
        let now = clock::now();
        let keep = Retention {
            unauthenticated: self.limits.unauthenticated_decisions,
            decisions: self.limits.decisions,
            since: now.plus_seconds(i64::from(self.limits.decision_days).saturating_mul(-DAY)),
        };
        self.prune_audit(now).await?;
        Ok(self.store.sweep(&self.tenant, now, keep).await?)
    }
}

/// The identities of the start, under the authority of the configuration as it is now.
fn under_authority(identity: &Identity, config: &Config) -> Identity {
    Identity { authority: config.identity.authority.clone(), ..identity.clone() }
}

fn enrolment_terms(config: &Config) -> Result<EnrolmentTerms> {
    let anchors = ek_anchors(&config.enrolment.ek_trust_anchors)?;
    Ok(EnrolmentTerms { anchors, settings: config.enrolment.clone() })
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
    Ok(NonceKey::new(&*shared_key(vault, KeyPurpose::Nonce).await?))
}

/// The tenant's key of a purpose that others are derived from. A new tenant, or a store of an older version, has none: it is
/// made once, by whoever is first.
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
