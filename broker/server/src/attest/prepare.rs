//! What leaves the broker once it is stored: the signed result, the sealed grants, and the leases to write.

use std::slice;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keys::{
    cwt::{self, CwtError},
    grant::GrantPayload,
    lease::LeaseKey,
    random::SystemRandom,
    seal::{SealError, Sealed, seal},
    sign::{SignError, TokenType, sign_jwt},
};
use thiserror::Error;
use verifier::{Affirmed, Appraisal, AttestationResult, ResultTerms, StatusPlace, Timestamp};

use super::{
    Admitted,
    request::{GrantKind, GrantRequest, ResultFormat},
};
use crate::{
    broker::Broker,
    decision::DecisionRecord,
    identity::{Issuer, Offer},
    leases::{self, Slot},
    release::{Denied, ReleaseError, Released, Releaser, Rotating},
    store::{KeyPurpose, Lease, Opening, SecretVersion},
};

/// The broker could not do its part.
#[derive(Debug, Error)]
pub(super) enum PrepareError {
    #[error("the grants cannot be released")]
    Release(#[from] ReleaseError),
    #[error("the attestation result cannot be signed")]
    Sign(#[from] SignError),
    #[error("the attestation result cannot be a CWT")]
    Cwt(#[from] CwtError),
    #[error("the lease key cannot be sealed")]
    Seal(#[from] SealError),
}

/// What is needed, read from the store before.
#[derive(Debug)]
pub(super) struct Materials {
    /// The proof that the evidence passed.
    pub(super) affirmed: Affirmed,
    /// What the store has of what each grant names, in the order of the request.
    pub(super) secrets: Vec<Found>,
    /// The lease of the result, then that of each grant.
    pub(super) slots: Vec<Slot>,
}

/// What the store has under the name of a grant.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing, or nothing is looked for.
    Nothing,
    /// A secret.
    Secret(SecretVersion),
    /// A secret that its guest wants to change.
    Rotating(Rotating),
}

/// Everything that leaves the broker once it is stored.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) record: DecisionRecord,
    pub(super) result: String,
    pub(super) expires_at: Timestamp,
    pub(super) lease_key: Option<Sealed>,
    /// What was decided over each grant, in the order of the request.
    pub(super) grants: Vec<Result<Released, Denied>>,
    pub(super) opening: Opening,
}

impl Prepared {
    /// Takes back the grant at `place`, which was to have `lease`. A lease that was to be renewed stays as it is.
    pub(super) fn withdraw(&mut self, place: usize, lease: &str, denied: Denied) {
        if let Some(record) = self.record.grants.get_mut(place) {
            (record.version, record.lease) = (None, None);
            (record.code, record.reasons) = (Some(denied.code), denied.reasons.clone());
        }
        self.opening.leases.retain(|opened| opened.id != lease);
        self.opening.certificates.retain(|issued| issued.lease != lease);
        self.opening.renews.retain(|renewed| renewed != lease);
        if let Some(grant) = self.grants.get_mut(place) {
            *grant = Err(denied);
        }
    }
}

/// The grant name inside the sealed lease key.
const LEASE_KEY: &str = "lease-key";

/// Seals and signs; nothing is stored or answered yet.
pub(super) fn prepare(
    broker: &Broker,
    admitted: &Admitted,
    materials: &Materials,
    mut record: DecisionRecord,
) -> Result<Prepared, PrepareError> {
    let Materials { affirmed, secrets, slots } = materials;
    let (own, slots) = slots.split_first().ok_or(SignError::Crypto)?;
    let (result, expires_at) = sign(broker, admitted, affirmed.appraisal(), &record.id, own)?;
    let rules = broker.rules.load();
    let keyring = broker.keyring.load();
    let federations = broker.federations.load();
    let measurement = affirmed.appraisal().claims().measurement.launch.as_ref().map(ToString::to_string);
    let releaser = Releaser {
        affirmed,
        policy: &rules.release,
        staged: rules.staged.release.as_ref(),
        issuer: Issuer {
            affirmed,
            identity: &broker.identity,
            keyring: &keyring,
            federations: &federations,
            issuer: &broker.issuer,
            tenant: broker.tenant.as_str(),
            guest: &own.id,
            measurement: measurement.as_deref(),
            now: admitted.now,
        },
        databases: &broker.databases,
        vault: &broker.vault,
        tenant: &broker.tenant,
        tee_key: &admitted.request.tee_key,
        now: admitted.now,
        renewal: admitted.renewal.is_some(),
        ends_at: expires_at,
    };
    let mut grants = Vec::new();
    for ((request, secret), slot) in admitted.request.grants.iter().zip(secrets).zip(slots) {
        let offer = offer(broker, request, secret);
        let outcome = releaser.release(request, offer, slot)?;
        record.grants.push(releaser.record(request, offer, &outcome));
        grants.push(outcome);
    }
    let result_lease = Lease {
        id: own.id.clone(),
        kind: leases::RESULT,
        name: "result".to_owned(),
        version: 1,
        status: own.status,
        issued_at: admitted.now,
        expires_at,
    };
    let granted = released(&grants).map(|released| released.lease.clone());
    let (tee_key, report) = (admitted.request.tee_key.thumbprint(), admitted.request.guest_report);
    let opening = Opening {
        guest: leases::guest(own.id.clone(), affirmed.appraisal(), tee_key, report),
        sets: leases::sets(affirmed.appraisal()),
        grounds: leases::grounds(affirmed.appraisal(), &rules.release),
        leases: std::iter::once(result_lease).chain(granted).collect(),
        certificates: released(&grants).filter_map(|released| released.certificate.clone()).collect(),
        renews: admitted.renewal.iter().flat_map(|_| slots.iter().chain([own])).map(|slot| slot.id.clone()).collect(),
    };
    let lease_key = admitted.request.renewable.then(|| lease_key(broker, admitted, &own.id)).transpose()?;
    Ok(Prepared { record, result, expires_at, lease_key, grants, opening })
}

fn released(grants: &[Result<Released, Denied>]) -> impl Iterator<Item = &Released> {
    grants.iter().filter_map(|grant| grant.as_ref().ok())
}

/// What the name of a grant stands for.
fn offer<'a>(broker: &'a Broker, request: &GrantRequest, found: &'a Found) -> Offer<'a> {
    let identity = &broker.identity;
    let svid = || identity.svid.iter().find(|entry| entry.name == request.name);
    let offer = match request.kind {
        GrantKind::Secret | GrantKind::SecretRotation => match found {
            Found::Nothing => None,
            Found::Secret(secret) => Some(Offer::Secret(secret)),
            Found::Rotating(found) => Some(Offer::Rotation(found)),
        },
        GrantKind::Token => identity.token.iter().find(|entry| entry.name == request.name).map(Offer::Token),
        GrantKind::JwtSvid => svid().map(Offer::JwtSvid),
        GrantKind::X509Svid => svid().map(Offer::X509Svid),
        GrantKind::SshCert => broker.ssh.entry(&request.name).map(|(kind, entry)| Offer::SshCertificate(kind, entry)),
        GrantKind::Postgres => {
            broker.databases.entry(&request.name).map(|(server, entry)| Offer::DatabaseRole(server, entry))
        }
    };
    offer.unwrap_or(Offer::Absent)
}

/// The guest's lease key, which only its TEE key opens.
fn lease_key(broker: &Broker, admitted: &Admitted, guest: &str) -> Result<Sealed, SealError> {
    let value = LeaseKey::derive(&broker.lease_key, guest).to_bytes();
    let payload = GrantPayload { grant: LEASE_KEY.to_owned(), version: 1, value, offline: None };
    seal(&payload.to_plaintext(), &admitted.request.tee_key, &mut SystemRandom::new())
}

/// The signed result, and when it ends: a reference set that ends soon ends it early.
pub(super) fn sign(
    broker: &Broker,
    admitted: &Admitted,
    appraisal: &Appraisal,
    id: &str,
    lease: &Slot,
) -> Result<(String, Timestamp), PrepareError> {
    let (idx, uri) = leases::status_place(&broker.issuer, lease.status);
    let terms = ResultTerms {
        issuer: &broker.issuer,
        audience: slice::from_ref(&broker.audience),
        token_id: id,
        nonce: &admitted.nonce.nonce.to_string(),
        key: &admitted.request.tee_key,
        status: Some(StatusPlace { idx, uri: &uri }),
        issued_at: admitted.now,
        lifetime: broker.limits.result_seconds,
        developer: "countersign",
        build: concat!("countersign ", env!("CARGO_PKG_VERSION")),
    };
    let claims = AttestationResult::new(admitted.request.profile, appraisal, terms);
    let keyring = broker.keyring.load();
    let signer = keyring.signer(KeyPurpose::AttestationResult).ok_or(SignError::Crypto)?;
    let token = match admitted.request.format {
        ResultFormat::Jwt => sign_jwt(&**signer, TokenType::EatJwt, &claims)?,
        ResultFormat::Cwt => {
            let claims =
                serde_json::to_value(&claims).map_err(|error| SignError::Claims { reason: error.to_string() })?;
            BASE64_URL_SAFE_NO_PAD.encode(cwt::sign(&**signer, &claims)?)
        }
    };
    Ok((token, claims.expires_at()))
}
