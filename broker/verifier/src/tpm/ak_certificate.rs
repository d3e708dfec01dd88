//! Certificates of attestation keys: Google Cloud, Azure, or the operator's own CA.

use std::sync::Arc;

use evidence_formats::code::{Code, Coded};
use serde::Serialize;
use thiserror::Error;

use super::{AkKey, AkKeyError, AkProvenance};
use crate::{
    Revocation, Timestamp, Unchecked,
    x509::{
        Certificate, CertificateError, Crl, CrlTimeError, DerError, Oid, SignatureError, ValidityError,
        der::{Der, tag},
    },
};

/// Roots of Google Cloud: the private CA of today's certificates, and the one before it.
const GCP_ROOTS: [&[u8]; 2] =
    [include_bytes!("roots/gcp_ek_ak_ca_root.der"), include_bytes!("roots/gcp_tpm_ek_root_1.der")];
/// Azure Virtual TPM Root Certificate Authority 2023.
const AZURE_ROOT: &[u8] = include_bytes!("roots/azure_virtual_tpm_root_2023.der");
/// 1.3.6.1.4.1.11129.2.1.21: which instance a Google certificate is for.
const GCE_INSTANCE: Oid = Oid::from_der_contents(&[0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x01, 0x15]);
/// extKeyUsage extension.
const EXTENDED_KEY_USAGE: Oid = Oid::from_der_contents(&[0x55, 0x1d, 0x25]);
/// subjectAltName extension: manufacturer, model and version of the TPM, critical when the subject is empty.
const SUBJECT_ALT_NAME: Oid = Oid::from_der_contents(&[0x55, 0x1d, 0x11]);
/// 2.23.133.8.3 tcg-kp-AIKCertificate, as DER.
const EKU_AIK: &[u8] = &[0x06, 0x05, 0x67, 0x81, 0x05, 0x08, 0x03];
/// Longest chain: leaf, two intermediates, root.
const MAX_DEPTH: usize = 4;

/// Everything a chain is built from and held against.
#[derive(Debug)]
pub(crate) struct AkChain<'a> {
    /// Leaf first, then whatever intermediates travelled with it (DER).
    pub(crate) evidence: &'a [Vec<u8>],
    /// Further intermediates.
    pub(crate) intermediates: &'a [Arc<Certificate>],
    /// CRLs of the issuers.
    pub(crate) crls: &'a [Arc<Crl>],
    /// The operator's roots, which replace the clouds'; empty for the clouds' own.
    pub(crate) operator_roots: &'a [Arc<Certificate>],
    /// Time of the verification.
    pub(crate) now: Timestamp,
    /// What a missing CRL means.
    pub(crate) revocation: Revocation,
}

/// Which instance Google's certificate names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GceInstance {
    /// Zone, for example `us-central1-a`.
    pub zone: String,
    /// Project id.
    pub project: String,
    /// Instance id in lower-case hex.
    pub instance_id: String,
    /// Instance name.
    pub instance_name: String,
}

/// A proven attestation key certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AkCertificate {
    pub(crate) key: AkKey,
    pub(crate) provenance: AkProvenance,
    pub(crate) gce_instance: Option<GceInstance>,
    pub(crate) unchecked: Option<Unchecked>,
}

/// Verifies the chain of an attestation key certificate up to a pinned root, and that the leaf is one.
pub(crate) fn authenticate_ak_certificate(chain: &AkChain<'_>) -> Result<AkCertificate, AkCertificateError> {
    let mut brought =
        chain.evidence.iter().map(|der| Certificate::parse_der(der)).collect::<Result<Vec<_>, _>>()?.into_iter();
    let leaf = brought.next().ok_or(AkCertificateError::IssuerMissing)?;
    let mut candidates: Vec<Arc<Certificate>> = brought.map(Arc::new).collect();
    candidates.extend_from_slice(chain.intermediates);
    let roots = pinned_roots(chain.operator_roots)?;
    let (provenance, issuers) = build(&leaf, &candidates, &roots)?;
    for certificate in std::iter::once(&leaf).chain(issuers.iter().copied()) {
        certificate.validity().at(chain.now)?;
    }
    let unchecked = require_unrevoked(&leaf, &issuers, chain)?;
    require_attestation_leaf(&leaf)?;
    let gce_instance = match provenance {
        AkProvenance::AkCertGcp => {
            let extension = leaf.extension(&GCE_INSTANCE).ok_or(AkCertificateError::NotProduction)?;
            Some(read_gce_instance(extension)?)
        }
        AkProvenance::AkCertAzure
        | AkProvenance::AkCertOperator
        | AkProvenance::HclSnp
        | AkProvenance::HclTdx
        | AkProvenance::Pinned => None,
    };
    Ok(AkCertificate { key: AkKey::new(leaf.public_key().clone())?, provenance, gce_instance, unchecked })
}

