//! Certificates of attestation keys: Google Cloud, Azure, or the operator's own CA.

use std::sync::Arc;

use evidence_formats::code::{Code, Coded};
use serde::Serialize;
use thiserror::Error;

use super::{
    AkKey, AkKeyError, AkProvenance, TpmChainError,
    chain::{ChainMaterial, prove_leaf},
};
use crate::{
    Unchecked,
    x509::{
        Certificate, CertificateError, DerError, Oid,
        der::{Der, tag},
    },
};

/// Roots of Google Cloud: the private CA of today's certificates, and the one before it.
pub(super) const GCP_ROOTS: [&[u8]; 2] =
    [include_bytes!("roots/gcp_ek_ak_ca_root.der"), include_bytes!("roots/gcp_tpm_ek_root_1.der")];
/// Azure Virtual TPM Root Certificate Authority 2023.
const AZURE_ROOT: &[u8] = include_bytes!("roots/azure_virtual_tpm_root_2023.der");
/// 1.3.6.1.4.1.11129.2.1.21: which instance a Google certificate is for.
pub(super) const GCE_INSTANCE: Oid =
    Oid::from_der_contents(&[0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x01, 0x15]);
/// extKeyUsage extension.
pub(super) const EXTENDED_KEY_USAGE: Oid = Oid::from_der_contents(&[0x55, 0x1d, 0x25]);
/// subjectAltName extension: manufacturer, model and version of the TPM, critical when the subject is empty.
pub(super) const SUBJECT_ALT_NAME: Oid = Oid::from_der_contents(&[0x55, 0x1d, 0x11]);
/// 2.23.133.8.3 tcg-kp-AIKCertificate, as DER.
const EKU_AIK: &[u8] = &[0x06, 0x05, 0x67, 0x81, 0x05, 0x08, 0x03];
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

/// Verifies the chain of an attestation key certificate up to a pinned root, and that the leaf is one. The operator's roots,
/// where there are any, replace the clouds'.
pub(crate) fn authenticate_ak_certificate(
    material: &ChainMaterial<'_>,
    operator_roots: &[Arc<Certificate>],
) -> Result<AkCertificate, AkCertificateError> {
    let proven = prove_leaf(material, &pinned_roots(operator_roots)?)?;
    let (leaf, provenance) = (&proven.leaf, proven.root);
    require_attestation_leaf(leaf)?;
    let gce_instance = match provenance {
        AkProvenance::AkCertGcp => Some(gce_instance_of(leaf)?),
        AkProvenance::AkCertAzure
        | AkProvenance::AkCertOperator
        | AkProvenance::HclSnp
        | AkProvenance::HclTdx
        | AkProvenance::SvsmEk
        | AkProvenance::EkActivated
        | AkProvenance::Pinned => None,
    };
    let key = AkKey::new(leaf.public_key().clone())?;
    Ok(AkCertificate { key, provenance, gce_instance, unchecked: proven.unchecked })
}

/// The production instance that one of Google's certificates is for.
pub(super) fn gce_instance_of(leaf: &Certificate) -> Result<GceInstance, AkCertificateError> {
    let extension = leaf.extension(&GCE_INSTANCE).ok_or(AkCertificateError::NotProduction)?;
    read_gce_instance(extension)
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
    /// The chain.
    #[error("certificate chain of the attestation key")]
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

impl From<CertificateError> for AkCertificateError {
    fn from(error: CertificateError) -> Self {
        Self::Chain(error.into())
    }
}

impl AkCertificateError {
    /// Whether more endorsements could change the answer.
    #[must_use]
    pub const fn is_missing_endorsement(&self) -> bool {
        matches!(self, Self::Chain(source) if source.is_missing_endorsement())
    }
}

impl Coded for AkCertificateError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Chain(TpmChainError::Certificate(source)) => return source.code(),
            Self::Chain(TpmChainError::IssuerMissing) => "endorsement.tpm.ak_issuer_missing",
            Self::Chain(TpmChainError::IssuerNotCa) => "authenticate.tpm.ak_issuer",
            Self::Chain(TpmChainError::Signature(_)) => "authenticate.tpm.ak_certificate_signature",
            Self::Chain(TpmChainError::Validity(_)) => "authenticate.tpm.ak_certificate_validity",
            Self::Chain(TpmChainError::CrlTime(_)) => "endorsement.tpm.crl_stale",
            Self::Chain(TpmChainError::CrlMissing) => "endorsement.tpm.crl_missing",
            Self::Chain(TpmChainError::Revoked) => "authenticate.tpm.ak_certificate_revoked",
            Self::Der(_) => "authenticate.tpm.ak_certificate_form",
            Self::CriticalExtension { .. } | Self::NotAttestation => "authenticate.tpm.ak_certificate_usage",
            Self::NotProduction => "authenticate.tpm.ak_certificate_instance",
            Self::Key(_) => "authenticate.tpm.ak_key",
        })
    }
}
