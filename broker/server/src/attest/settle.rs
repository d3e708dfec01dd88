//! The end of an attestation: everything is stored in one transaction, and only then answered.

use std::sync::{Arc, atomic::Ordering};

use axum::http::StatusCode;
use evidence_formats::code::{Code, Coded};
use serde_json::value::to_raw_value;
use verifier::{Affirmed, Appraisal, Explanation, Refusal};

use super::{
    Admitted,
    break_glass::{self, Overridden},
    count, on_processor,
    prepare::{Found, Materials, Prepared, prepare},
    provide, refuse_lease, refuse_nonce,
    request::{AttestResponse, DeniedGrant, GrantKind, GrantRequest, LeaseNotice, SealedGrant},
    rotation,
};
use crate::{
    broker::Broker,
    decision::{self, DecisionRecord, Outcome, RecordedReason, bounded},
    enrolment::RegisterError,
    http::problem::{Problem, RequestError},
    leases::{LeaseError, Slot},
    metrics::GrantLabels,
    nonce::NonceError,
    release::{Denied, Released},
    shadow,
    store::{
        GlassUse, Ground, GroundKind, Opening, SecretVersion, Settled, Settlement, StoreError, StoredDecision,
        TpmCounters, new_id,
    },
};

/// So many grants are sealed and signed where the request arrived; more of them on a processor's turn.
const FEW: usize = 4;

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
    let _stored = store(broker, admitted, &record, Effects::default()).await?;
    Err(problem.with_decision(record.id, Vec::new()))
}

/// Refuses authentic evidence, with every reason.
pub(super) async fn refuse(
    broker: &Arc<Broker>,
    admitted: &Admitted,
    refusal: &Refusal,
) -> Result<AttestResponse, Problem> {
    if let Some(settings) = &broker.break_glass
        && let Some(overridden) = Overridden::of_refusal(refusal, settings)
        && let Some(answer) = break_glass::open(broker, admitted, settings, overridden).await?
    {
        return Ok(answer);
    }
    let mut record = described(broker, admitted, refusal.appraisal()).map_err(|error| Problem::internal(&error))?;
    record.code = Some(refusal.code());
    // The counters of every authentic quote count. If they went back it is refused all the same, without remembering them.
    let effects = Effects { counters: counters(broker, admitted, refusal.appraisal()), ..Effects::default() };
    if store(broker, admitted, &record, effects).await? == Stored::WentBack {
        let _stored = store(broker, admitted, &record, Effects::default()).await?;
    }
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
    let mut record = described(broker, &admitted, affirmed.appraisal()).map_err(|error| Problem::internal(&error))?;
    record.outcome = Outcome::Affirmed;
    let mut secrets = Vec::with_capacity(admitted.request.grants.len());
    for grant in &admitted.request.grants {
        secrets.push(match grant.kind {
            GrantKind::Secret => stored(broker, grant).await?.map_or(Found::Nothing, Found::Secret),
            GrantKind::SecretRotation => {
                rotation::find(broker, &grant.name).await?.map_or(Found::Nothing, Found::Rotating)
            }
            GrantKind::Token | GrantKind::JwtSvid | GrantKind::X509Svid | GrantKind::Postgres | GrantKind::SshCert => {
                Found::Nothing
            }
        });
    }
    let counters = counters(broker, &admitted, affirmed.appraisal());
    let materials = Arc::new(Materials { affirmed, secrets, slots: slots(broker, &admitted, &record.id).await? });
    let prepared = if admitted.request.grants.len() <= FEW {
        prepare(broker, &admitted, &materials, record)
    } else {
        let (for_work, of_work, from) = (Arc::clone(broker), Arc::clone(&admitted), Arc::clone(&materials));
        on_processor(Arc::clone(broker), move || prepare(&for_work, &of_work, &from, record)).await?
    };
    let mut prepared = prepared.map_err(|error| Problem::internal(&error))?;
    if let Some(renewal) = &admitted.renewal
        && renewal.guest.workloads != prepared.opening.guest.workloads
    {
        return Err(refuse_lease(broker, LeaseError::Workload));
    }
    if let Some(settings) = &broker.break_glass
        && let [Err(denied)] = prepared.grants.as_slice()
        && let Some(overridden) = Overridden::of_denial(&materials.affirmed, denied, settings)
        && let Some(answer) = break_glass::open(broker, &admitted, settings, overridden).await?
    {
        return Ok(answer);
    }
    let made = provide::provide(broker, &admitted, &mut prepared).await?;
    let effects = Effects { counters, opening: Some(prepared.opening.clone()), break_glass: None };
    let stored = store(broker, &admitted, &prepared.record, effects).await;
    if !matches!(stored, Ok(Stored::Recorded)) {
        provide::abandon(broker, &made).await;
    }
    match stored? {
        Stored::Recorded => {
            rotation::apply(broker, &admitted, &prepared.grants).await?;
            Ok(answer(broker, &admitted, prepared))
        }
        Stored::Revoked(ground) => refuse_revoked(broker, &admitted, prepared.record, &ground).await,
        Stored::WentBack => refuse_gone_back(broker, &admitted, prepared.record).await,
    }
}

