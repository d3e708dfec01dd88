//! The broker's configuration file: closed, strict, and every relaxation has a name.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use evidence_formats::code::Coded;
use serde::Deserialize;
use thiserror::Error;
use verifier::{
    Revocation,
    ar4si::TrustLabel,
    baseline::{Baseline, BaselineError},
};

mod audit;
mod break_glass;
mod enrolment;
mod evidence;
mod exceptions;
mod exchange;
mod identity;
mod postgres;
mod ssh;
mod tenants;

pub use crate::endorsements::settings::{
    Mirror, Settings as Endorsements, SettingsError as EndorsementsError, StaleCrl,
};
use crate::{endorsements, store::TenantId};
pub use audit::Audit;
pub use break_glass::BreakGlass;
pub use enrolment::{Approval, Bounded, Enrolment};
pub(crate) use evidence::MinEvidence;
pub use exceptions::{Bridge, Exceptions, RotationDriver};
pub use exchange::Exchange;
pub(crate) use exchange::{
    ACCESS_TOKEN, ATTESTATION, Budget, ExchangeEntry, ForeignIssuer, IssuerKind, JWT_SVID, NonceUse, SubjectRule,
    TokenReview,
};
pub use identity::Identity;
pub(crate) use identity::{SvidEntry, TokenEntry, UpstreamFiles};
pub use postgres::DatabaseServer;
pub(crate) use postgres::{DatabaseTls, RoleEntry};
pub use ssh::Ssh;
pub(crate) use ssh::SshEntry;
pub use tenants::{Tenant, TenantFault};

/// The configuration of `countersign serve`. Relative paths are relative to the file's directory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the API is served.
    pub listen: SocketAddr,
    /// Where the store lies.
    pub data_dir: PathBuf,
    /// The file with the root key, which encrypts every stored secret.
    pub root_key: PathBuf,
    /// Who this broker is: `iss` of what it signs.
    pub issuer: String,
    /// `aud` of attestation results.
    pub audience: String,
    /// Certificate and client authentication.
    pub tls: Tls,
    /// Own listener of the metrics; absent: no metrics are served.
    pub metrics: Option<Metrics>,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
    /// What evidence is checked against.
    pub verification: Verification,
    /// Rules that hold before any policy.
    #[serde(default)]
    pub baseline: Baseline,
    /// What an appraisal may say without being refused.
    #[serde(default)]
    pub appraisal: Appraisal,
    /// Identities that affirmed guests may ask for.
    #[serde(default)]
    pub identity: Identity,
    /// Database servers that roles are made in.
    #[serde(default)]
    pub postgres: Vec<DatabaseServer>,
    /// SSH certificates that affirmed guests may ask for.
    #[serde(default)]
    pub ssh: Ssh,
    /// The token exchange.
    #[serde(default)]
    pub exchange: Exchange,
    /// How attestation keys of TPMs get into the register.
    #[serde(default)]
    pub enrolment: Enrolment,
    /// How long legacy secrets may live, and who is warned when.
    #[serde(default)]
    pub exceptions: Exceptions,
    /// Own listener that hands legacy secrets to clients that do not attest; absent: nothing is handed over.
    pub bridge: Option<Bridge>,
    /// How often the audit log is signed, and how long it is kept.
    #[serde(default)]
    pub audit: Audit,
    /// Who may approve a release that the policies refuse; absent: there is none.
    pub break_glass: Option<BreakGlass>,
    /// Who may sign reference values, and what is taken without.
    #[serde(default)]
    pub reference_values: ReferenceTrust,
    /// Where vendor documents come from, and how old they may be.
    #[serde(default)]
    pub endorsements: Endorsements,
    /// Own listener of the mirror of vendor documents; absent: nothing is mirrored.
    pub mirror: Option<Mirror>,
    /// Other tenants, as the file has them.
    #[serde(default)]
    tenant: Vec<Tenant>,
    /// The tenant that this is the configuration of.
    #[serde(skip, default = "TenantId::default_tenant")]
    pub(crate) name: TenantId,
    /// The configurations of the other tenants, made from `tenant` and what is common.
    #[serde(skip)]
    others: Vec<Config>,
}

/// Who may sign reference values (CoRIM).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReferenceTrust {
    /// The signers; with none, no signed manifest is taken.
    pub signers: Vec<ReferenceSigner>,
    /// Takes manifests without a signature, on the administrator's word.
    pub allow_unsigned_corim: bool,
    /// Leaves out values that describe the platform, which the baseline judges, instead of refusing the manifest.
    pub leave_out_platform_values: bool,
}

/// Somebody who may sign reference values.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceSigner {
    /// Name, for listings.
    pub name: String,
    /// PEM: public keys, and certificates under which the signer's are.
    pub file: PathBuf,
}

