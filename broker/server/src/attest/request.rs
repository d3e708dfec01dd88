//! The attest request and answer, as they are on the wire.

use evidence_formats::{
    binding::Nonce,
    bundle::{BUNDLE_LIMIT, RawBundle},
    cbor,
    code::Code,
    guest_report::GuestReport,
};
use keys::{
    jwk::{TeeKeyType, TeePublicKey},
    seal::Sealed,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use verifier::{ResultProfile, Timestamp};

use crate::{
    http::problem::RequestError,
    identity::SSH_CERTIFICATE,
    store::{DATABASE_ROLE, StoreError, is_name},
};

/// Most grants of one request.
const GRANTS: usize = 16;
/// Longest id that a caller gives to a grant, in bytes.
const GRANT_ID: usize = 64;
/// Longest audience, in bytes.
const AUDIENCE: usize = 512;
/// Longest public key, in bytes of its line.
const PUBLIC_KEY: usize = 1024;
/// Longest CSR, in bytes of PEM.
const CSR: usize = 8 * 1024;
/// Most bytes of a request in CBOR: the bundle and a little around it.
const CBOR_LIMIT: usize = BUNDLE_LIMIT + 64 * 1024;

/// What a guest sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttestRequest {
    /// The challenge that the evidence answers.
    pub(crate) nonce: Nonce,
    /// The key that grants are sealed to.
    pub(crate) tee_key: TeePublicKey,
    /// The evidence bundle.
    pub(crate) evidence: RawBundle,
    /// What is asked for.
    #[serde(default)]
    pub(crate) grants: Vec<GrantRequest>,
    /// Whether the guest wants the key that renews and releases its leases.
    #[serde(default)]
    pub(crate) renewable: bool,
    /// What the guest says of itself. The evidence is bound to it, and no hardware vouches for it.
    #[serde(default)]
    pub(crate) guest_report: Option<GuestReport>,
    /// How the attestation result is encoded.
    #[serde(default)]
    pub(crate) format: ResultFormat,
    /// The form of the attestation result.
    #[serde(default, deserialize_with = "profile")]
    pub(crate) profile: ResultProfile,
}

/// How an attestation result is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ResultFormat {
    /// A compact JWS.
    #[default]
    Jwt,
    /// A COSE_Sign1, in base64url without padding: draft-04 only, and not for X-Wing keys, which have no COSE form.
    Cwt,
}

/// The `eat_profile` of the result.
fn profile<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ResultProfile, D::Error> {
    let uri = String::deserialize(deserializer)?;
    ResultProfile::from_uri(&uri).ok_or_else(|| {
        let known = ResultProfile::ALL.map(ResultProfile::uri).join(" or ");
        D::Error::custom(format!("expected the profile {known}"))
    })
}

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantRequest {
    /// The caller's name for it in the answer.
    pub(crate) id: String,
    /// What kind of thing.
    #[serde(rename = "type")]
    pub(crate) kind: GrantKind,
    /// Its name.
    pub(crate) name: String,
    /// What it is sealed to.
    #[serde(default)]
    pub(crate) seal: SealTo,
    /// JWT-SVID: for whom.
    #[serde(default)]
    pub(crate) audience: Option<String>,
    /// X.509-SVID: the certificate signing request, PEM.
    #[serde(default)]
    pub(crate) csr: Option<String>,
    /// SSH certificate: the guest's public key, as in its `.pub` file.
    #[serde(default)]
    pub(crate) public_key: Option<String>,
    /// Secret: which version, where it is not the current one. Rotation: of which version a step is.
    #[serde(default)]
    pub(crate) version: Option<u32>,
    /// Rotation: the step.
    #[serde(default)]
    pub(crate) step: Option<RotationStep>,
    /// Secret: whether the guest wants to keep it for reboots without the broker, where that is allowed.
    #[serde(default)]
    pub(crate) offline: bool,
}

/// A step in changing a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RotationStep {
    /// Make a new version, or give the one that was made.
    Stage,
    /// From now on the name stands for it.
    Promote,
    /// Erase the versions before it.
    Retire,
}

/// What a grant is sealed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SealTo {
    /// The guest's key alone.
    #[default]
    TeeKey,
    /// The guest's key, and inside of that the guest's TPM under the PCR values of the matched reference set.
    Tpm,
}

impl SealTo {
    /// As on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TeeKey => "tee-key",
            Self::Tpm => "tpm",
        }
    }
}

/// The kinds of grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GrantKind {
    /// A stored secret: the current version, or one that is named.
    Secret,
    /// A step in changing a stored secret.
    SecretRotation,
    /// A token for another system.
    Token,
    /// A SPIFFE identity as a token.
    JwtSvid,
    /// A SPIFFE identity as a certificate.
    #[serde(rename = "x509-svid")]
    X509Svid,
    /// A role of a database.
    Postgres,
    /// A certificate for SSH.
    SshCert,
}

