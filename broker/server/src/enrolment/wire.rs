//! Enrolment as it is on the wire. Binary members are base64url without padding.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use evidence_formats::{binding::Nonce, bundle::RawBundle};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use verifier::{Timestamp, tpm::AkProvenance};

use crate::{http::problem::RequestError, store::EnrolmentState};

/// Most certificates of one request: leaf, two intermediates, and a root that is not needed.
const CERTIFICATES: usize = 4;
/// Longest binary member in bytes.
const LONGEST: usize = 16 * 1024;

/// Bytes as base64url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base64Url(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Base64Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > LONGEST.saturating_mul(4) / 3 {
            return Err(D::Error::custom(format!("expected at most {LONGEST} bytes")));
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text);
        bytes.map(Self).map_err(|_position| D::Error::custom("expected base64url without padding"))
    }
}

impl Serialize for Base64Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_URL_SAFE_NO_PAD.encode(&self.0))
    }
}

/// `POST /v1/enroll`: either `ek_certificates` and `ek_public`, or `evidence` and `nonce` of an SVSM.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolRequest {
    ek_certificates: Option<Vec<Base64Url>>,
    ek_public: Option<Base64Url>,
    evidence: Option<RawBundle>,
    nonce: Option<Nonce>,
    ak_public: Base64Url,
}

/// A request of one of its two forms.
#[derive(Debug)]
pub(crate) struct Enrol {
    /// TPMT_PUBLIC of the attestation key.
    pub(crate) ak_public: Vec<u8>,
    /// What shows the endorsement key.
    pub(crate) shown: Shown,
}

/// What shows the endorsement key.
#[derive(Debug)]
pub(crate) enum Shown {
    /// Its certificate.
    Certificate {
        /// DER, leaf first.
        certificates: Vec<Vec<u8>>,
        /// TPMT_PUBLIC.
        ek_public: Vec<u8>,
    },
    /// The report and manifest of an SVSM, for this nonce.
    Svsm {
        /// The bundle.
        evidence: RawBundle,
        /// The challenge that it answers.
        nonce: Nonce,
        /// TPMT_PUBLIC, where the caller names it too.
        ek_public: Option<Vec<u8>>,
    },
}

impl EnrolRequest {
    /// Parses a body: exactly one of the two forms.
    pub(crate) fn parse(body: &[u8]) -> Result<Enrol, RequestError> {
        let malformed = |detail: String| RequestError::Malformed { detail };
        let request: Self = serde_json::from_slice(body).map_err(|error| malformed(format!("body: {error}")))?;
        let ek_public = request.ek_public.map(|bytes| bytes.0);
        let shown = match (request.ek_certificates, ek_public, request.evidence, request.nonce) {
            (Some(certificates), Some(ek_public), None, None) => {
                if certificates.is_empty() || certificates.len() > CERTIFICATES {
                    return Err(malformed(format!("ek_certificates: expected 1 to {CERTIFICATES}")));
                }
                Shown::Certificate { certificates: certificates.into_iter().map(|der| der.0).collect(), ek_public }
            }
            (None, ek_public, Some(evidence), Some(nonce)) => Shown::Svsm { evidence, nonce, ek_public },
            _ => {
                let forms = "expected ek_certificates and ek_public, or evidence and nonce";
                return Err(malformed(format!("body: {forms}")));
            }
        };
        Ok(Enrol { ak_public: request.ak_public.0, shown })
    }
}

/// A credential that waits for its answer.
#[derive(Debug, Serialize)]
pub(crate) struct EnrolChallenge {
    /// Names it.
    pub(crate) enrollment_id: String,
    /// What the TPM opens.
    pub(crate) credential: CredentialDocument,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
}

/// Input of TPM2_ActivateCredential.
#[derive(Debug, Serialize)]
pub(crate) struct CredentialDocument {
    /// TPM2B_ID_OBJECT.
    pub(crate) blob: Base64Url,
    /// TPM2B_ENCRYPTED_SECRET.
    pub(crate) secret: Base64Url,
}

/// `POST /v1/enroll/{enrollment_id}`: what the TPM made of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolAnswer {
    /// The opened credential.
    pub(crate) secret: Base64Url,
}

/// What became of it.
#[derive(Debug, Serialize)]
pub(crate) struct EnrolOutcome {
    /// Name of the attestation key in hex.
    pub(crate) ak_name: String,
    /// What proves it.
    pub(crate) provenance: AkProvenance,
    /// Whether it counts already.
    pub(crate) state: EnrolmentState,
}
