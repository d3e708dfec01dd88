//! One attestation, from request to sealed grants. Each step takes what the one before it made:
//!
//! request → live nonce → evidence → `Authentic` → `Appraisal` → `Affirmed` → sealed grants → settled → response
//!
//! # When the nonce is consumed
//!
//! The cheap checks come first: MAC and expiry of the nonce (no memory, no store), then a look whether this broker saw it
//! consumed lately. Such a replay therefore costs no signature check. That look decides nothing: two requests with one
//! nonce may both pass it, and so does one that another broker answered. The nonce is consumed at the end, in the transaction that also stores the decision and the
//! leases, before anything leaves the broker. Of two racing requests exactly one commits; what was sealed for the other
//! is dropped. A crash before the commit has released nothing; a crash after it has released nothing either, and the
//! guest asks again with a fresh nonce. Consuming before verification would let anybody who overhears a nonce burn it,
//! and would need a second durable write for the decision.
//!
//! # When a vendor's document is missing
//!
//! Evidence is judged by what is here. Only when that is not enough, and nothing else speaks against it, documents are
//! fetched and it is judged once more. What may come later is answered with 503: such an answer decides nothing, stores
//! nothing and leaves the nonce alive.
//!
//! Evidence that does not even parse consumes nothing and leaves no record: it is counted. Evidence that parses and is
//! not authentic leaves one of a bounded number of records, so that a flood cannot fill the disk.

mod break_glass;
mod judge;
mod lack;
mod prepare;
mod provide;
pub(crate) mod request;
mod rotation;
mod settle;

use std::sync::{Arc, OnceLock};

use axum::{body::Bytes, http::StatusCode};
use evidence_formats::{code::Coded, evidence::Evidence};
use keys::lease::LeaseAction;
use tokio::{sync::SemaphorePermit, task};
use verifier::Timestamp;

use crate::{
    broker::Broker,
    clock,
    decision::RecordedReason,
    enrolment,
    http::{
        TraceId,
        problem::{Problem, RequestError},
    },
    leases::{LeaseError, Proof, Renewal},
    metrics::AttestationLabels,
    nonce::{LiveNonce, NonceError},
    shadow::Tried,
};
use judge::{Case, Verdict};
use request::{AttestRequest, AttestResponse, Encoding, GrantKind, GrantRequest, SealTo};

/// Requests up to this many bytes are parsed and judged where they arrive, which takes less than a millisecond: to hand them
/// to another thread and back costs as much again. Longer ones wait for a processor's turn.
const SHORT: usize = 64 * 1024;

/// A request with a live nonce, and when it came.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) request: Arc<AttestRequest>,
    /// SHA-256 of the evidence, see [`judge::evidence_digest`].
    pub(crate) evidence_digest: String,
    /// What staged rules say of the evidence, once it is judged.
    pub(crate) tried: OnceLock<Tried>,
    pub(crate) nonce: LiveNonce,
    /// The leases that are to be renewed, whose holder proved itself.
    pub(crate) renewal: Option<Renewal>,
    pub(crate) trace_id: TraceId,
    pub(crate) now: Timestamp,
    /// Whether it is judged where it arrived.
    pub(crate) short: bool,
}

/// Runs the whole of it. With a `proof`, the leases that it names are renewed.
pub(crate) async fn attest(
    broker: &Arc<Broker>,
    trace_id: TraceId,
    body: Bytes,
    encoding: Encoding,
    proof: Option<&Proof>,
) -> Result<AttestResponse, Problem> {
    let _place = broker.attestations.try_acquire().map_err(|_none_free| RequestError::Overloaded)?;
    let now = clock::now();
    let short = body.len() <= SHORT;
    let mut request = parse(broker, body, encoding).await?;
    let nonce = broker.nonces.recognise(&request.nonce, now).map_err(|error| refuse_nonce(broker, error))?;
    if broker.spent.contains(nonce.nonce.as_bytes()) {
        return Err(refuse_nonce(broker, NonceError::Replayed));
    }
    let renewal = match proof {
        Some(proof) => Some(renewal(broker, proof, &mut request, now).await?),
        None => None,
    };
    let request = Arc::new(request);
    let (evidence, evidence_digest) = match parse_evidence(broker, &request, short).await? {
        Ok(parsed) => parsed,
        Err(reason) => {
            count(broker, "refused", reason.code.as_str());
            return Err(Problem::new(StatusCode::FORBIDDEN, reason.code, reason.text));
        }
    };
    let admitted =
        Arc::new(Admitted { request, evidence_digest, tried: OnceLock::new(), nonce, renewal, trace_id, now, short });
    let standing = enrolment::look_up(broker, &evidence).await?;
    let case = Arc::new(Case { evidence, standing });
    let judged = judge(broker, &admitted, &case).await?;
    let judged = if let Verdict::Lacking(lacking) = judged {
        lack::complete(broker, &admitted, &case, *lacking).await?
    } else {
        judged
    };
    match judged {
        Verdict::Lacking(lacking) => lack::refuse(broker, &admitted, *lacking).await,
        Verdict::Unparsable(reason) => {
            count(broker, "refused", reason.code.as_str());
            Err(Problem::new(StatusCode::FORBIDDEN, reason.code, reason.text))
        }
        Verdict::NotAuthentic(reason, explanation) => {
            settle::refuse_unauthenticated(broker, &admitted, reason, explanation).await
        }
        Verdict::NotAffirmed(refusal) => {
            broker.raise_crl_floor(refusal.appraisal().claims()).await?;
            settle::refuse(broker, &admitted, &refusal).await
        }
        Verdict::Affirmed(affirmed) => {
            broker.raise_crl_floor(affirmed.appraisal().claims()).await?;
            settle::release(broker, admitted, *affirmed).await
        }
    }
}