/// The secret that a grant names: its current version, or the one that is named. That goes to no workload that the current
/// version does not go to: whoever was taken off the list does not get the same from before.
async fn stored(broker: &Broker, grant: &GrantRequest) -> Result<Option<SecretVersion>, StoreError> {
    let current = broker.store.newest_secret(&broker.tenant, &grant.name).await?;
    let Some(version) = grant.version else { return Ok(current) };
    let named = broker.store.secret_version(&broker.tenant, &grant.name, version).await?;
    Ok(named.zip(current).map(|(mut named, current)| {
        named.workloads.retain(|workload| current.workloads.contains(workload));
        named
    }))
}

/// Refuses a TPM that was rolled back or cloned: what was sealed for it is dropped, what it said is recorded.
async fn refuse_gone_back(
    broker: &Broker,
    admitted: &Admitted,
    record: DecisionRecord,
) -> Result<AttestResponse, Problem> {
    let error = RegisterError::CountersWentBack;
    let record = DecisionRecord {
        outcome: Outcome::Refused,
        code: Some(error.code()),
        reasons: vec![RecordedReason::new(error.code(), &error.to_string())],
        explanation: Explanation::of_refusal(&error),
        grants: Vec::new(),
        ..record
    };
    let _stored = store(broker, admitted, &record, Effects::default()).await?;
    let problem = Problem::new(StatusCode::FORBIDDEN, error.code(), error.to_string());
    Err(problem.with_decision(record.id, Vec::new()))
}

/// The counters of the TPM that quoted. The nonce says when it was issued: the quote is not older.
fn counters(broker: &Broker, admitted: &Admitted, appraisal: &Appraisal) -> Option<TpmCounters> {
    let tpm = appraisal.claims().raw.tpm()?;
    Some(TpmCounters {
        ak_key: tpm.ak_key.clone(),
        reset_count: tpm.clock.reset_count,
        restart_count: tpm.clock.restart_count,
        clock: tpm.clock.clock,
        asked_at: admitted.nonce.expires_at.plus_seconds(i64::from(broker.limits.nonce_seconds).saturating_neg()),
    })
}

/// The lease of the result, then one for each grant: new ones, or those that are renewed.
async fn slots(broker: &Broker, admitted: &Admitted, decision: &str) -> Result<Vec<Slot>, Problem> {
    if let Some(renewal) = &admitted.renewal {
        let own = renewal.guest.leases.iter().find(|lease| lease.id == renewal.guest.id);
        let own = own.ok_or_else(|| refuse_lease(broker, LeaseError::Ended))?;
        let wanted = |id: &str| renewal.guest.leases.iter().find(|lease| lease.id == id).map(Slot::of);
        let grants = admitted.request.grants.iter().filter_map(|grant| wanted(&grant.id));
        return Ok([Slot::of(own)].into_iter().chain(grants).collect());
    }
    let count = admitted.request.grants.len().saturating_add(1);
    let places = broker.places.take(&*broker.store, count).await?;
    let ids = std::iter::once(decision.to_owned()).chain(std::iter::repeat_with(new_id));
    Ok(ids.zip(places).map(|(id, status)| Slot { id, status }).collect())
}

/// The evidence is good, and something that it rests on is revoked by name.
async fn refuse_revoked(
    broker: &Broker,
    admitted: &Admitted,
    mut record: DecisionRecord,
    ground: &Ground,
) -> Result<AttestResponse, Problem> {
    let code = Code::new(match ground.kind {
        GroundKind::Workload => "release.revoked.workload",
        GroundKind::Measurement => "release.revoked.measurement",
        GroundKind::Chip => "release.revoked.chip",
        GroundKind::ReferenceSet => "release.revoked.reference_set",
        GroundKind::Policy => "release.revoked.policy",
    });
    let text = format!("the {} {} is revoked", ground.kind.as_str(), ground.value);
    record.outcome = Outcome::Refused;
    record.code = Some(code);
    record.reasons = vec![RecordedReason::new(code, &text)];
    record.grants = Vec::new();
    let _stored = store(broker, admitted, &record, Effects::default()).await?;
    Err(Problem::new(StatusCode::FORBIDDEN, code, text.clone()).with_decision(record.id, vec![text]))
}

