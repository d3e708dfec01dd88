//! First step: both keys are judged, and a credential is made for them.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use evidence_formats::{
    binding::{BindingDigest, Nonce},
    bundle::{Bundle, RawBundle},
    code::Coded,
    tpm::TpmPublic,
    vtpm::SvsmReport,
};
use keys::{
    random::{Random, SystemRandom},
    secret::SecretBytes,
    tpm::{Credential, TpmSealError, make_credential},
};
use serde_json::json;
use uuid::Uuid;
use verifier::{
    Expected, Terms, Timestamp,
    tpm::{AkProvenance, EkTerms, TpmTerms, authenticate_endorsement_key, require_attestation_area},
    vtpm::authenticate_svsm_report,
};

use super::{
    EnrolError, storage_key,
    wire::{Base64Url, CredentialDocument, Enrol, EnrolChallenge, Shown},
};
use crate::{
    attest::on_processor,
    broker::Broker,
    clock,
    http::problem::{Problem, RequestError},
    nonce::{LiveNonce, NonceError},
    store::{EnrolmentState, PendingEnrolment, StoredEk},
};

/// Bytes of the secret in a credential.
const SECRET: usize = 32;

/// Judges a request and answers with a credential.
pub(crate) async fn begin(broker: &Arc<Broker>, request: Enrol) -> Result<EnrolChallenge, Problem> {
    let _place = broker.attestations.try_acquire().map_err(|_none_free| RequestError::Overloaded)?;
    let now = clock::now();
    let nonce = match &request.shown {
        Shown::Svsm { nonce, .. } => Some(live(broker, nonce, now).await?),
        Shown::Certificate { .. } => None,
    };
    let judged = {
        let broker = Arc::clone(broker);
        on_processor(Arc::clone(&broker), move || judge(&broker, &request, now)).await??
    };
    if let Some(LiveNonce { nonce, expires_at }) = nonce
        && !broker.store.consume_nonce(nonce.as_bytes(), expires_at).await?
    {
        return Err(refused_nonce(NonceError::Replayed));
    }
    let known = broker.store.enrolment(&broker.tenant, &judged.pending.ak_name).await?;
    if known.is_some_and(|record| record.state == EnrolmentState::Revoked) {
        return Err(EnrolError::Revoked.into());
    }
    let limit = broker.enrolment.load().settings.pending.value();
    if !broker.store.add_pending(&broker.tenant, &judged.pending, now, limit).await? {
        return Err(EnrolError::Full.into());
    }
    tracing::info!(ak_name = judged.pending.ak_name, ek_name = judged.pending.ek.name, "enrolment begun");
    Ok(EnrolChallenge {
        enrollment_id: judged.pending.id,
        credential: CredentialDocument {
            blob: Base64Url(judged.credential.blob),
            secret: Base64Url(judged.credential.secret),
        },
        expires_at: judged.pending.expires_at,
    })
}

async fn live(broker: &Broker, nonce: &Nonce, now: Timestamp) -> Result<LiveNonce, Problem> {
    let live = broker.nonces.recognise(nonce, now).map_err(refused_nonce)?;
    if broker.store.is_consumed(nonce.as_bytes()).await? {
        return Err(refused_nonce(NonceError::Replayed));
    }
    Ok(live)
}

fn refused_nonce(error: NonceError) -> Problem {
    Problem::new(axum::http::StatusCode::FORBIDDEN, error.code(), error.to_string())
}

struct Judged {
    pending: PendingEnrolment,
    credential: Credential,
}

/// A proven endorsement key, and what else is known of its TPM.
struct ProvenEk {
    area: TpmPublic,
    provenance: AkProvenance,
    details: String,
}

