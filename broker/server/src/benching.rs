//! Doors for the benchmarks of `tests/bench`: issuing as for a guest's request, without the server around it.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use keys::{envelope::RootKey, random::SystemRandom, secret::SecretBytes};
use rcgen::CertificateSigningRequestParams;
use verifier::{Affirmed, Timestamp};

use crate::{
    attest::request::{GrantKind, GrantRequest, SealTo},
    config::{Identity, SvidEntry},
    federation::Federations,
    identity::{AuthorityTerms, Issuer, KeyRing, Terms, ensure_keys, read_csr},
    leases::Slot,
    release::Denied,
    store::sqlite::SqliteStore,
    vault::Vault,
};

/// A trust domain with one identity for the workload `web`.
const IDENTITY: &str =
    "trust_domain = \"example.org\"\n[[svid]]\nname = \"web\"\nworkloads = [\"web\"]\naudiences = [\"a\"]";

/// Everything that issues for one affirmed guest of the workload `web`.
#[derive(Debug)]
pub struct Issuance {
    affirmed: Affirmed,
    identity: Identity,
    keyring: KeyRing,
    federations: Federations,
    slot: Slot,
    now: Timestamp,
}

/// A request for a certificate whose signature was verified.
#[derive(Debug)]
pub struct VerifiedRequest(CertificateSigningRequestParams);

impl Issuance {
    /// Makes keys in a store of its own in `directory`.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn new(directory: &Path, affirmed: Affirmed, now: Timestamp) -> Result<Self> {
        let identity: Identity = toml::from_str(IDENTITY)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let keyring = runtime.block_on(async {
            let store = SqliteStore::open(&directory.join("store")).await?;
            let vault = Vault::new(Arc::new(store), RootKey::generate(&mut SystemRandom::new())?);
            ensure_keys(&vault, Some(&AuthorityTerms::read(&identity, now)?), now).await?;
            KeyRing::load(&vault, 300, now).await
        })?;
        let slot = Slot { id: "0f8fad5b-d9cb-469f-a165-70867728950e".to_owned(), status: 70_000 };
        Ok(Self { affirmed, identity, keyring, federations: Federations::read(Vec::new(), now), slot, now })
    }

    /// Bytes of the value of a `jwt-svid` grant.
    ///
    /// # Errors
    /// When it is not issued.
    pub fn jwt_svid(&self) -> Result<usize> {
        let request = request(GrantKind::JwtSvid, None);
        value(self.issuer().jwt_svid(self.entry()?, &request, self.terms())?)
    }

    /// Bytes of the value of an `x509-svid` grant for this request (PEM).
    ///
    /// # Errors
    /// When it is not issued.
    pub fn x509_svid(&self, csr: &str) -> Result<usize> {
        let request = request(GrantKind::X509Svid, Some(csr.to_owned()));
        value(self.issuer().x509_svid(self.entry()?, &request, self.terms())?.map(|svid| svid.value))
    }

    /// Verifies a request (PEM).
    ///
    /// # Errors
    /// When it is none.
    pub fn verified(&self, csr: &str) -> Result<VerifiedRequest> {
        Ok(VerifiedRequest(read_csr(csr).context("expected a CSR")?))
    }

    /// Bytes of a certificate for a request that was verified before.
    ///
    /// # Errors
    /// When it is not issued.
    pub fn certificate(&self, request: &VerifiedRequest) -> Result<usize> {
        let ca = self.keyring.ca().context("expected a CA")?;
        let id = "spiffe://example.org/workload/web";
        Ok(ca.certify(&request.0.public_key, id, (self.now, self.terms().until), None)?.chain.len())
    }

    fn issuer(&self) -> Issuer<'_> {
        Issuer {
            affirmed: &self.affirmed,
            identity: &self.identity,
            keyring: &self.keyring,
            federations: &self.federations,
            issuer: "https://broker.example:8443",
            tenant: "default",
            guest: &self.slot.id,
            measurement: None,
            now: self.now,
        }
    }

    fn entry(&self) -> Result<&SvidEntry> {
        self.identity.svid.first().context("expected an identity")
    }

    fn terms(&self) -> Terms<'_> {
        Terms { until: self.now.plus_seconds(900), slot: &self.slot }
    }
}

/// Bytes of what was issued.
fn value(outcome: Result<SecretBytes, Denied>) -> Result<usize> {
    match outcome {
        Ok(value) => Ok(value.expose().len()),
        Err(denied) => bail!("denied: {}", denied.code.as_str()),
    }
}

fn request(kind: GrantKind, csr: Option<String>) -> GrantRequest {
    let audience = Some("a".to_owned());
    let (id, name) = ("g".to_owned(), "web".to_owned());
    GrantRequest {
        id,
        kind,
        name,
        seal: SealTo::TeeKey,
        audience,
        csr,
        public_key: None,
        version: None,
        step: None,
        offline: false,
    }
}
