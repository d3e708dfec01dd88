//! From affirmed evidence to sealed grants. Everything here needs [`Affirmed`], which only the verifier makes.

use evidence_formats::code::{Code, Coded};
use keys::{
    grant::GrantPayload,
    jwk::TeePublicKey,
    offline::OfflineTerms,
    random::{NoRandomness, SystemRandom},
    seal::{SealError, Sealed, seal},
    secret::SecretBytes,
    tpm::{TpmGrant, TpmSealError},
};
use thiserror::Error;
use verifier::{
    Affirmed, Timestamp,
    policy::{GrantFacts, LeaseFacts, ReleaseInput, ReleasePolicy},
};

use crate::{
    attest::request::{GrantRequest, SealTo},
    config::MinEvidence,
    databases::Databases,
    decision::GrantRecord,
    identity::{IssueError, Issuer, Offer, Terms},
    leases::Slot,
    shadow::StagedRelease,
    store::{IssuedCertificate, Lease, SecretVersion, TenantId},
    vault::{Vault, VaultError},
};

/// The release policy does not allow the grant.
pub(crate) const DENIED_BY_POLICY: Code = Code::new("release.policy.denied");

mod rotation;
mod tpm;

pub(crate) use self::rotation::{Rotating, SecretChange, generate};

/// A released grant: sealed, with the lease to record.
#[derive(Debug)]
pub(crate) struct Released {
    /// What only the guest's key opens.
    pub(crate) sealed: Sealed,
    /// The lease.
    pub(crate) lease: Lease,
    /// What becomes of a stored secret.
    pub(crate) change: Option<SecretChange>,
    /// Until when the guest may keep it for reboots without the broker.
    pub(crate) offline_until: Option<Timestamp>,
    /// The X.509-SVID that it is, if it is one.
    pub(crate) certificate: Option<IssuedCertificate>,
}

/// A grant that the guest does not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    /// Why, for programs.
    pub(crate) code: Code,
    /// Why, for people.
    pub(crate) reasons: Vec<String>,
}

