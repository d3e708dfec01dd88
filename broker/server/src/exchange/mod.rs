//! Token exchange (RFC 8693): an attested guest gives a token and gets another one, for one audience, for less, bound to its
//! key.
//!
//! form → attestation result and proof of its key → live attestation → subject token → policy and rules → settled → answer
//!
//! Every exchange needs a live attestation: the actor is always a guest whose result has not expired, whose lease is open, and
//! which proves the key that its evidence bound. A foreign token alone gets nothing. What is issued is never more than subject
//! token, attestation, entry, policy and request each allow.
//!
//! # What is recorded
//!
//! What comes before the proof is refused without a record, as evidence that does not parse is. From then on every decision
//! is recorded, in the transaction that uses up the proof and opens the lease: a captured request gets nothing, and leaves
//! nothing, a second time.

mod actor;
mod error;
pub(crate) mod form;
mod issuers;
mod judge;
mod narrow;
mod record;
mod review;
mod subject;

use std::{sync::Arc, time::Instant};

use evidence_formats::code::{Code, Coded};
use thiserror::Error;
use verifier::Timestamp;

pub(crate) use self::{actor::Possession, error::ExchangeError, issuers::Issuers, judge::joined, review::Reviews};
use self::{
    actor::{Attested, Means},
    form::ExchangeRequest,
    judge::{Case, Issued, Judged},
    record::{Happened, Written},
    subject::SubjectError,
};
use crate::{
    attest::on_processor,
    broker::Broker,
    clock,
    config::Budget,
    http::{
        TraceId,
        problem::{Problem, RequestError},
    },
    leases::Slot,
    metrics::ExchangeLabels,
    store::{
        DecisionDigests, ExchangeOpening, ExchangeSettled, ExchangeSettlement, Ground, GroundKind, Lease, Spending,
        StoreError, StoredDecision, UsedProof, new_id,
    },
};

/// The kind of grant, of lease and of record.
pub(crate) const KIND: &str = "exchange";

/// Where tokens are exchanged.
pub(crate) fn token_endpoint(issuer: &str) -> String {
    format!("{}/v1/token", issuer.trim_end_matches('/'))
}

/// A token for the guest, and its decision.
#[derive(Debug)]
pub(crate) struct Exchanged {
    pub(crate) issued: Issued,
    pub(crate) decision: String,
    pub(crate) lease: String,
    pub(crate) now: Timestamp,
}

/// No token.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// It is refused; the decision is named when it was recorded.
    #[error("{error}")]
    Refused {
        /// Why.
        error: Box<ExchangeError>,
        /// The decision.
        decision: Option<String>,
    },
    /// It was not judged.
    #[error("not judged")]
    Problem(Problem),
}

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Self {
        Self::Refused { error: Box::new(error), decision: None }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Problem(error.into())
    }
}

/// Runs the whole of it.
pub(crate) async fn exchange(
    broker: &Arc<Broker>,
    trace_id: &TraceId,
    request: ExchangeRequest,
    possession: Possession,
) -> Result<Exchanged, Failure> {
    let outcome = run(broker, trace_id, request, possession).await;
    let (outcome_label, code) = match &outcome {
        Ok(_) => ("released", ""),
        Err(Failure::Refused { error, .. }) => ("refused", error.code().as_str()),
        Err(Failure::Problem(_)) => ("undecided", ""),
    };
    broker.metrics.exchanges.get_or_create(&ExchangeLabels { outcome: outcome_label, code }).inc();
    outcome
}

async fn run(
    broker: &Arc<Broker>,
    trace_id: &TraceId,
    request: ExchangeRequest,
    possession: Possession,
) -> Result<Exchanged, Failure> {
    let now = clock::now();
    let for_work = Arc::clone(broker);
    let (request, claimant) = on_processor(Arc::clone(broker), move || {
        let claimant = actor::authenticate(&for_work, &request, &possession, now);
        (request, claimant)
    })
    .await?;
    let claimant = claimant?;
    let key = claimant.proven().thumbprint().to_owned();
    if !broker.exchange_rate.admit(key, Instant::now()) {
        return Err(Problem::from(RequestError::Rate).into());
    }
    // A look that decides nothing, so that a replay costs little; the settlement decides.
    if let Means::Dpop(proof) = claimant.proven().means()
        && broker.store.is_proof_used(&proof.id().0).await?
    {
        return Err(ExchangeError::Proof(keys::dpop::DpopError::Replayed).into());
    }
    let attested = claimant.live(broker, now).await??;
    let subject = match subject::authenticate(broker, &attested, &request.subject, now).await {
        Ok(subject) => subject,
        Err(SubjectError::Refused(error)) => return Err(refuse(broker, trace_id, &attested, error, now).await),
        Err(SubjectError::Store(error)) => return Err(error.into()),
        Err(error @ (SubjectError::NoKeys { .. } | SubjectError::Unanswered { .. })) => {
            tracing::warn!(error = format!("{:#}", anyhow::Error::new(error)), "a subject token cannot be judged");
            return Err(Problem::from(RequestError::Overloaded).into());
        }
    };
    let status = broker.places.take(&*broker.store, 1).await?.first().copied().unwrap_or_default();
    let slot = Slot { id: new_id(), status };
    let case = Case { request, attested, subject, slot, now };
    let for_work = Arc::clone(broker);
    let (case, judged) = on_processor(Arc::clone(broker), move || {
        let judged = judge::judge(&for_work, &case);
        (case, judged)
    })
    .await?;
    let judged = judged.map_err(|error| Problem::internal(&error))?;
    settle(broker, trace_id, &case, judged).await
}