/// What an appraisal may say without being refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Appraisal {
    /// Labels of the trust vector (AR4SI) whose warnings pass, each listed in `relaxed` of every result it touched; for
    /// example `hardware` for a TCB status that the baseline accepts by name.
    pub allowed_warnings: Vec<TrustLabel>,
}

/// TLS of the API listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain, PEM, leaf first.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The CA that issues administrators' client certificates, PEM.
    pub admin_ca: PathBuf,
}

/// The metrics listener: plain HTTP, for a local scraper.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Where.
    pub listen: SocketAddr,
}

/// What evidence is checked against.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// Whether revocation data must be present.
    #[serde(default)]
    pub revocation: Revocation,
    /// Directory with vendor certificates and CRLs that guests do not send themselves. Read at start and on SIGHUP.
    pub endorsements: Option<PathBuf>,
    /// Replaces the vendors' roots; what verifies against these is `simulated`.
    #[serde(default)]
    pub trust_anchors: Vec<PathBuf>,
}

/// Bounds on what callers can use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Bytes of a request's headers, and of its buffer.
    pub header_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Seconds for the TLS handshake, and again for the headers of each request.
    pub header_seconds: u64,
    /// Seconds for a whole request, body included.
    pub request_seconds: u64,
    /// Seconds for open requests at shutdown.
    pub shutdown_seconds: u64,
    /// Requests per second and peer address (IPv6: /64) that are sustained, in bursts of up to twice as many.
    pub requests_per_second: u32,
    /// Attestations that are judged or wait to be judged at once.
    pub attestations: usize,
    /// Seconds that a nonce lives, 300 at most.
    pub nonce_seconds: u32,
    /// Seconds that an attestation result and a lease live, 3600 at most.
    pub result_seconds: u32,
    /// Records of refused evidence that could not be authenticated; older ones are dropped.
    pub unauthenticated_decisions: u32,
    /// Records of decisions; older ones are dropped. They are what a policy is replayed on.
    pub decisions: u32,
    /// Days that the record of a decision is kept.
    pub decision_days: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_bytes: 16 * 1024,
            // The evidence is base64 inside JSON: 4 MiB become 5.4 MiB, and the request around it is small.
            body_bytes: 6 * 1024 * 1024,
            header_seconds: 10,
            request_seconds: 30,
            shutdown_seconds: 20,
            requests_per_second: 200,
            attestations: 256,
            nonce_seconds: 300,
            result_seconds: 900,
            unauthenticated_decisions: 10_000,
            decisions: 1_000_000,
            decision_days: 90,
        }
    }
}