/// The broker could not release what the policy allows: its own fault.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum ReleaseError {
    /// The secret does not open.
    #[error("the secret cannot be opened")]
    Vault(#[from] VaultError),
    /// It cannot be issued.
    #[error("the grant cannot be issued")]
    Issue(#[from] IssueError),
    /// It cannot be written.
    #[error("the credential cannot be JSON")]
    Json(#[from] serde_json::Error),
    /// No key can be made.
    #[error("a key cannot be made")]
    Generate(#[from] NoRandomness),
    /// It cannot be sealed.
    #[error("the grant cannot be sealed")]
    Seal(#[from] SealError),
    /// It cannot be sealed to the TPM.
    #[error("the grant cannot be sealed to the TPM")]
    Tpm(#[from] TpmSealError),
}

/// What decides over every grant of one attestation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Releaser<'a> {
    /// The proof that the evidence passed.
    pub(crate) affirmed: &'a Affirmed,
    /// The policy in force.
    pub(crate) policy: &'a ReleasePolicy,
    /// The one that has to agree besides, for some grants.
    pub(crate) staged: Option<&'a StagedRelease>,
    /// Issues tokens and SVIDs.
    pub(crate) issuer: Issuer<'a>,
    /// Names and proves roles of databases.
    pub(crate) databases: &'a Databases,
    /// Opens secrets.
    pub(crate) vault: &'a Vault,
    /// Whose secrets.
    pub(crate) tenant: &'a TenantId,
    /// The key that the evidence is bound to.
    pub(crate) tee_key: &'a TeePublicKey,
    /// The time.
    pub(crate) now: Timestamp,
    /// Whether leases are continued.
    pub(crate) renewal: bool,
    /// When every lease ends at the latest, whatever the policy says.
    pub(crate) ends_at: Timestamp,
}

impl Releaser<'_> {
    /// Decides over one grant, and seals it when it is allowed. `offer` is what its name stands for, `slot` the lease to open
    /// or to continue.
    ///
    /// A name that stands for nothing is put to the policy like one that no workload may have: a guest cannot find out which
    /// names exist.
    pub(crate) fn release(
        &self,
        request: &GrantRequest,
        offer: Offer<'_>,
        slot: &Slot,
    ) -> Result<Result<Released, Denied>, ReleaseError> {
        let ttl = match self.judge(request, offer) {
            Ok(ttl) => ttl.min(offer.longest().unwrap_or(u32::MAX)),
            Err(denied) => return Ok(Err(denied)),
        };
        if let Some(denied) = offer.min_evidence().and_then(|least| self.too_little(least)) {
            return Ok(Err(denied));
        }
        let expires_at = self.now.plus_seconds(i64::from(ttl)).min(self.ends_at);
        let expires_at = self.issuer.ends(offer).map_or(expires_at, |ends| expires_at.min(ends));
        let terms = Terms { until: expires_at, slot };
        let (mut version, mut change, mut certificate) = (offer.version(), None, None);
        let value = match offer {
            Offer::Absent => {
                let reasons = vec![format!("the grant {} does not exist", request.name)];
                return Ok(Err(Denied { code: Code::new("release.secret.absent"), reasons }));
            }
            Offer::Secret(secret) => Ok(self.vault.open_secret(self.tenant, &request.name, secret)?),
            Offer::Rotation(found) => self.rotate(request, found)?.map(|step| {
                (version, change) = (step.version, step.change);
                step.value
            }),
            Offer::Token(entry) => self.issuer.token(entry, terms)?,
            Offer::JwtSvid(entry) => self.issuer.jwt_svid(entry, request, terms)?,
            Offer::X509Svid(entry) => self.issuer.x509_svid(entry, request, terms)?.map(|svid| {
                certificate = Some(svid.issued);
                svid.value
            }),
            Offer::SshCertificate(kind, entry) => self.issuer.ssh_certificate((kind, entry), request, terms)?,
            Offer::DatabaseRole(server, _) => Ok(self.databases.credential(server, &slot.id, expires_at)?),
        };
        let value = match value {
            Ok(value) => value,
            Err(denied) => return Ok(Err(denied)),
        };
        let target = match request.seal {
            SealTo::TeeKey => None,
            SealTo::Tpm => match tpm::target(self.affirmed, offer.workloads()) {
                Ok(target) => Some(target),
                Err(denied) => return Ok(Err(denied)),
            },
        };
        let offline = self.offline(request, offer);
        let offline_until =
            offline.as_ref().and_then(|terms| i64::try_from(terms.until).ok()).map(Timestamp::from_unix);
        let plaintext = plaintext(request, version, value, (target, offline))?;
        let sealed = seal(&plaintext, self.tee_key, &mut SystemRandom::new())?;
        let lease = Lease {
            id: slot.id.clone(),
            status: slot.status,
            kind: request.kind.as_str(),
            name: request.name.clone(),
            version,
            issued_at: self.now,
            expires_at,
        };
        Ok(Ok(Released { sealed, lease, change, offline_until, certificate }))
    }

    /// Whether and how long the guest may have its TPM keep the secret: when it asks, the operator allows it, and there is a TPM that is
    /// proven and PCR values that are expected.
    fn offline(&self, request: &GrantRequest, offer: Offer<'_>) -> Option<OfflineTerms> {
        let Offer::Secret(secret) = offer else { return None };
        let allowance = secret.offline.filter(|_| request.offline)?;
        let policy = match tpm::target(self.affirmed, offer.workloads()) {
            Ok(target) => target.policy,
            Err(denied) => {
                tracing::info!(secret = request.name, code = denied.code.as_str(), "the guest cannot keep the secret");
                return None;
            }
        };
        let given_at = u64::try_from(self.now.as_unix()).ok()?;
        let until = given_at.saturating_add(u64::from(allowance.seconds));
        Some(OfflineTerms { given_at, until, boots: allowance.boots, policy })
    }

    /// Why evidence that passed does not suffice for an entry that asks for more, if so.
    fn too_little(&self, least: MinEvidence) -> Option<Denied> {
        let shown = MinEvidence::shown_by(self.affirmed.appraisal().claims());
        (shown < least).then(|| Denied {
            code: Code::new("release.evidence.insufficient"),
            reasons: vec![format!("expected {} evidence at least, found {}", least.as_str(), shown.as_str())],
        })
    }

    /// Seconds of the longest lease.
    fn longest(&self) -> u32 {
        u32::try_from(self.ends_at.as_unix().saturating_sub(self.now.as_unix())).unwrap_or(0)
    }

    /// How many seconds the policy allows.
    fn judge(&self, request: &GrantRequest, offer: Offer<'_>) -> Result<u32, Denied> {
        let (workloads, seal) = (offer.workloads(), request.seal.as_str());
        let grant = GrantFacts { name: &request.name, kind: request.kind.as_str(), workloads, seal };
        let lease = LeaseFacts { requested_ttl: self.longest(), renewal: self.renewal };
        let input = ReleaseInput::new(self.affirmed, grant, lease, self.tenant.as_str(), self.now);
        let allowed = asked(self.policy, &input)?;
        match self.staged.and_then(|staged| staged.enforced_on(&request.name)) {
            // Both have to agree, so that what is staged can only take away.
            Some(staged) => Ok(asked(staged, &input)?.min(allowed)),
            None => Ok(allowed),
        }
    }

    /// What is recorded about a grant: what was asked, by which policy it was judged, and what came of it.
    pub(crate) fn record(
        &self,
        request: &GrantRequest,
        offer: Offer<'_>,
        outcome: &Result<Released, Denied>,
    ) -> GrantRecord {
        let base = GrantRecord {
            id: request.id.clone(),
            kind: request.kind.as_str(),
            name: request.name.clone(),
            workloads: offer.workloads().to_vec(),
            seal: request.seal.as_str(),
            requested_ttl: self.longest(),
            policy: self.policy.id().clone(),
            version: None,
            lease: None,
            offline_until: None,
            code: None,
            reasons: Vec::new(),
        };
        match outcome {
            Ok(released) => GrantRecord {
                version: Some(released.lease.version),
                lease: Some(released.lease.id.clone()),
                offline_until: released.offline_until,
                ..base
            },
            Err(denied) => GrantRecord { code: Some(denied.code), reasons: denied.reasons.clone(), ..base },
        }
    }
}

/// How many seconds a policy allows.
fn asked(policy: &ReleasePolicy, input: &ReleaseInput<'_>) -> Result<u32, Denied> {
    match policy.evaluate(input) {
        Ok(decision) if decision.allowed => Ok(decision.max_ttl),
        Ok(decision) => Err(Denied { code: DENIED_BY_POLICY, reasons: decision.deny.into_iter().collect() }),
        // A policy that fails allows nothing.
        Err(error) => Err(Denied { code: error.code(), reasons: vec![error.to_string()] }),
    }
}

/// Opens a secret that the policies refuse, and seals it. Whoever calls this has the evidence's appraisal overridden by persons
/// (`attest/break_glass.rs`); nothing leaves before their request is spent.
pub(crate) fn open_broken(
    vault: &Vault,
    tenant: &TenantId,
    request: &GrantRequest,
    secret: &SecretVersion,
    tee_key: &TeePublicKey,
) -> Result<Sealed, ReleaseError> {
    let value = vault.open_secret(tenant, &request.name, secret)?;
    let plaintext = plaintext(request, secret.version, value, (None, None))?;
    Ok(seal(&plaintext, tee_key, &mut SystemRandom::new())?)
}

/// What only the guest's key opens: the value, or an object that its TPM opens.
fn plaintext(
    request: &GrantRequest,
    version: u32,
    value: SecretBytes,
    (target, offline): (Option<tpm::Target>, Option<OfflineTerms>),
) -> Result<SecretBytes, ReleaseError> {
    let (grant, version) = (request.name.clone(), u64::from(version));
    match target {
        None => Ok(GrantPayload { grant, version, value, offline }.to_plaintext()),
        Some(tpm::Target { key, policy }) => {
            let sealed = TpmGrant::seal(grant, version, &value, (&key, &policy), &mut SystemRandom::new())?;
            Ok(sealed.to_plaintext())
        }
    }
}
