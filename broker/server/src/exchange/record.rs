//! The record of one exchange, in the form of the record of an attestation, so that it is listed, explained and replayed like
//! one. It holds no token.

use evidence_formats::code::{Code, Coded};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use verifier::{Explanation, Timestamp, policy::PolicyId};

use super::{
    actor::{Attested, Means},
    error::ExchangeError,
    judge::{ExchangeFacts, Judged},
};
use crate::{
    broker::Broker,
    decision::{Outcome, RecordedReason, bounded},
    http::TraceId,
    leases::Slot,
    store::{TenantId, new_id},
};

/// The whole record.
#[derive(Debug, Serialize)]
pub(crate) struct ExchangeRecord<'a> {
    id: String,
    trace_id: String,
    tenant: TenantId,
    decided_at: Timestamp,
    outcome: Outcome,
    code: Option<Code>,
    authenticated: bool,
    tee_key: &'a str,
    reasons: Vec<RecordedReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    appraisal: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
    exchange: About<'a>,
    grants: Vec<ExchangeGrant<'a>>,
}

/// Which guest acted by which attestation.
#[derive(Debug, Serialize)]
struct About<'a> {
    attestation: &'a str,
    guest: &'a str,
    /// How the attested key was proven.
    proof: &'static str,
}

/// The grant, as in the record of an attestation.
#[derive(Debug, Serialize)]
struct ExchangeGrant<'a> {
    id: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    workloads: &'a [String],
    seal: &'static str,
    requested_ttl: u32,
    policy: &'a PolicyId,
    exchange: &'a ExchangeFacts,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

/// What an attestation's record says of its evidence.
#[derive(Deserialize)]
struct OfAttestation<'a> {
    #[serde(borrow)]
    claims: Option<&'a RawValue>,
    #[serde(borrow)]
    appraisal: Option<&'a RawValue>,
}

/// A record to store, and what is searched for beside it.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) id: String,
    pub(crate) outcome: Outcome,
    pub(crate) code: Option<Code>,
    pub(crate) text: String,
}

/// What happened, as far as it came.
pub(crate) struct Happened<'a> {
    pub(crate) trace_id: &'a TraceId,
    pub(crate) attested: &'a Attested,
    pub(crate) now: Timestamp,
    /// What was judged, when it came so far.
    pub(crate) judged: Option<&'a Judged>,
    pub(crate) slot: Option<&'a Slot>,
    /// Why not.
    pub(crate) refused: Option<&'a ExchangeError>,
}

/// Writes the record.
pub(crate) fn write(broker: &Broker, happened: &Happened<'_>) -> Result<Written, serde_json::Error> {
    let Happened { attested, refused, .. } = happened;
    let evidence: OfAttestation<'_> = serde_json::from_str(attested.record())?;
    let code = refused.map(Coded::code);
    let outcome = if refused.is_some() { Outcome::Refused } else { Outcome::Affirmed };
    let reasons = |error: &ExchangeError| {
        let reasons = error.reasons().into_iter().map(|text| RecordedReason::new(error.code(), &text));
        bounded(reasons.collect())
    };
    let record = ExchangeRecord {
        id: new_id(),
        trace_id: happened.trace_id.0.clone(),
        tenant: broker.tenant.clone(),
        decided_at: happened.now,
        outcome,
        code,
        authenticated: true,
        tee_key: attested.proven().thumbprint(),
        reasons: refused.map(reasons).unwrap_or_default(),
        claims: evidence.claims,
        appraisal: evidence.appraisal,
        explanation: refused.map(Explanation::of_refusal),
        exchange: About {
            attestation: &attested.lease().decision,
            guest: &attested.guest().id,
            proof: match attested.proven().means() {
                Means::Dpop(_) => "dpop",
                Means::Certificate(_) => "certificate",
            },
        },
        grants: happened.judged.map(|judged| grant(judged, happened)).into_iter().collect(),
    };
    let text = serde_json::to_string(&record)?;
    Ok(Written { id: record.id, outcome, code, text })
}

fn grant<'a>(judged: &'a Judged, happened: &Happened<'a>) -> ExchangeGrant<'a> {
    let released = happened.refused.is_none();
    ExchangeGrant {
        id: super::KIND,
        kind: super::KIND,
        name: &judged.name,
        workloads: &judged.workloads,
        seal: "tee-key",
        requested_ttl: judged.requested_ttl,
        policy: &judged.policy,
        exchange: &judged.facts,
        version: released.then_some(1),
        lease: happened.slot.filter(|_| released).map(|slot| slot.id.as_str()),
        code: happened.refused.map(Coded::code),
        reasons: happened.refused.map(ExchangeError::reasons).unwrap_or_default(),
    }
}
