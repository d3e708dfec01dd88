//! The end of an attestation: everything is stored in one transaction, and only then answered.

use std::{slice, sync::Arc};

use axum::http::StatusCode;
use evidence_formats::code::{Code, Coded};
use keys::sign::{SignError, TokenType, sign_jwt};
use serde_json::value::to_raw_value;
use thiserror::Error;
use uuid::Uuid;
use verifier::{Affirmed, Appraisal, AttestationResult, Explanation, Refusal, ResultTerms, Timestamp};

use super::{
    Admitted, count, on_processor, refuse_nonce,
    request::{AttestResponse, DeniedGrant, GrantKind, LeaseNotice, SealedGrant},
};
use crate::{
    broker::Broker,
    decision::{self, DecisionRecord, Outcome, RecordedReason, bounded},
    http::problem::{Problem, RequestError},
    metrics::GrantLabels,
    nonce::NonceError,
    release::{Denied, ReleaseError, Released, Releaser},
    store::{Lease, ReferenceKey, SecretVersion, Settled, Settlement, StoreError, StoredDecision},
};

/// The broker could not do its part.
#[derive(Debug, Error)]
enum SettleError {
    #[error("the grants cannot be released")]
    Release(#[from] ReleaseError),
    #[error("the attestation result cannot be signed")]
    Sign(#[from] SignError),
    #[error("the decision cannot be recorded")]
    Record(#[from] serde_json::Error),
}

/// What was decided over each grant, in the order of the request.
type Grants = Vec<Result<Released, Denied>>;

/// Refuses evidence that is not authentic: its code and text, which are about the caller's own bytes, and no more.
pub(super) async fn refuse_unauthenticated(
    broker: &Broker,
    admitted: &Admitted,
    reason: RecordedReason,
    explanation: Explanation,
) -> Result<AttestResponse, Problem> {
    let problem = Problem::new(StatusCode::FORBIDDEN, reason.code, reason.text.clone());
    let mut record = refused(broker, admitted, explanation);
    record.code = Some(reason.code);
    record.reasons = vec![reason];
    store(broker, admitted, &record, Rights::default()).await?;
    Err(problem.with_decision(record.id, Vec::new()))
}

/// Refuses authentic evidence, with every reason.
pub(super) async fn refuse(broker: &Broker, admitted: &Admitted, refusal: &Refusal) -> Result<AttestResponse, Problem> {
    let mut record = described(broker, admitted, refusal.appraisal()).map_err(|error| Problem::internal(&error))?;
    record.code = Some(refusal.code());
    store(broker, admitted, &record, Rights::default()).await?;
    let reasons = record.reasons.into_iter().map(|reason| reason.text).collect();
    let problem = Problem::new(StatusCode::FORBIDDEN, refusal.code(), refusal.to_string());
    Err(problem.with_decision(record.id, reasons))
}

/// Releases what the policy allows to affirmed evidence.
pub(super) async fn release(
    broker: &Arc<Broker>,
    admitted: Arc<Admitted>,
    affirmed: Affirmed,
) -> Result<AttestResponse, Problem> {
    let mut secrets = Vec::with_capacity(admitted.request.grants.len());
    for grant in &admitted.request.grants {
        let GrantKind::Secret = grant.kind;
        secrets.push(broker.store.newest_secret(&broker.tenant, &grant.name).await?);
    }
    let (for_work, of_work) = (Arc::clone(broker), Arc::clone(&admitted));
    let rests_on = rests_on(affirmed.appraisal());
    let worked = on_processor(Arc::clone(broker), move || seal_and_sign(&for_work, &of_work, &affirmed, &secrets));
    let prepared = worked.await?.map_err(|error| Problem::internal(&error))?;
    let released = prepared.grants.iter().filter_map(|grant| grant.as_ref().ok());
    let leases = released.map(|released| released.lease.clone()).collect();
    store(broker, &admitted, &prepared.record, Rights { leases, rests_on }).await?;
    Ok(answer(broker, &admitted, prepared))
}

/// Everything that leaves the broker once it is stored.
struct Prepared {
    record: DecisionRecord,
    result: String,
    expires_at: Timestamp,
    grants: Grants,
}

fn seal_and_sign(
    broker: &Broker,
    admitted: &Admitted,
    affirmed: &Affirmed,
    secrets: &[Option<SecretVersion>],
) -> Result<Prepared, SettleError> {
    let mut record = described(broker, admitted, affirmed.appraisal())?;
    record.outcome = Outcome::Affirmed;
    let (result, expires_at) = sign(broker, admitted, affirmed, &record.id)?;
    let rules = broker.rules.load();
    let releaser = Releaser {
        affirmed,
        policy: &rules.release,
        vault: &broker.vault,
        tenant: &broker.tenant,
        tee_key: &admitted.request.tee_key,
        now: admitted.now,
        ends_at: expires_at,
    };
    let mut grants = Grants::new();
    for (request, secret) in admitted.request.grants.iter().zip(secrets) {
        let outcome = releaser.release(request, secret.as_ref())?;
        record.grants.push(releaser.record(request, secret.as_ref(), &outcome));
        grants.push(outcome);
    }
    Ok(Prepared { record, result, expires_at, grants })
}

/// The signed result, and when it ends: a reference set that ends soon ends it early.
fn sign(
    broker: &Broker,
    admitted: &Admitted,
    affirmed: &Affirmed,
    id: &str,
) -> Result<(String, Timestamp), SettleError> {
    let terms = ResultTerms {
        issuer: &broker.issuer,
        audience: slice::from_ref(&broker.audience),
        token_id: id,
        nonce: &admitted.nonce.nonce.to_string(),
        key: &admitted.request.tee_key,
        issued_at: admitted.now,
        lifetime: broker.limits.result_seconds,
        developer: "countersign",
        build: concat!("countersign ", env!("CARGO_PKG_VERSION")),
    };
    let claims = AttestationResult::new(admitted.request.profile, affirmed.appraisal(), terms);
    Ok((sign_jwt(&*broker.signer, TokenType::EatJwt, &claims)?, claims.expires_at()))
}

fn answer(broker: &Broker, admitted: &Admitted, prepared: Prepared) -> AttestResponse {
    let mut grants = Vec::new();
    let mut denied = Vec::new();
    for (request, outcome) in admitted.request.grants.iter().zip(prepared.grants) {
        let id = request.id.clone();
        let label = match outcome {
            Ok(Released { sealed, lease }) => {
                let lease = LeaseNotice { id: lease.id, expires_at: lease.expires_at };
                grants.push(SealedGrant { id, sealed, lease });
                "released"
            }
            Err(Denied { code, reasons }) => {
                denied.push(DeniedGrant { id, code, reasons });
                "denied"
            }
        };
        broker.metrics.grants.get_or_create(&GrantLabels { outcome: label }).inc();
    }
    let Prepared { record, result, expires_at, .. } = prepared;
    AttestResponse { attestation_id: record.id, result, expires_at, grants, denied }
}

/// The record of a refusal, without its reasons.
fn refused(broker: &Broker, admitted: &Admitted, explanation: Explanation) -> DecisionRecord {
    DecisionRecord {
        id: Uuid::new_v4().to_string(),
        trace_id: admitted.trace_id.0.clone(),
        tenant: broker.tenant.clone(),
        decided_at: admitted.now,
        outcome: Outcome::Refused,
        code: None,
        authenticated: false,
        nonce: admitted.nonce.nonce,
        tee_key: admitted.request.tee_key.thumbprint(),
        reasons: Vec::new(),
        claims: None,
        appraisal: None,
        explanation,
        grants: Vec::new(),
    }
}

/// The same with what authentic evidence said and how it was judged.
fn described(broker: &Broker, admitted: &Admitted, appraisal: &Appraisal) -> Result<DecisionRecord, serde_json::Error> {
    let reasons = appraisal.reasons().iter().map(|reason| RecordedReason::new(reason.code, &reason.text));
    Ok(DecisionRecord {
        authenticated: true,
        claims: Some(to_raw_value(appraisal.claims())?),
        appraisal: Some(decision::written(appraisal, &broker.allowed_warnings)?),
        reasons: bounded(reasons.collect()),
        ..refused(broker, admitted, Explanation::of_appraisal(appraisal))
    })
}

/// What an affirmed attestation opens, and what that rests on.
#[derive(Default)]
struct Rights {
    leases: Vec<Lease>,
    rests_on: Vec<ReferenceKey>,
}

/// Every set that the evidence matched: revoking any of them ends the leases.
fn rests_on(appraisal: &Appraisal) -> Vec<ReferenceKey> {
    let references = appraisal.reference_values();
    let matched = references.matched().iter().chain(references.paravisor());
    matched.map(|set| ReferenceKey { id: set.id.to_string(), version: set.version }).collect()
}

/// Consumes the nonce and stores decision and leases: all of it, or the request is a replay and nothing is answered.
async fn store(
    broker: &Broker,
    admitted: &Admitted,
    record: &DecisionRecord,
    Rights { leases, rests_on }: Rights,
) -> Result<(), Problem> {
    let decision = StoredDecision {
        id: record.id.clone(),
        tenant: record.tenant.clone(),
        decided_at: record.decided_at,
        outcome: record.outcome.as_str(),
        code: record.code.map(|code| code.as_str().to_owned()),
        authenticated: record.authenticated,
        record: serde_json::to_string(record).map_err(|error| Problem::internal(&error))?,
    };
    let nonce_expires_at = admitted.nonce.expires_at;
    let settlement =
        Settlement { nonce: *admitted.nonce.nonce.as_bytes(), nonce_expires_at, decision, leases, rests_on };
    let settled: Result<Settled, StoreError> = broker.store.settle(settlement).await;
    match settled? {
        Settled::Recorded => {
            let code = record.code.map_or("", Code::as_str);
            count(broker, record.outcome.as_str(), code);
            tracing::info!(attestation_id = record.id, outcome = record.outcome.as_str(), code, "attestation decided");
            Ok(())
        }
        Settled::Replayed => Err(refuse_nonce(broker, NonceError::Replayed)),
        // The nonce is unused: the guest asks again and is judged by what holds now.
        Settled::Overtaken => Err(RequestError::Conflict.into()),
    }
}
