//! Endorsement keys: is this the key of a genuine TPM, and does it decrypt nothing but what the TPM should open?
//!
//! TCG EK Credential Profile 2.6 (certificate: section 3.2; templates: annex B). Nothing here proves that the other side
//! holds the key: that is what a credential is for.

use std::sync::Arc;

use evidence_formats::{
    code::{Code, Coded},
    digest::{Digest, HashAlgorithm},
    tpm::{AesCipher, SigningScheme, TpmPublic},
};
use serde::Serialize;
use thiserror::Error;

use super::{
    AkKey, AkKeyError, GceInstance, TpmChainError,
    ak_certificate::{EXTENDED_KEY_USAGE, GCE_INSTANCE, GCP_ROOTS, SUBJECT_ALT_NAME, gce_instance_of},
    authenticate::require_attestation_key,
    chain::{ChainMaterial, prove_leaf},
};
use crate::{
    Endorsements, Revocation, Timestamp,
    x509::{
        Certificate, DerError, Name, Oid,
        der::{Der, tag},
    },
};

/// 2.23.133.8.1 tcg-kp-EKCertificate.
const EKU_EK: Oid = Oid::from_der_contents(&[0x67, 0x81, 0x05, 0x08, 0x01]);
/// 2.23.133.2.1 tcg-at-tpmManufacturer.
const MANUFACTURER: Oid = Oid::from_der_contents(&[0x67, 0x81, 0x05, 0x02, 0x01]);
/// 2.23.133.2.2 tcg-at-tpmModel.
const MODEL: Oid = Oid::from_der_contents(&[0x67, 0x81, 0x05, 0x02, 0x02]);
/// 2.23.133.2.3 tcg-at-tpmVersion.
const VERSION: Oid = Oid::from_der_contents(&[0x67, 0x81, 0x05, 0x02, 0x03]);
/// Attributes of the low-range templates: fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
const LOW_RANGE: u32 = 0x0003_00B2;
/// Attributes of the high-range templates: userWithAuth as well.
const HIGH_RANGE: u32 = 0x0003_00F2;
/// TPM_CC_PolicySecret and TPM_RH_ENDORSEMENT: PolicyA is PolicySecret of the endorsement hierarchy.
const POLICY_SECRET: u32 = 0x0000_0151;
const RH_ENDORSEMENT: u32 = 0x4000_000B;
/// PolicyB (annex B.6.5): PolicyA, or a policy that stands in an NV index of the owner.
const POLICY_B: [&str; 3] = [
    "ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0",
    "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12",
    "b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a429c41a6b269571d57edb25fbdb1838425608b413cd616a5f6db5b6071af99bea",
];

/// What an endorsement key certificate is held against.
#[derive(Debug, Clone, Copy)]
pub struct EkTerms<'a> {
    /// The operator's endorsement key CAs. Google Cloud's are built in.
    pub anchors: &'a [Arc<Certificate>],
    /// Intermediates and CRLs that do not travel with the certificate.
    pub endorsements: &'a Endorsements,
    /// What a missing CRL means.
    pub revocation: Revocation,
    /// The time of the verification.
    pub now: Timestamp,
}

/// What a certificate says of the TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EkCertificate {
    /// SHA-256 of the certificate in hex.
    pub fingerprint: String,
    /// Manufacturer, model and version of the TPM; Google's certificates name the instance instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmModel>,
    /// Which instance Google's certificate names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gce_instance: Option<GceInstance>,
    /// Whether revocation stayed unchecked, as the operator allows by name.
    pub revocation_unchecked: bool,
}

/// Manufacturer, model and version, as the certificate writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TpmModel {
    /// For example `id:494E5443`.
    pub manufacturer: String,
    /// For example `SLB9670`.
    pub model: String,
    /// For example `id:00070055`.
    pub version: String,
}