fn pinned_roots(operator: &[Arc<Certificate>]) -> Result<Vec<(AkProvenance, Arc<Certificate>)>, AkCertificateError> {
    if !operator.is_empty() {
        return Ok(operator.iter().map(|root| (AkProvenance::AkCertOperator, Arc::clone(root))).collect());
    }
    let google = GCP_ROOTS.iter().map(|der| (AkProvenance::AkCertGcp, *der));
    google
        .chain([(AkProvenance::AkCertAzure, AZURE_ROOT)])
        .map(|(provenance, der)| Ok((provenance, Arc::new(Certificate::parse_der(der)?))))
        .collect()
}

/// Walks from the leaf to a root: issuer by name, proven by signature, at most [`MAX_DEPTH`] certificates.
fn build<'a>(
    leaf: &Certificate,
    candidates: &'a [Arc<Certificate>],
    roots: &'a [(AkProvenance, Arc<Certificate>)],
) -> Result<(AkProvenance, Vec<&'a Certificate>), AkCertificateError> {
    let mut current = leaf;
    let mut issuers: Vec<&'a Certificate> = Vec::new();
    while issuers.len() < MAX_DEPTH.saturating_sub(1) {
        let root = roots.iter().find(|(_, root)| current.names_issuer(root));
        let brought = || candidates.iter().find(|candidate| current.names_issuer(candidate));
        let issuer = root.map(|(_, root)| root).or_else(brought).ok_or(AkCertificateError::IssuerMissing)?;
        current.verify_signed_by(issuer.public_key())?;
        if !issuer.may_sign_certificates() || !path_length_allows(issuer, issuers.len()) {
            return Err(AkCertificateError::IssuerNotCa);
        }
        issuers.push(issuer);
        if let Some((provenance, _)) = root {
            return Ok((*provenance, issuers));
        }
        current = issuer;
    }
    Err(AkCertificateError::IssuerMissing)
}

/// `below` intermediates stand between this issuer and the leaf (RFC 5280 section 4.2.1.9).
fn path_length_allows(issuer: &Certificate, below: usize) -> bool {
    let limit = issuer.basic_constraints().and_then(|constraints| constraints.path_length);
    limit.is_none_or(|limit| usize::try_from(limit).is_ok_and(|limit| below <= limit))
}

fn require_unrevoked(
    leaf: &Certificate,
    issuers: &[&Certificate],
    chain: &AkChain<'_>,
) -> Result<Option<Unchecked>, AkCertificateError> {
    let mut missing = false;
    let subjects = std::iter::once(leaf).chain(issuers.iter().copied());
    for (certificate, issuer) in subjects.zip(issuers.iter().copied()) {
        let Some(crl) = chain.crls.iter().find(|crl| crl.issuer().raw() == issuer.subject().raw()) else {
            missing = true;
            continue;
        };
        crl.verify_signed_by(issuer.public_key())?;
        crl.current_at(chain.now)?;
        if crl.revokes(certificate.serial()) {
            return Err(AkCertificateError::Revoked);
        }
    }
    match (missing, chain.revocation) {
        (false, _) => Ok(None),
        (true, Revocation::Require) => Err(AkCertificateError::CrlMissing),
        (true, Revocation::IfPresent) => Ok(Some(Unchecked {
            what: "revocation",
            reason: "no CRL for every issuer of the attestation key certificate",
        })),
    }
}

/// One intermediate signs certificates of endorsement keys (encryption) and attestation keys (signatures) alike: only
/// key usage, and extended key usage where present, tells them apart.
fn require_attestation_leaf(leaf: &Certificate) -> Result<(), AkCertificateError> {
    let understood = [Oid::KEY_USAGE, Oid::BASIC_CONSTRAINTS, SUBJECT_ALT_NAME, EXTENDED_KEY_USAGE];
    if let Some(oid) = leaf.unknown_critical_extension(&understood) {
        return Err(AkCertificateError::CriticalExtension { oid: oid.clone() });
    }
    let is_ca = leaf.basic_constraints().is_some_and(|constraints| constraints.ca);
    let signs = leaf.key_usage().is_some_and(|usage| usage.is_digital_signature_only());
    // Google's older certificates carry the endorsement key usage on attestation keys too; key usage decides there.
    let azure_usage = leaf.extension(&EXTENDED_KEY_USAGE).is_none_or(|usage| {
        leaf.extension(&GCE_INSTANCE).is_some() || usage.windows(EKU_AIK.len()).any(|window| window == EKU_AIK)
    });
    if is_ca || !signs || !azure_usage {
        return Err(AkCertificateError::NotAttestation);
    }
    Ok(())
}