impl GrantKind {
    /// Reads what [`GrantKind::as_str`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "secret" => Ok(Self::Secret),
            "secret-rotation" => Ok(Self::SecretRotation),
            "token" => Ok(Self::Token),
            "jwt-svid" => Ok(Self::JwtSvid),
            "x509-svid" => Ok(Self::X509Svid),
            DATABASE_ROLE => Ok(Self::Postgres),
            SSH_CERTIFICATE => Ok(Self::SshCert),
            unknown => Err(StoreError::Unknown { what: "grant kind", found: unknown.to_owned() }),
        }
    }

    /// As on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::SecretRotation => "secret-rotation",
            Self::Token => "token",
            Self::JwtSvid => "jwt-svid",
            Self::X509Svid => "x509-svid",
            Self::Postgres => DATABASE_ROLE,
            Self::SshCert => SSH_CERTIFICATE,
        }
    }
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `application/json`
    Json,
    /// `application/cbor`
    Cbor,
}

impl AttestRequest {
    /// Parses a body and checks its bounds.
    pub(crate) fn parse(body: &[u8], encoding: Encoding) -> Result<Self, RequestError> {
        let malformed = |detail: String| RequestError::Malformed { detail };
        let request: Self = match encoding {
            Encoding::Json => serde_json::from_slice(body).map_err(|error| malformed(format!("body: {error}")))?,
            Encoding::Cbor => {
                cbor::from_slice(body, CBOR_LIMIT).map_err(|error| malformed(format!("body: {error}")))?
            }
        };
        let x_wing = request.tee_key.key_type() == TeeKeyType::XWing;
        if request.format == ResultFormat::Cwt && (request.profile != ResultProfile::EarDraft04 || x_wing) {
            return Err(malformed("format: expected jwt for this profile and key".to_owned()));
        }
        if request.grants.len() > GRANTS {
            return Err(malformed(format!("expected at most {GRANTS} grants, found {}", request.grants.len())));
        }
        for (index, grant) in request.grants.iter().enumerate() {
            let long = |text: &Option<String>, most: usize| text.as_ref().is_some_and(|text| text.len() > most);
            if long(&grant.audience, AUDIENCE) || long(&grant.csr, CSR) || long(&grant.public_key, PUBLIC_KEY) {
                let detail = format!(
                    "grant {index}: expected an audience of {AUDIENCE}, a CSR of {CSR} and a public key of {PUBLIC_KEY} bytes at most"
                );
                return Err(malformed(detail));
            }
            if grant.id.is_empty() || grant.id.len() > GRANT_ID || !is_name(&grant.name) {
                return Err(malformed(format!("grant {index}: expected an id of 1 to {GRANT_ID} bytes and a name")));
            }
            if grant.offline && (grant.kind != GrantKind::Secret || grant.seal != SealTo::TeeKey) {
                let detail = format!("grant {index}: expected to keep only a secret that is sealed to the guest's key");
                return Err(malformed(detail));
            }
            if request.grants.iter().take(index).any(|before| before.id == grant.id) {
                return Err(malformed(format!("grant {index}: expected an id that no other grant has")));
            }
        }
        Ok(request)
    }
}

/// What an affirmed guest gets.
#[derive(Debug, Serialize)]
pub(crate) struct AttestResponse {
    /// Names the decision.
    pub(crate) attestation_id: String,
    /// The attestation result, a JWT or a CWT in base64url.
    pub(crate) result: String,
    /// When result and leases end at the latest.
    pub(crate) expires_at: Timestamp,
    /// The key that renews and releases the guest's leases, sealed; when it was asked for. The lease of the result itself has
    /// the id of the guest's first attestation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lease_key: Option<Sealed>,
    /// What was released.
    pub(crate) grants: Vec<SealedGrant>,
    /// What was not.
    pub(crate) denied: Vec<DeniedGrant>,
}

/// One released grant, which only the guest's key opens.
#[derive(Debug, Serialize)]
pub(crate) struct SealedGrant {
    /// The caller's name for it.
    pub(crate) id: String,
    /// The sealed content.
    pub(crate) sealed: Sealed,
    /// How long it may be held.
    pub(crate) lease: LeaseNotice,
}

/// A lease, as the guest sees it.
#[derive(Debug, Serialize)]
pub(crate) struct LeaseNotice {
    /// Names it.
    pub(crate) id: String,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
}

/// One denied grant.
#[derive(Debug, Serialize)]
pub(crate) struct DeniedGrant {
    /// The caller's name for it.
    pub(crate) id: String,
    /// Why, for programs.
    pub(crate) code: Code,
    /// Why, for people.
    pub(crate) reasons: Vec<String>,
}