/// A configuration file is not usable.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be; the text names line and column.
    #[error("{}: {}", path.display(), cause.to_string().trim_end())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and why; part of the text, and therefore not a source.
        cause: Box<toml::de::Error>,
    },
    /// The baseline contradicts itself.
    #[error("{}", path.display())]
    Baseline {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: BaselineError,
    },
    /// A number of the endorsements' settings is out of its range.
    #[error("{}: {cause}", path.display())]
    Endorsements {
        /// Which file.
        path: PathBuf,
        /// Which number; part of the text, and therefore not a source.
        cause: EndorsementsError,
    },
    /// An identity contradicts itself.
    #[error("{}: identity: {fault}", path.display())]
    Identity {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// What is given out contradicts itself.
    #[error("{}: {table}: {fault}", path.display())]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// Which table.
        table: &'static str,
        /// What is wrong.
        fault: String,
    },
    /// The token exchange contradicts itself.
    #[error("{}: exchange: {fault}", path.display())]
    Exchange {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// The tenants do not go together.
    #[error("{}: tenant: {fault} ({})", path.display(), fault.code())]
    Tenants {
        /// Which file.
        path: PathBuf,
        /// What is wrong; part of the text, and therefore not a source.
        fault: TenantFault,
    },
    /// The configuration of one tenant is wrong.
    #[error("tenant {name}: {cause}")]
    Tenant {
        /// Which tenant.
        name: String,
        /// What is wrong; part of the text, and therefore not a source.
        cause: Box<ConfigError>,
    },
    /// A number is out of its range.
    #[error("{}: expected limits.{name} between {least} and {most}, found {found}", path.display())]
    Range {
        /// Which file.
        path: PathBuf,
        /// Which setting.
        name: &'static str,
        /// Lowest value.
        least: u64,
        /// Highest value.
        most: u64,
        /// What the file says.
        found: u64,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown or missing setting, or a limit out of range.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a file that lies at `path`.
    ///
    /// # Errors
    /// As for [`Config::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text)
            .map_err(|cause| ConfigError::Syntax { path: path.to_path_buf(), cause: Box::new(cause) })?;
        config.limits.in_range(path)?;
        let in_range = config.endorsements.in_range();
        in_range.map_err(|cause| ConfigError::Endorsements { path: path.to_path_buf(), cause })?;
        config.consistent(path)?;
        if let Some(fault) = tenants::named(&config) {
            return Err(ConfigError::Tenants { path: path.to_path_buf(), fault });
        }
        config.others = std::mem::take(&mut config.tenant).into_iter().map(|tenant| config.of(tenant)).collect();
        if let Some(fault) = tenants::fault(&config) {
            return Err(ConfigError::Tenants { path: path.to_path_buf(), fault });
        }
        for other in &config.others {
            let in_tenant =
                |cause| ConfigError::Tenant { name: other.name.as_str().to_owned(), cause: Box::new(cause) };
            other.consistent(path).map_err(in_tenant)?;
        }
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        config.others.iter_mut().for_each(|other| other.resolve(directory));
        config.resolve(directory);
        Ok(config)
    }

    /// The configuration of every tenant; this one is the first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }

    /// The configurations of the other tenants.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Self> {
        self.others.iter()
    }

    /// Whether what belongs to one tenant goes together.
    fn consistent(&self, path: &Path) -> Result<(), ConfigError> {
        let consistent = self.baseline.consistent();
        consistent.map_err(|source| ConfigError::Baseline { path: path.to_path_buf(), source })?;
        if let Some(fault) = self.identity.fault() {
            return Err(ConfigError::Identity { path: path.to_path_buf(), fault });
        }
        let credentials = [
            ("postgres", postgres::fault(&self.postgres)),
            ("ssh", self.ssh.fault()),
            ("exceptions", self.exceptions.fault(&self.postgres)),
        ];
        if let Some((table, fault)) = credentials.into_iter().find_map(|(table, fault)| Some((table, fault?))) {
            return Err(ConfigError::Credentials { path: path.to_path_buf(), table, fault });
        }
        if let Some(fault) = self.exchange.fault(&self.issuer, self.identity.trust_domain.is_some()) {
            return Err(ConfigError::Exchange { path: path.to_path_buf(), fault });
        }
        Ok(())
    }

    fn resolve(&mut self, directory: &Path) {
        let paths = [&mut self.data_dir, &mut self.root_key, &mut self.tls.certificate, &mut self.tls.key];
        let optional = self.verification.endorsements.iter_mut().chain(&mut self.verification.trust_anchors);
        let optional = optional.chain(&mut self.enrolment.ek_trust_anchors);
        let optional = optional.chain(self.bridge.iter_mut().filter_map(|bridge| bridge.client_ca.as_mut()));
        let signers = self.reference_values.signers.iter_mut().map(|signer| &mut signer.file);
        let optional = optional.chain(endorsements::paths(&mut self.endorsements));
        let upstream = self.identity.authority.upstream.iter_mut();
        let optional =
            optional.chain(upstream.flat_map(|files| [&mut files.certificate, &mut files.key, &mut files.roots]));
        let optional = optional.chain(self.postgres.iter_mut().flat_map(DatabaseServer::paths));
        let optional = optional.chain(self.exchange.paths());
        for path in paths.into_iter().chain([&mut self.tls.admin_ca]).chain(optional).chain(signers) {
            *path = directory.join(&*path);
        }
    }
}

impl Limits {
    fn in_range(&self, path: &Path) -> Result<(), ConfigError> {
        let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let ranges = [
            ("connections", count(self.connections), 1, 1 << 20),
            ("header_bytes", count(self.header_bytes), 8 * 1024, 1 << 20),
            ("body_bytes", count(self.body_bytes), 64 * 1024, 64 << 20),
            ("header_seconds", self.header_seconds, 1, 600),
            ("request_seconds", self.request_seconds, 1, 600),
            ("shutdown_seconds", self.shutdown_seconds, 0, 600),
            ("requests_per_second", u64::from(self.requests_per_second), 1, 1_000_000),
            ("attestations", count(self.attestations), 1, 1 << 16),
            ("nonce_seconds", u64::from(self.nonce_seconds), 1, 300),
            ("result_seconds", u64::from(self.result_seconds), 1, 3600),
            ("unauthenticated_decisions", u64::from(self.unauthenticated_decisions), 0, 1 << 30),
            ("decisions", u64::from(self.decisions), 1, 1 << 30),
            ("decision_days", u64::from(self.decision_days), 1, 3650),
        ];
        match ranges.into_iter().find(|(_, found, least, most)| found < least || found > most) {
            Some((name, found, least, most)) => {
                Err(ConfigError::Range { path: path.to_path_buf(), name, least, most, found })
            }
            None => Ok(()),
        }
    }
}
