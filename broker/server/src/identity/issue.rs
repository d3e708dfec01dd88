//! From affirmed evidence and an entry of the configuration to a token or a certificate.

use std::collections::BTreeMap;

use evidence_formats::code::Code;
use keys::{
    secret::SecretBytes,
    sign::{SignError, SignatureAlgorithm, TokenType, sign_jwt},
    ssh::{CertificateKind, SshCertificateError},
};
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};
use thiserror::Error;
use uuid::Uuid;
use verifier::{Affirmed, Timestamp};

use super::{Facts, KeyRing, read_csr};
use crate::{
    attest::request::GrantRequest,
    config::{Identity, MinEvidence, RoleEntry, SshEntry, SvidEntry, TokenEntry},
    databases::Server,
    federation::{Federations, bundles_for},
    leases::{self, Slot},
    release::{Denied, Rotating},
    store::{IssuedCertificate, KeyPurpose, SecretVersion},
};

/// What a grant's name stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Offer<'a> {
    /// Nothing.
    Absent,
    /// A stored secret.
    Secret(&'a SecretVersion),
    /// A step in changing a stored secret.
    Rotation(&'a Rotating),
    /// A token for another system.
    Token(&'a TokenEntry),
    /// A SPIFFE identity as a token.
    JwtSvid(&'a SvidEntry),
    /// A SPIFFE identity as a certificate.
    X509Svid(&'a SvidEntry),
    /// A certificate for SSH.
    SshCertificate(CertificateKind, &'a SshEntry),
    /// A role of a database.
    DatabaseRole(&'a Server, &'a RoleEntry),
}

impl Offer<'_> {
    /// The workloads that may have it.
    pub(crate) fn workloads(&self) -> &[String] {
        match self {
            Self::Absent => &[],
            Self::Secret(secret) => &secret.workloads,
            Self::Rotation(found) => &found.current.workloads,
            Self::Token(entry) => &entry.workloads,
            Self::JwtSvid(entry) | Self::X509Svid(entry) => &entry.workloads,
            Self::SshCertificate(_, entry) => &entry.workloads,
            Self::DatabaseRole(_, entry) => &entry.workloads,
        }
    }

    /// Which version of it.
    pub(crate) const fn version(&self) -> u32 {
        match self {
            Self::Secret(secret) => secret.version,
            Self::Rotation(found) => found.current.version,
            Self::Absent
            | Self::Token(_)
            | Self::JwtSvid(_)
            | Self::X509Svid(_)
            | Self::SshCertificate(..)
            | Self::DatabaseRole(..) => 1,
        }
    }

    /// Longest life in seconds, where the entry says one.
    pub(crate) const fn longest(&self) -> Option<u32> {
        match self {
            Self::Token(entry) => Some(entry.ttl_seconds),
            Self::JwtSvid(entry) | Self::X509Svid(entry) => Some(entry.ttl_seconds),
            Self::SshCertificate(_, entry) => Some(entry.max_ttl_seconds),
            Self::DatabaseRole(server, _) => Some(server.settings.max_ttl_seconds),
            Self::Absent | Self::Secret(_) | Self::Rotation(_) => None,
        }
    }

    /// The least evidence, where the entry says one.
    pub(crate) const fn min_evidence(&self) -> Option<MinEvidence> {
        match self {
            Self::SshCertificate(_, entry) => Some(entry.min_evidence),
            Self::DatabaseRole(server, _) => Some(server.settings.min_evidence),
            Self::Absent
            | Self::Secret(_)
            | Self::Rotation(_)
            | Self::Token(_)
            | Self::JwtSvid(_)
            | Self::X509Svid(_) => None,
        }
    }
}

/// The broker could not issue what the policy allows: its own fault.
#[derive(Debug, Error)]
pub(crate) enum IssueError {
    /// No key signs.
    #[error("expected a signing key")]
    NoKey,
    /// It does not sign.
    #[error("the token cannot be signed")]
    Sign(#[from] SignError),
    /// It does not certify.
    #[error("the certificate cannot be made")]
    Certify(#[from] rcgen::Error),
    /// It cannot be written.
    #[error("the grant cannot be written")]
    Write(#[from] serde_json::Error),
    /// No SSH certificate can be made.
    #[error("the SSH certificate cannot be made")]
    Ssh(#[from] SshCertificateError),
}

/// Issues for one guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Issuer<'a> {
    /// The proof that the evidence passed.
    pub(crate) affirmed: &'a Affirmed,
    /// The entries.
    pub(crate) identity: &'a Identity,
    /// The keys.
    pub(crate) keyring: &'a KeyRing,
    /// The bundles of other trust domains.
    pub(crate) federations: &'a Federations,
    /// `iss`.
    pub(crate) issuer: &'a str,
    /// The tenant's name.
    pub(crate) tenant: &'a str,
    /// The guest's id.
    pub(crate) guest: &'a str,
    /// Its launch digest, hex.
    pub(crate) measurement: Option<&'a str>,
    /// The time.
    pub(crate) now: Timestamp,
}

/// One issue: until when, and which lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) until: Timestamp,
    pub(crate) slot: &'a Slot,
}

/// The value of an `x509-svid` grant.
#[derive(Serialize)]
struct X509Svid<'a> {
    spiffe_id: &'a str,
    /// PEM: the SVID, and the certificates that lead to the bundle, if any.
    certificate: &'a str,
    /// PEM: the CAs of the own trust domain.
    bundle: &'a str,
    /// SPIFFE bundles (JWK sets) by trust domain, the own included.
    trust_bundles: BTreeMap<&'a str, &'a RawValue>,
}

/// An X.509-SVID as it is released, and as it is recorded.
pub(crate) struct IssuedSvid {
    pub(crate) value: SecretBytes,
    pub(crate) issued: IssuedCertificate,
}

pub(super) type Outcome = Result<Result<SecretBytes, Denied>, IssueError>;

fn refusal(code: &'static str, reason: impl Into<String>) -> Denied {
    Denied { code: Code::new(code), reasons: vec![reason.into()] }
}

pub(super) fn denied(code: &'static str, reason: impl Into<String>) -> Outcome {
    Ok(Err(refusal(code, reason)))
}

impl Issuer<'_> {
    /// A token for another system.
    pub(crate) fn token(&self, entry: &TokenEntry, terms: Terms<'_>) -> Outcome {
        let Some(workload) = self.workload(&entry.workloads) else { return not_attested() };
        let spiffe_id = self.spiffe_id(workload);
        let facts = self.facts(workload, spiffe_id.as_deref());
        let Some(subject) = entry.subject.fill(&facts) else { return unknown("sub") };
        let mut claims = Map::new();
        for (name, template) in &entry.claims {
            let Some(text) = template.fill(&facts) else { return unknown(name) };
            claims.insert(name.clone(), text.into());
        }
        let purpose = match entry.algorithm {
            SignatureAlgorithm::Rs256 => KeyPurpose::TokenRs256,
            SignatureAlgorithm::Es256 | SignatureAlgorithm::Es384 => KeyPurpose::TokenEs256,
        };
        self.sign(purpose, claims, &subject, &entry.audience, terms)
    }

    /// A JWT-SVID for one of the audiences that the entry allows.
    pub(crate) fn jwt_svid(&self, entry: &SvidEntry, request: &GrantRequest, terms: Terms<'_>) -> Outcome {
        let Some(audience) = request.audience.as_ref().filter(|audience| entry.audiences.contains(*audience)) else {
            return denied("release.svid.audience", "expected one of the audiences of the entry");
        };
        let Some(workload) = self.workload(&entry.workloads) else { return not_attested() };
        let Some(subject) = self.spiffe_id(workload) else { return unknown("the SPIFFE ID") };
        self.sign(KeyPurpose::JwtSvid, Map::new(), &subject, audience, terms)
    }

    /// An X.509-SVID for the key of the request's CSR: certificates and bundles as JSON.
    pub(crate) fn x509_svid(
        &self,
        entry: &SvidEntry,
        request: &GrantRequest,
        terms: Terms<'_>,
    ) -> Result<Result<IssuedSvid, Denied>, IssueError> {
        let Some(csr) = request.csr.as_deref().and_then(read_csr) else {
            return Ok(Err(refusal(
                "release.svid.csr",
                "expected a CSR (PEM) of an ECDSA or Ed25519 key, signed with it",
            )));
        };
        let Some(workload) = self.workload(&entry.workloads) else { return Ok(Err(other_workload())) };
        let Some(own) = &self.identity.trust_domain else { return Ok(Err(unsaid("the SPIFFE ID"))) };
        let Some(spiffe_id) = self.spiffe_id(workload) else { return Ok(Err(unsaid("the SPIFFE ID"))) };
        let (authority, ca) = self.keyring.ca_with_id().ok_or(IssueError::NoKey)?;
        let list = self.identity.authority.list_url(authority);
        let certified = ca.certify(&csr.public_key, &spiffe_id, (self.now, terms.until), list)?;
        let answer = X509Svid {
            certificate: &certified.chain,
            spiffe_id: &spiffe_id,
            bundle: &self.keyring.bundle_pem,
            trust_bundles: bundles_for(own, self.keyring, self.federations, &entry.federates_with),
        };
        let issued = IssuedCertificate {
            serial: certified.serial,
            authority: authority.to_owned(),
            lease: terms.slot.id.clone(),
            expires_at: terms.until,
        };
        Ok(Ok(IssuedSvid { value: SecretBytes::new(serde_json::to_vec(&answer)?), issued }))
    }

    /// When what an entry is issued with ends: a certificate never outlives its CA.
    pub(crate) fn ends(&self, offer: Offer<'_>) -> Option<Timestamp> {
        match offer {
            Offer::X509Svid(_) => self.keyring.ca().map(|ca| ca.validity().not_after),
            Offer::Absent
            | Offer::Secret(_)
            | Offer::Rotation(_)
            | Offer::Token(_)
            | Offer::JwtSvid(_)
            | Offer::SshCertificate(..)
            | Offer::DatabaseRole(..) => None,
        }
    }

    fn sign(
        &self,
        purpose: KeyPurpose,
        mut claims: Map<String, Value>,
        subject: &str,
        audience: &str,
        terms: Terms<'_>,
    ) -> Outcome {
        let signer = self.keyring.signer(purpose).ok_or(IssueError::NoKey)?;
        let (idx, uri) = leases::status_place(self.issuer, terms.slot.status);
        let own = json!({
            "iss": self.issuer,
            "sub": subject,
            "aud": audience,
            "iat": self.now.as_unix(),
            "nbf": self.now.as_unix(),
            "exp": terms.until.as_unix(),
            "jti": Uuid::new_v4().to_string(),
            "status": {"status_list": {"idx": idx, "uri": uri}},
        });
        // Last, so that no template could ever say what the broker vouches for.
        claims.extend(own.as_object().cloned().unwrap_or_default());
        Ok(Ok(SecretBytes::new(sign_jwt(&**signer, TokenType::Jwt, &claims)?.into_bytes())))
    }

    /// The first workload that the evidence matched and the entry names.
    pub(super) fn workload(&self, allowed: &[String]) -> Option<&str> {
        let matched = self.affirmed.appraisal().reference_values().matched().iter();
        matched.map(|set| set.workload.as_str()).filter(|name| allowed.iter().any(|allowed| allowed == name)).min()
    }

    fn spiffe_id(&self, workload: &str) -> Option<String> {
        let trust_domain = self.identity.trust_domain.as_ref()?;
        self.identity.path.id(trust_domain, &self.facts(workload, None))
    }

    pub(super) fn facts<'b>(&'b self, workload: &'b str, spiffe_id: Option<&'b str>) -> Facts<'b> {
        let claims = self.affirmed.appraisal().claims();
        Facts {
            spiffe_id,
            tenant: self.tenant,
            workload,
            platform: claims.platform.as_str(),
            hwmodel: claims.hwmodel,
            guest: self.guest,
            chip: claims.instance.as_deref(),
            measurement: self.measurement,
        }
    }
}

fn other_workload() -> Denied {
    refusal("release.identity.workload", "the grant is not for the workload that was attested")
}

fn unsaid(what: &str) -> Denied {
    refusal("release.identity.claim", format!("the evidence does not say what {what} needs"))
}

pub(super) fn not_attested() -> Outcome {
    Ok(Err(other_workload()))
}

pub(super) fn unknown(what: &str) -> Outcome {
    Ok(Err(unsaid(what)))
}