/// Verifies that `area` is the endorsement key of the certificate at the head of `certificates`, that it has the attributes
/// of a default template, and that the certificate leads to a pinned root.
///
/// # Errors
/// [`EkError`] names the first rule that is broken.
pub fn authenticate_endorsement_key(
    certificates: &[Vec<u8>],
    area: &TpmPublic,
    terms: &EkTerms<'_>,
) -> Result<EkCertificate, EkError> {
    require_endorsement_key(area)?;
    let material = ChainMaterial {
        evidence: certificates,
        endorsements: terms.endorsements,
        now: terms.now,
        revocation: terms.revocation,
    };
    let proven = prove_leaf(&material, &pinned_roots(terms.anchors)?)?;
    let leaf = &proven.leaf;
    let key = AkKey::of_area(&area.key)?;
    if AkKey::new(leaf.public_key().clone())? != key {
        return Err(EkError::KeyMismatch);
    }
    require_usage(leaf, key.is_rsa())?;
    let (tpm, gce_instance) = match proven.root {
        EkRoot::Google => {
            require_endorsement_usage(leaf, Presence::Optional)?;
            (None, Some(gce_instance_of(leaf).or(Err(EkError::Instance))?))
        }
        EkRoot::Operator => {
            require_endorsement_usage(leaf, Presence::Required)?;
            (Some(tpm_model(leaf)?), None)
        }
    };
    let revocation_unchecked = proven.unchecked.is_some();
    Ok(EkCertificate { fingerprint: leaf.digest().to_string(), tpm, gce_instance, revocation_unchecked })
}

/// The attributes, policy and cipher of a TCG default template (annex B): a key that decrypts what its TPM should open, and
/// neither signs nor hands out plaintext.
///
/// # Errors
/// [`EkError`] names what differs.
pub fn require_endorsement_key(area: &TpmPublic) -> Result<(), EkError> {
    AkKey::of_area(&area.key)?;
    let hash = area.name_algorithm;
    let (index, key_bits) = match hash {
        HashAlgorithm::Sha1 => return Err(EkError::Template),
        HashAlgorithm::Sha256 => (0, 128),
        HashAlgorithm::Sha384 => (1, 256),
        HashAlgorithm::Sha512 => (2, 256),
    };
    let policy = match area.attributes.0 {
        LOW_RANGE => policy_a(hash).as_bytes().to_vec(),
        HIGH_RANGE => POLICY_B.get(index).and_then(|text| hex::decode(text).ok()).unwrap_or_default(),
        _ => return Err(EkError::Template),
    };
    let cipher = Some(AesCipher { key_bits, mode: AesCipher::CFB });
    if policy.is_empty()
        || area.auth_policy != policy
        || area.symmetric != cipher
        || area.scheme != SigningScheme::Unspecified
    {
        return Err(EkError::Template);
    }
    Ok(())
}

/// Judges a public area that is to be enrolled as an attestation key: its attributes, scheme and name algorithm.
///
/// # Errors
/// As for the key of a quote.
pub fn require_attestation_area(area: &TpmPublic) -> Result<(), super::TpmAuthenticateError> {
    AkKey::of_area(&area.key)?;
    require_attestation_key(area)
}

/// Part 3, TPM2_PolicySecret: H(H(0…0 ‖ command ‖ name of the hierarchy) ‖ empty reference).
fn policy_a(hash: HashAlgorithm) -> Digest {
    let start = Digest::zero(hash);
    let first = hash.digest(&[start.as_bytes(), &POLICY_SECRET.to_be_bytes(), &RH_ENDORSEMENT.to_be_bytes()]);
    hash.digest(&[first.as_bytes()])
}

#[derive(Debug, Clone, Copy)]
enum EkRoot {
    Google,
    Operator,
}

fn pinned_roots(operator: &[Arc<Certificate>]) -> Result<Vec<(EkRoot, Arc<Certificate>)>, TpmChainError> {
    let google = GCP_ROOTS.iter().map(|der| Ok((EkRoot::Google, Arc::new(Certificate::parse_der(der)?))));
    let operator = operator.iter().map(|root| Ok((EkRoot::Operator, Arc::clone(root))));
    google.chain(operator).collect()
}