/// Judges, on a processor's turn when it may take long.
async fn judge(broker: &Arc<Broker>, admitted: &Arc<Admitted>, case: &Arc<Case>) -> Result<Verdict, Problem> {
    if admitted.short {
        return Ok(judge::judge(broker, admitted, case));
    }
    let (for_work, admitted, case) = (Arc::clone(broker), Arc::clone(admitted), Arc::clone(case));
    on_processor(Arc::clone(broker), move || judge::judge(&for_work, &admitted, &case)).await
}

/// The leases to renew, after their holder proved itself; `request` then asks for exactly those.
async fn renewal(
    broker: &Broker,
    proof: &Proof,
    request: &mut AttestRequest,
    now: Timestamp,
) -> Result<Renewal, Problem> {
    if proof.nonce != request.nonce {
        return Err(refuse_lease(broker, LeaseError::Proof));
    }
    let thumbprint = request.tee_key.thumbprint();
    let checked = proof.check(broker, LeaseAction::Renew, &thumbprint, now).await?;
    let renewal = checked.map_err(|error| refuse_lease(broker, error))?;
    let mut grants = Vec::new();
    for lease in renewal.wanted() {
        let asked = request.grants.iter().position(|grant| grant.id == lease.id);
        let grant = match asked {
            Some(position) => request.grants.swap_remove(position),
            None => GrantRequest {
                id: lease.id.clone(),
                kind: GrantKind::parse(&lease.kind)?,
                name: lease.name.clone(),
                seal: SealTo::default(),
                audience: None,
                csr: None,
                public_key: None,
                version: None,
                step: None,
                offline: false,
            },
        };
        if grant.kind.as_str() != lease.kind || grant.name != lease.name {
            return Err(RequestError::Malformed { detail: "grants: expected type and name of the lease".into() }.into());
        }
        grants.push(grant);
    }
    if !request.grants.is_empty() {
        return Err(RequestError::Malformed { detail: "grants: expected ids of the leases to renew".into() }.into());
    }
    request.grants = grants;
    Ok(renewal)
}

/// Refuses a request over a lease.
pub(crate) fn refuse_lease(broker: &Broker, error: LeaseError) -> Problem {
    count(broker, "refused", error.code().as_str());
    Problem::new(StatusCode::FORBIDDEN, error.code(), error.to_string())
}

async fn parse(broker: &Arc<Broker>, body: Bytes, encoding: Encoding) -> Result<AttestRequest, Problem> {
    if body.len() <= SHORT {
        return Ok(AttestRequest::parse(&body, encoding)?);
    }
    Ok(on_processor(Arc::clone(broker), move || AttestRequest::parse(&body, encoding)).await??)
}

/// The evidence and its digest, or why it is none; parsed where it arrives when it is short.
async fn parse_evidence(
    broker: &Arc<Broker>,
    request: &Arc<AttestRequest>,
    short: bool,
) -> Result<Result<(Evidence, String), RecordedReason>, Problem> {
    if short {
        return Ok(judge::parse(&request.evidence));
    }
    let request = Arc::clone(request);
    on_processor(Arc::clone(broker), move || judge::parse(&request.evidence)).await
}

fn refuse_nonce(broker: &Broker, error: NonceError) -> Problem {
    count(broker, "refused", error.code().as_str());
    Problem::new(StatusCode::FORBIDDEN, error.code(), error.to_string())
}

fn count(broker: &Broker, outcome: &'static str, code: &'static str) {
    broker.metrics.attestations.get_or_create(&AttestationLabels { outcome, code }).inc();
}

/// Runs `work`, which keeps a processor busy, off the threads that serve connections, and never more of it at once than
/// there are processors.
pub(crate) async fn on_processor<T: Send + 'static>(
    broker: Arc<Broker>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let _turn: SemaphorePermit<'_> = broker.processors.acquire().await.map_err(|error| Problem::internal(&error))?;
    task::spawn_blocking(work).await.map_err(|panicked| Problem::internal(&panicked))
}
