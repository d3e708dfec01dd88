//! The record of one attestation: what was decided and every reason why, in a form that can be explained later.
//!
//! It holds no secret, no evidence bytes and no token. Raw evidence stays with the guest; claims are what it said.

use evidence_formats::{binding::Nonce, code::Code};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use verifier::{
    Appraisal, Explanation, Timestamp, Unchecked,
    ar4si::{Tier, TrustLabel, TrustVector},
    baseline::BaselineOutcome,
    policy::PolicyId,
    reference::ReferenceOutcome,
};

use crate::store::{DecisionDigests, TenantId};

/// Longest reason that is recorded, in bytes: reasons may quote what a guest sent.
const REASON: usize = 2048;
/// Most reasons that are recorded.
const REASONS: usize = 256;

/// Whether evidence was good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It passed every stage.
    Affirmed,
    /// It did not.
    Refused,
}

impl Outcome {
    /// As written in the store and in labels.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Affirmed => "affirmed",
            Self::Refused => "refused",
        }
    }
}

/// One reason, with the code that programs look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RecordedReason {
    /// Its code.
    pub(crate) code: Code,
    /// In words.
    pub(crate) text: String,
}

impl RecordedReason {
    /// Cuts the text at a bound.
    pub(crate) fn new(code: Code, text: &str) -> Self {
        let end =
            text.char_indices().map(|(start, c)| start.saturating_add(c.len_utf8())).take_while(|end| *end <= REASON);
        let text = text.get(..end.last().unwrap_or(0)).unwrap_or_default().to_owned();
        Self { code, text }
    }
}

/// What became of one grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct GrantRecord {
    /// The caller's name for it in this request.
    pub(crate) id: String,
    /// The kind of grant.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// What was asked for.
    pub(crate) name: String,
    /// The workloads that it is for.
    pub(crate) workloads: Vec<String>,
    /// What it was to be sealed to.
    pub(crate) seal: &'static str,
    /// Seconds that were asked for.
    pub(crate) requested_ttl: u32,
    /// The release policy that decided.
    pub(crate) policy: PolicyId,
    /// The version that was released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u32>,
    /// The lease that was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<String>,
    /// Until when the guest may keep it for reboots without the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offline_until: Option<Timestamp>,
    /// Why it was denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<Code>,
    /// Why it was denied, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reasons: Vec<String>,
}

/// The whole record.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionRecord {
    /// The attestation id.
    pub(crate) id: String,
    /// The request's trace id, as in the logs.
    pub(crate) trace_id: String,
    /// Whose rules decided.
    pub(crate) tenant: TenantId,
    /// When.
    pub(crate) decided_at: Timestamp,
    /// What.
    pub(crate) outcome: Outcome,
    /// The code of the first reason to refuse.
    pub(crate) code: Option<Code>,
    /// Whether the evidence was authenticated.
    pub(crate) authenticated: bool,
    /// SHA-256 of the evidence, hex.
    pub(crate) evidence_digest: String,
    /// The nonce that was answered.
    pub(crate) nonce: Nonce,
    /// Thumbprint of the guest's key (RFC 7638).
    pub(crate) tee_key: String,
    /// Every reason to refuse.
    pub(crate) reasons: Vec<RecordedReason>,
    /// What the evidence said, when it was authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) claims: Option<Box<RawValue>>,
    /// How it was judged, when it was authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) appraisal: Option<Box<RawValue>>,
    /// The appraisal policy that was asked, for the audit log; it is in `appraisal`, too.
    #[serde(skip)]
    pub(crate) appraisal_policy: Option<String>,
    /// The approved request by which a secret was released although this is a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) break_glass: Option<String>,
    /// Every check in its order, and what to do next.
    pub(crate) explanation: Explanation,
    /// What became of each grant.
    pub(crate) grants: Vec<GrantRecord>,
}

impl DecisionRecord {
    /// What the audit log says of it besides.
    pub(crate) fn digests(&self) -> DecisionDigests {
        let release = self.grants.first().map(|grant| grant.policy.to_string());
        DecisionDigests {
            evidence: Some(self.evidence_digest.clone()),
            attestation: None,
            policies: self.appraisal_policy.iter().cloned().chain(release).collect(),
        }
    }
}

/// How authenticated evidence was judged. With the claims it is all that the policies read, so that another policy can be
/// put in their place afterwards; see [`crate::replay`].
#[derive(Debug, Serialize)]
struct AppraisalRecord<'a> {
    status: Tier,
    trust_vector: TrustVector,
    policy: Option<&'a PolicyId>,
    baseline: &'a BaselineOutcome,
    reference_values: &'a ReferenceOutcome,
    relaxed: &'a [String],
    allowed_warnings: &'a [TrustLabel],
    unchecked: &'a [Unchecked],
    remarks: Vec<&'a str>,
}

/// What an appraisal found, written once: the record takes the text as it is.
pub(crate) fn written(
    appraisal: &Appraisal,
    allowed_warnings: &[TrustLabel],
) -> Result<Box<RawValue>, serde_json::Error> {
    to_raw_value(&AppraisalRecord {
        status: appraisal.status(),
        trust_vector: appraisal.trust_vector(),
        policy: appraisal.policy(),
        baseline: appraisal.baseline(),
        reference_values: appraisal.reference_values(),
        relaxed: appraisal.relaxed(),
        allowed_warnings,
        unchecked: appraisal.unchecked(),
        remarks: appraisal.remarks().iter().map(String::as_str).collect(),
    })
}

/// At most [`REASONS`] reasons.
pub(crate) fn bounded(mut reasons: Vec<RecordedReason>) -> Vec<RecordedReason> {
    reasons.truncate(REASONS);
    reasons
}