/// Key usage alone tells endorsement keys from attestation keys under Google's intermediates: keyEncipherment for RSA,
/// keyAgreement for ECC, nothing else.
fn require_usage(leaf: &Certificate, rsa: bool) -> Result<(), EkError> {
    let understood = [Oid::KEY_USAGE, Oid::BASIC_CONSTRAINTS, SUBJECT_ALT_NAME, EXTENDED_KEY_USAGE, GCE_INSTANCE];
    if let Some(oid) = leaf.unknown_critical_extension(&understood) {
        return Err(EkError::CriticalExtension { oid: oid.clone() });
    }
    let is_ca = leaf.basic_constraints().is_some_and(|constraints| constraints.ca);
    let usage = leaf.key_usage().ok_or(EkError::Usage)?;
    let encrypts = if rsa { usage.is_key_encipherment_only() } else { usage.is_key_agreement_only() };
    if is_ca || !encrypts { Err(EkError::Usage) } else { Ok(()) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

/// extKeyUsage with tcg-kp-EKCertificate. Google issues endorsement key certificates without the extension.
fn require_endorsement_usage(leaf: &Certificate, presence: Presence) -> Result<(), EkError> {
    let Some(value) = leaf.extension(&EXTENDED_KEY_USAGE) else {
        return if presence == Presence::Optional { Ok(()) } else { Err(EkError::Usage) };
    };
    let mut outer = Der::new(value);
    let mut usages = outer.sequence("an extKeyUsage")?.reader();
    outer.finish()?;
    let mut found = false;
    while !usages.is_empty() {
        found |= Oid::read(&mut usages)? == EKU_EK;
    }
    if found { Ok(()) } else { Err(EkError::Usage) }
}

/// subjectAltName with exactly one directoryName, which has manufacturer, model and version once each.
fn tpm_model(leaf: &Certificate) -> Result<TpmModel, EkError> {
    let value = leaf.extension(&SUBJECT_ALT_NAME).ok_or(EkError::Model)?;
    let mut outer = Der::new(value);
    let mut names = outer.sequence("a subjectAltName")?.reader();
    outer.finish()?;
    let mut found = None;
    while !names.is_empty() {
        let general = names.any()?;
        // [4] EXPLICIT directoryName; other forms (a hardware serial number) say nothing that counts here.
        if general.tag == tag::CONTEXT_4 {
            let mut explicit = general.reader();
            let name = Name::from_element(&explicit.sequence("a directory name")?)?;
            explicit.finish()?;
            if found.replace(name).is_some() {
                return Err(EkError::Model);
            }
        }
    }
    let name = found.ok_or(EkError::Model)?;
    let text = |oid| name.only(oid).map(str::to_owned).ok_or(EkError::Model);
    Ok(TpmModel { manufacturer: text(&MANUFACTURER)?, model: text(&MODEL)?, version: text(&VERSION)? })
}

/// An endorsement key proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EkError {
    /// Not the attributes, policy and cipher of a default template.
    #[error("expected an endorsement key of a TCG default template")]
    Template,
    /// A key of a type that is not allowed.
    #[error("endorsement key")]
    Key(#[from] AkKeyError),
    /// The certificate is for another key.
    #[error("the certificate is for another key than the public area")]
    KeyMismatch,
    /// The chain.
    #[error("certificate chain of the endorsement key")]
    Chain(#[from] TpmChainError),
    /// A structure inside is not what it should be.
    #[error("certificate extension")]
    Der(#[from] DerError),
    /// A critical extension that is not understood.
    #[error("critical extension {oid} is not understood")]
    CriticalExtension {
        /// The extension.
        oid: Oid,
    },
    /// Not a certificate of an endorsement key.
    #[error("expected a certificate of an endorsement key: encryption alone, and tcg-kp-EKCertificate")]
    Usage,
    /// The certificate does not say which TPM it is for.
    #[error("expected manufacturer, model and version of the TPM in the certificate")]
    Model,
    /// Google's certificate is not for a production instance.
    #[error("expected a certificate of a production instance")]
    Instance,
}

impl EkError {
    /// Whether more endorsements could change the answer.
    #[must_use]
    pub const fn is_missing_endorsement(&self) -> bool {
        matches!(self, Self::Chain(source) if source.is_missing_endorsement())
    }
}

impl Coded for EkError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Template => "enroll.ek.template",
            Self::Key(_) => "enroll.ek.key",
            Self::KeyMismatch => "enroll.ek.key_mismatch",
            Self::Chain(TpmChainError::Certificate(_)) | Self::Der(_) => "enroll.ek.certificate_form",
            Self::Chain(TpmChainError::IssuerMissing) => "enroll.ek.issuer_missing",
            Self::Chain(TpmChainError::IssuerNotCa) => "enroll.ek.issuer",
            Self::Chain(TpmChainError::Signature(_)) => "enroll.ek.certificate_signature",
            Self::Chain(TpmChainError::Validity(_)) => "enroll.ek.certificate_validity",
            Self::Chain(TpmChainError::CrlTime(_)) => "enroll.ek.crl_stale",
            Self::Chain(TpmChainError::CrlMissing) => "enroll.ek.crl_missing",
            Self::Chain(TpmChainError::Revoked) => "enroll.ek.certificate_revoked",
            Self::CriticalExtension { .. } | Self::Usage => "enroll.ek.certificate_usage",
            Self::Model => "enroll.ek.model",
            Self::Instance => "enroll.ek.instance",
        })
    }
}