/// Records a refusal that comes before the policy.
async fn refuse(
    broker: &Broker,
    trace_id: &TraceId,
    attested: &Attested,
    error: ExchangeError,
    now: Timestamp,
) -> Failure {
    let happened = Happened { trace_id, attested, now, judged: None, slot: None, refused: Some(&error) };
    record_refusal(broker, &happened, error.clone()).await
}

/// Stores the decision and uses up the proof; when the proof was used meanwhile, that is the answer.
async fn record_refusal(broker: &Broker, happened: &Happened<'_>, error: ExchangeError) -> Failure {
    let written = match record::write(broker, happened) {
        Ok(written) => written,
        Err(error) => return Problem::internal(&error).into(),
    };
    let decision = written.id.clone();
    let settled = broker.store.settle_exchange(settlement(broker, happened, written, None)).await;
    log(&decision, Some(error.code()), happened);
    match settled {
        Ok(ExchangeSettled::Replayed) => ExchangeError::Proof(keys::dpop::DpopError::Replayed).into(),
        Ok(_) => Failure::Refused { error: Box::new(error), decision: Some(decision) },
        Err(error) => error.into(),
    }
}

/// Stores the decision with the lease, and only then lets the token out.
async fn settle(broker: &Broker, trace_id: &TraceId, case: &Case, judged: Judged) -> Result<Exchanged, Failure> {
    let Case { attested, slot, now, .. } = case;
    let happened =
        |refused| Happened { trace_id, attested, now: *now, judged: Some(&judged), slot: Some(slot), refused };
    let issued = match &judged.outcome {
        Ok(issued) => issued,
        Err(error) => return Err(record_refusal(broker, &happened(Some(error)), error.clone()).await),
    };
    let written = record::write(broker, &happened(None)).map_err(|error| Problem::internal(&error))?;
    let decision = written.id.clone();
    let opening = opening(broker, case, &judged, issued.expires_at);
    let settled = broker.store.settle_exchange(settlement(broker, &happened(None), written, Some(opening))).await?;
    let refused = match settled {
        ExchangeSettled::Recorded => {
            log(&decision, None, &happened(None));
            let lease = slot.id.clone();
            return match judged.outcome {
                Ok(issued) => Ok(Exchanged { issued, decision, lease, now: *now }),
                Err(error) => Err(error.into()),
            };
        }
        ExchangeSettled::Replayed => return Err(ExchangeError::Proof(keys::dpop::DpopError::Replayed).into()),
        ExchangeSettled::Ended => ExchangeError::Ended,
        ExchangeSettled::Revoked(ground) => ExchangeError::Revoked(ground),
        ExchangeSettled::Spent { seconds } => ExchangeError::Budget { seconds },
    };
    Err(record_refusal(broker, &happened(Some(&refused)), refused.clone()).await)
}

fn opening(broker: &Broker, case: &Case, judged: &Judged, expires_at: Timestamp) -> ExchangeOpening {
    let entry = broker.exchange.grant.iter().find(|entry| entry.name == judged.name);
    let spending = entry.and_then(|entry| entry.budget).map(|Budget { seconds, tokens, targets }| Spending {
        since: case.now.plus_seconds(i64::from(seconds).saturating_neg()),
        seconds,
        tokens,
        targets,
    });
    let subject = case.subject.lease.clone();
    ExchangeOpening {
        guest: case.attested.guest().id.clone(),
        rests_on: std::iter::once(case.attested.lease().clone()).chain(subject).collect(),
        policy: Ground::new(GroundKind::Policy, judged.policy.name()),
        lease: Lease {
            id: case.slot.id.clone(),
            kind: KIND,
            name: judged.name.clone(),
            version: 1,
            status: case.slot.status,
            issued_at: case.now,
            expires_at,
        },
        spending,
    }
}

fn settlement(
    broker: &Broker,
    happened: &Happened<'_>,
    written: Written,
    opening: Option<ExchangeOpening>,
) -> ExchangeSettlement {
    let proof = match happened.attested.proven().means() {
        Means::Dpop(proof) => {
            Some(UsedProof { id: proof.id().0, expires_at: Timestamp::from_unix(proof.expires_at()) })
        }
        // The handshake proves the key for this connection: there is nothing that somebody else could use again.
        Means::Certificate(_) => None,
    };
    let decision = StoredDecision {
        id: written.id,
        tenant: broker.tenant.clone(),
        decided_at: happened.now,
        outcome: written.outcome.as_str(),
        code: written.code.map(|code| code.as_str().to_owned()),
        authenticated: true,
        record: written.text,
        digests: DecisionDigests {
            evidence: None,
            attestation: Some(happened.attested.lease().decision.clone()),
            policies: happened.judged.map(|judged| judged.policy.to_string()).into_iter().collect(),
        },
    };
    ExchangeSettlement { proof, decision, opening }
}

fn log(decision: &str, code: Option<Code>, happened: &Happened<'_>) {
    let (guest, code) = (&happened.attested.guest().id, code.map_or("", Code::as_str));
    let grant = happened.judged.map_or("", |judged| judged.name.as_str());
    tracing::info!(decision, guest, grant, code, "exchange decided");
}