/// SEQUENCE { zone, projectNumber, projectId, instanceId, instanceName, [0] securityProperties }.
fn read_gce_instance(extension: &[u8]) -> Result<GceInstance, AkCertificateError> {
    let mut outer = Der::new(extension);
    let mut fields = outer.sequence("a GCE instance")?.reader();
    outer.finish()?;
    let text = |fields: &mut Der<'_>| -> Result<String, DerError> {
        let element = fields.expect(tag::UTF8_STRING, "a UTF8String")?;
        let malformed = DerError { offset: element.offset, expected: "UTF-8" };
        String::from_utf8(element.contents.to_vec()).ok().ok_or(malformed)
    };
    let zone = text(&mut fields)?;
    fields.integer("a project number")?;
    let project = text(&mut fields)?;
    let instance_id = hex::encode(fields.integer("an instance id")?.contents);
    let instance_name = text(&mut fields)?;
    let properties = fields.expect(tag::CONTEXT_0, "security properties")?;
    fields.finish()?;
    let mut properties = properties.reader().sequence("security properties")?.reader();
    let mut production = false;
    while !properties.is_empty() {
        let property = properties.any()?;
        // [1] EXPLICIT BOOLEAN isProduction.
        if property.tag == 0xa1 {
            production = property.contents == [tag::BOOLEAN, 1, 0xff];
        }
    }
    if production {
        Ok(GceInstance { zone, project, instance_id, instance_name })
    } else {
        Err(AkCertificateError::NotProduction)
    }
}

/// An attestation key certificate proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AkCertificateError {
    /// Not a certificate.
    #[error("expected a certificate")]
    Certificate(#[from] CertificateError),
    /// A structure inside is not what it should be.
    #[error("certificate extension")]
    Der(#[from] DerError),
    /// No certificate of the issuer up to a pinned root.
    #[error("expected the issuer's certificate, up to a root of Google Cloud or Azure")]
    IssuerMissing,
    /// An issuer that may not sign certificates, or not so many below it.
    #[error("expected an issuer that may sign certificates")]
    IssuerNotCa,
    /// A signature in the chain.
    #[error("certificate or CRL signature")]
    Signature(#[from] SignatureError),
    /// A certificate is not valid now.
    #[error("certificate validity")]
    Validity(#[from] ValidityError),
    /// A CRL is not current.
    #[error("CRL validity")]
    CrlTime(#[from] CrlTimeError),
    /// No CRL where one is demanded.
    #[error("expected a CRL of every issuer of the attestation key certificate")]
    CrlMissing,
    /// Revoked.
    #[error("the attestation key certificate or one of its issuers is revoked")]
    Revoked,
    /// A critical extension that is not understood.
    #[error("critical extension {oid} is not understood")]
    CriticalExtension {
        /// The extension.
        oid: Oid,
    },
    /// Not a certificate of an attestation key.
    #[error("expected a certificate of an attestation key: digitalSignature alone, and no other extended key usage")]
    NotAttestation,
    /// Google's certificate is not for a production instance.
    #[error("expected a certificate of a production instance")]
    NotProduction,
    /// The certified key is of a type that is not allowed.
    #[error("certified key")]
    Key(#[from] AkKeyError),
}

impl AkCertificateError {
    /// Whether more endorsements could change the answer.
    #[must_use]
    pub const fn is_missing_endorsement(&self) -> bool {
        matches!(self, Self::IssuerMissing | Self::CrlMissing | Self::CrlTime(_))
    }
}

impl Coded for AkCertificateError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Certificate(source) => return source.code(),
            Self::Der(_) => "authenticate.tpm.ak_certificate_form",
            Self::IssuerMissing => "endorsement.tpm.ak_issuer_missing",
            Self::IssuerNotCa => "authenticate.tpm.ak_issuer",
            Self::Signature(_) => "authenticate.tpm.ak_certificate_signature",
            Self::Validity(_) => "authenticate.tpm.ak_certificate_validity",
            Self::CrlTime(_) => "endorsement.tpm.crl_stale",
            Self::CrlMissing => "endorsement.tpm.crl_missing",
            Self::Revoked => "authenticate.tpm.ak_certificate_revoked",
            Self::CriticalExtension { .. } | Self::NotAttestation => "authenticate.tpm.ak_certificate_usage",
            Self::NotProduction => "authenticate.tpm.ak_certificate_instance",
            Self::Key(_) => "authenticate.tpm.ak_key",
        })
    }
}