/// What costs least comes first: the form of both keys, the attestation key's attributes, then chains and signatures.
fn judge(broker: &Broker, request: &Enrol, now: Timestamp) -> Result<Judged, EnrolError> {
    let ak = TpmPublic::parse(&request.ak_public).map_err(EnrolError::AkArea)?;
    require_attestation_area(&ak).map_err(EnrolError::Ak)?;
    let ek = match &request.shown {
        Shown::Certificate { certificates, ek_public } => certified(broker, certificates, ek_public, now)?,
        Shown::Svsm { evidence, nonce, ek_public } => reported(broker, evidence, nonce, &request.ak_public, now)
            .and_then(|ek| agrees(ek, ek_public.as_deref()))?,
    };
    let secret = draw_secret()?;
    let key = storage_key(&ek.area).ok_or(EnrolError::Credential(TpmSealError::Crypto))?;
    let credential = make_credential(&key, ak.name().as_bytes(), &secret, &mut SystemRandom::new())?;
    let pending = PendingEnrolment {
        id: Uuid::new_v4().to_string(),
        secret_digest: digest_of(secret.expose()),
        ak_name: ak.name().to_string(),
        ek: StoredEk { name: ek.area.name().to_string(), public: ek.area.as_bytes().to_vec() },
        provenance: ek.provenance,
        details: ek.details,
        expires_at: now.plus_seconds(i64::from(broker.enrolment.load().settings.challenge_seconds.value())),
    };
    Ok(Judged { pending, credential })
}

fn certified(
    broker: &Broker,
    certificates: &[Vec<u8>],
    ek_public: &[u8],
    now: Timestamp,
) -> Result<ProvenEk, EnrolError> {
    let area = TpmPublic::parse(ek_public).map_err(EnrolError::EkArea)?;
    let (enrolment, collateral) = (broker.enrolment.load(), broker.collateral.load());
    let terms = EkTerms {
        anchors: &enrolment.anchors,
        endorsements: &collateral.endorsements,
        revocation: enrolment.settings.revocation,
        now,
    };
    let certificate = authenticate_endorsement_key(certificates, &area, &terms)?;
    let details = json!({ "ek_certificate": certificate }).to_string();
    Ok(ProvenEk { area, provenance: AkProvenance::EkActivated, details })
}

/// The SVSM's report commits to its manifest, to the nonce, and to the key that is enrolled.
fn reported(
    broker: &Broker,
    evidence: &RawBundle,
    nonce: &Nonce,
    ak_public: &[u8],
    now: Timestamp,
) -> Result<ProvenEk, EnrolError> {
    let report = SvsmReport::from_bundle(&Bundle::try_from(evidence.clone())?)?;
    let binding = BindingDigest::enrolment(nonce, ak_public)?;
    let (collateral, floors) = (broker.collateral.load(), broker.crl_floors.load());
    let terms = Terms {
        anchors: &collateral.anchors,
        revocation: broker.library.revocation(collateral.revocation),
        expected: Expected::Binding(binding),
        now,
        memory: &*broker.chains,
        crl_floors: &floors,
        tpm: TpmTerms::DEFAULT,
    };
    let proven = authenticate_svsm_report(&report, &broker.library.for_report(&report.snp), &terms)?;
    let details = json!({ "svsm_launch": proven.launch.map(|launch| launch.to_string()) }).to_string();
    Ok(ProvenEk { area: proven.endorsement_key, provenance: AkProvenance::SvsmEk, details })
}

/// An endorsement key that the caller names beside the manifest's must be the same.
fn agrees(ek: ProvenEk, named: Option<&[u8]>) -> Result<ProvenEk, EnrolError> {
    match named {
        Some(bytes) if bytes != ek.area.as_bytes() => Err(EnrolError::Ek(verifier::tpm::EkError::KeyMismatch)),
        Some(_) | None => Ok(ek),
    }
}

fn draw_secret() -> Result<SecretBytes, EnrolError> {
    let mut secret = vec![0; SECRET];
    SystemRandom::new().fill(&mut secret).map_err(TpmSealError::from)?;
    Ok(SecretBytes::new(secret))
}

/// SHA-256: the secret is random, so that its digest gives nothing away.
pub(super) fn digest_of(secret: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(digest(&SHA256, secret).as_ref()) {
        *to = *from;
    }
    bytes
}
