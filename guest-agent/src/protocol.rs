//! The messages of the broker's native API.

use std::collections::BTreeMap;

use evidence_formats::{binding::Nonce, bundle::Bundle, guest_report::GuestReport};
use keys::{jwk::TeePublicKey, seal::Sealed};
use serde::{Deserialize, Serialize};

use crate::bundle::BundleDocument;

/// Path of the request for a nonce.
pub(crate) const CHALLENGE: &str = "/v1/challenge";
/// Path of the request that carries evidence.
pub(crate) const ATTEST: &str = "/v1/attest";
/// Path of the token exchange.
pub(crate) const TOKEN: &str = "/v1/token";

/// `POST /v1/challenge`
#[derive(Debug, Serialize)]
pub(crate) struct ChallengeRequest {}

/// Its answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Challenge {
    pub(crate) nonce: Nonce,
}

/// `POST /v1/attest`
#[derive(Debug, Serialize)]
pub(crate) struct AttestRequest<'a> {
    pub(crate) nonce: &'a Nonce,
    pub(crate) tee_key: &'a TeePublicKey,
    pub(crate) evidence: &'a Bundle,
    pub(crate) grants: &'a [GrantRequest<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<&'static str>,
    /// Asks for the key that renews and releases the leases.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) renewable: bool,
    /// What the guest says of itself; the evidence is bound to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guest_report: Option<&'a GuestReport>,
}

/// One thing that is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct GrantRequest<'a> {
    pub(crate) id: &'a str,
    pub(crate) r#type: &'static str,
    pub(crate) name: &'a str,
    /// `tpm`: only the guest's TPM opens it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seal: Option<&'static str>,
    /// JWT-SVID: for whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audience: Option<&'a str>,
    /// X.509-SVID: the certificate signing request, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) csr: Option<&'a str>,
    /// SSH certificate: the guest's public key, a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_key: Option<&'a str>,
    /// Secret: which version. Rotation: of which version the step is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u32>,
    /// Rotation: the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<&'static str>,
    /// Secret: whether this machine's TPM would keep it for reboots without the broker.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) offline: bool,
}

/// The answer to evidence that is good.
#[derive(Debug, Deserialize)]
pub(crate) struct AttestResponse {
    pub(crate) attestation_id: String,
    pub(crate) result: String,
    /// Sealed; when it was asked for.
    pub(crate) lease_key: Option<Sealed>,
    #[serde(default)]
    pub(crate) grants: Vec<GrantResponse>,
    #[serde(default)]
    pub(crate) denied: Vec<Denied>,
}

/// A grant, sealed to the key that the evidence binds.
#[derive(Debug, Deserialize)]
pub(crate) struct GrantResponse {
    pub(crate) id: String,
    pub(crate) sealed: Sealed,
    pub(crate) lease: Lease,
}

/// How long a grant may be held.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Lease {
    pub(crate) id: String,
    /// RFC 3339, by the broker's clock.
    pub(crate) expires_at: String,
}

/// `GET /v1/leases/{id}`
#[derive(Debug, Deserialize)]
pub(crate) struct Standing {
    /// The leases that are open.
    pub(crate) leases: Vec<Lease>,
    /// Whether the broker waited as long as it was asked to.
    pub(crate) waited: bool,
}

/// `GET /v1/leases/{id}/bundles`
#[derive(Deserialize)]
pub(crate) struct TrustBundles {
    /// Our own trust domain.
    pub(crate) trust_domain: String,
    /// SPIFFE bundles by trust domain, the own included.
    pub(crate) trust_bundles: BTreeMap<String, BundleDocument>,
    /// When to ask again.
    pub(crate) refresh_seconds: u64,
}

/// `DELETE /v1/leases/{id}`
#[derive(Debug, Deserialize)]
pub(crate) struct Ended {
    /// How many leases ended.
    pub(crate) ended: u64,
}

/// A grant that the release policy denies.
#[derive(Debug, Deserialize)]
pub(crate) struct Denied {
    pub(crate) id: String,
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) reasons: Vec<String>,
}

/// The answer of a token exchange (RFC 8693 §2.2.1), as it came and as it is read.
#[derive(Debug, Deserialize)]
pub(crate) struct Exchanged {
    pub(crate) access_token: String,
    #[serde(flatten)]
    pub(crate) more: serde_json::Map<String, serde_json::Value>,
}

/// A problem document (RFC 9457), or the error of a token exchange (RFC 6749 §5.2) with our code.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) code: Option<String>,
    pub(crate) title: Option<String>,
    #[serde(alias = "error_description")]
    pub(crate) detail: Option<String>,
    #[serde(alias = "decision")]
    pub(crate) attestation_id: Option<String>,
    pub(crate) reasons: Vec<String>,
}