fn answer(broker: &Broker, admitted: &Admitted, prepared: Prepared) -> AttestResponse {
    let mut grants = Vec::new();
    let mut denied = Vec::new();
    for (request, outcome) in admitted.request.grants.iter().zip(prepared.grants) {
        let id = request.id.clone();
        let label = match outcome {
            Ok(Released { sealed, lease, .. }) => {
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
    let Prepared { record, result, expires_at, lease_key, .. } = prepared;
    AttestResponse { attestation_id: record.id, result, expires_at, lease_key, grants, denied }
}

/// The record of a refusal, without its reasons.
fn refused(broker: &Broker, admitted: &Admitted, explanation: Explanation) -> DecisionRecord {
    DecisionRecord {
        id: new_id(),
        trace_id: admitted.trace_id.0.clone(),
        tenant: broker.tenant.clone(),
        decided_at: admitted.now,
        outcome: Outcome::Refused,
        code: None,
        authenticated: false,
        evidence_digest: admitted.evidence_digest.clone(),
        nonce: admitted.nonce.nonce,
        tee_key: admitted.request.tee_key.thumbprint(),
        reasons: Vec::new(),
        claims: None,
        appraisal: None,
        appraisal_policy: None,
        break_glass: None,
        explanation,
        grants: Vec::new(),
    }
}

/// The same with what authentic evidence said and how it was judged.
pub(super) fn described(
    broker: &Broker,
    admitted: &Admitted,
    appraisal: &Appraisal,
) -> Result<DecisionRecord, serde_json::Error> {
    let reasons = appraisal.reasons().iter().map(|reason| RecordedReason::new(reason.code, &reason.text));
    Ok(DecisionRecord {
        authenticated: true,
        claims: Some(to_raw_value(appraisal.claims())?),
        appraisal: Some(decision::written(appraisal, &broker.allowed_warnings)?),
        appraisal_policy: appraisal.policy().map(ToString::to_string),
        reasons: bounded(reasons.collect()),
        ..refused(broker, admitted, Explanation::of_appraisal(appraisal))
    })
}

/// What a decision changes besides being recorded.
#[derive(Default)]
pub(super) struct Effects {
    /// What an affirmed attestation opens.
    pub(super) opening: Option<Opening>,
    /// What its TPM was seen with.
    pub(super) counters: Option<TpmCounters>,
    /// The approved request that is spent.
    pub(super) break_glass: Option<GlassUse>,
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(super) enum Stored {
    /// It stands.
    Recorded,
    /// It rests on something that is revoked: nothing is stored, the nonce is unspent.
    Revoked(Ground),
    /// The TPM's counters went back: nothing is stored, the nonce is unspent.
    WentBack,
}

/// Consumes the nonce, stores the decision, and opens or ends leases: all of it, or the request is a replay and nothing is
/// answered. What is returned is revoked, and nothing was stored.
pub(super) async fn store(
    broker: &Broker,
    admitted: &Admitted,
    record: &DecisionRecord,
    Effects { opening, counters, break_glass }: Effects,
) -> Result<Stored, Problem> {
    let decision = StoredDecision {
        id: record.id.clone(),
        tenant: record.tenant.clone(),
        decided_at: record.decided_at,
        outcome: record.outcome.as_str(),
        code: record.code.map(|code| code.as_str().to_owned()),
        authenticated: record.authenticated,
        record: serde_json::to_string(record).map_err(|error| Problem::internal(&error))?,
        digests: record.digests(),
    };
    let comparisons = shadow::compare(&broker.rules.load().staged, admitted.tried.get(), record, &decision.record)
        .map_err(|error| Problem::internal(&error))?;
    let ends_guest = ends_guest(admitted, record);
    let nonce_expires_at = admitted.nonce.expires_at;
    let nonce = *admitted.nonce.nonce.as_bytes();
    let settlement = Settlement {
        nonce,
        nonce_expires_at,
        decision,
        counters,
        opening,
        ends_guest: ends_guest.clone(),
        break_glass,
    };
    match broker.store.settle(settlement).await? {
        Settled::Recorded => {
            broker.spent.insert(nonce);
            if !record.authenticated {
                broker.not_authentic.fetch_add(1, Ordering::Relaxed);
            }
            let code = record.code.map_or("", Code::as_str);
            count(broker, record.outcome.as_str(), code);
            tracing::info!(attestation_id = record.id, outcome = record.outcome.as_str(), code, "attestation decided");
            if let Some(guest) = ends_guest {
                tracing::warn!(
                    attestation_id = record.id,
                    guest,
                    "fresh evidence is worse: all leases of the guest end"
                );
            }
            if !comparisons.is_empty() {
                shadow::tell(broker, record, &comparisons).await;
            }
            Ok(Stored::Recorded)
        }
        Settled::Replayed => Err(refuse_nonce(broker, NonceError::Replayed)),
        // The nonce is unused: the guest asks again and is judged by what holds now.
        Settled::Overtaken => Err(RequestError::Conflict.into()),
        Settled::LeaseEnded => Err(refuse_lease(broker, LeaseError::Ended)),
        Settled::Revoked(ground) => Ok(Stored::Revoked(ground)),
        Settled::WentBack => Ok(Stored::WentBack),
    }
}

/// The guest whose leases all end with this decision: it proved that it holds one, and its fresh evidence was refused for
/// what it says. Evidence that could not be judged (a list is missing, another nonce) ends nothing and renews nothing.
fn ends_guest(admitted: &Admitted, record: &DecisionRecord) -> Option<String> {
    let guest = admitted.renewal.as_ref().map(|renewal| &renewal.guest.id)?;
    let stage = record.code?.as_str().split('.').next()?;
    let undecided = matches!(stage, "parse" | "binding" | "endorsement" | "internal");
    (record.outcome == Outcome::Refused && !undecided).then(|| guest.clone())
}
