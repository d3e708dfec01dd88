//! A TPM without hardware below it that measures the launch: the key's certificate or the operator's word is the root.

use std::sync::Arc;

use evidence_formats::tpm::{AkPublic, TpmEvidence};

use super::{
    AkCertificate, AkKey, AkKeyError, AkProvenance, ExpectedExtraData, ProvenAk, QuoteTerms, TpmAuthenticateError,
    TpmClaims,
    authenticate::{authenticate_quote, require_attestation_key},
    authenticate_ak_certificate,
    chain::ChainMaterial,
};
use crate::{
    AnchorOrigin, Authentic, Claims, Endorsements, Measurements, Platform, RawClaims, TcbClaims, Terms, Unchecked,
    x509::PublicKey,
};

/// Authenticates the evidence of a TPM alone.
///
/// # Errors
/// [`TpmAuthenticateError`] names the first rule that is broken.
pub(crate) fn authenticate(
    evidence: &TpmEvidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Authentic<Claims>, TpmAuthenticateError> {
    let proven = prove(evidence, endorsements, terms)?;
    // What vouches for an SVSM's endorsement key is the report beside it.
    if proven.0.provenance == AkProvenance::SvsmEk {
        return Err(TpmAuthenticateError::SvsmMissing);
    }
    let (tpm, mut unchecked) = quote_by(proven, evidence, terms)?;
    if is_virtual(tpm.ak_provenance) {
        unchecked.push(Unchecked { what: "paravisor_measurement", reason: "nothing measures what runs the vTPM" });
    }
    Ok(Authentic::new(claims(tpm, unchecked)))
}

/// The quote by a proven key, with what the key's certificate adds.
pub(crate) fn quote_by(
    (ak, certificate): (ProvenAk, Option<AkCertificate>),
    evidence: &TpmEvidence,
    terms: &Terms<'_>,
) -> Result<(TpmClaims, Vec<Unchecked>), TpmAuthenticateError> {
    let quote_terms =
        QuoteTerms { pcrs: &terms.tpm.pcrs, extra_data: ExpectedExtraData::new(&terms.expected, terms.tpm) };
    let (mut tpm, mut unchecked) = authenticate_quote(evidence, &ak, &quote_terms)?;
    if let Some(AkCertificate { gce_instance, unchecked: revocation, .. }) = certificate {
        tpm.gce_instance = gce_instance;
        unchecked.extend(revocation);
    }
    Ok((tpm, unchecked))
}

/// A certificate proves the key, the operator's pin or register does, or nothing does; all that are given must agree.
pub(crate) fn prove(
    evidence: &TpmEvidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<(ProvenAk, Option<AkCertificate>), TpmAuthenticateError> {
    // A key that no certificate or enrolment could make an attestation key is refused as that.
    if let Some(AkPublic::Area(area)) = &evidence.ak_public {
        require_attestation_key(area)?;
    }
    let pinned = terms.tpm.pinned_ak.as_ref().map(|pin| pin.prove(evidence)).transpose()?;
    let enrolled = terms.tpm.enrolled_ak.as_ref().map(|enrolled| enrolled.prove(evidence)).transpose()?;
    let registered = enrolled.or(pinned);
    if evidence.ak_certificates.is_empty() {
        return registered.map(|ak| (ak, None)).ok_or(TpmAuthenticateError::AkUnproven);
    }
    let certificate = certify(evidence, endorsements, terms)?;
    if let Some(registered) = registered {
        return if registered.key == certificate.key {
            Ok((registered, Some(certificate)))
        } else {
            Err(TpmAuthenticateError::AkMismatch)
        };
    }
    let area = match &evidence.ak_public {
        Some(brought) if brought_key(brought)? != certificate.key => return Err(TpmAuthenticateError::AkMismatch),
        Some(AkPublic::Area(area)) => Some(area.clone()),
        Some(AkPublic::Spki(_)) | None => None,
    };
    // An attestation key certificate says that the key is a restricted one of the TPM.
    let ak = ProvenAk::new(certificate.key.clone(), area, true, certificate.provenance);
    Ok((ak, Some(certificate)))
}

/// Verifies the certificate that the evidence brings for its attestation key.
pub(crate) fn certify(
    evidence: &TpmEvidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<AkCertificate, TpmAuthenticateError> {
    let operator_roots: Vec<_> = match terms.anchors.origin() {
        AnchorOrigin::Operator => terms.anchors.certificates().map(Arc::clone).collect(),
        AnchorOrigin::Vendor => Vec::new(),
    };
    let material = ChainMaterial {
        evidence: &evidence.ak_certificates,
        endorsements,
        now: terms.now,
        revocation: terms.revocation,
    };
    Ok(authenticate_ak_certificate(&material, &operator_roots)?)
}

/// The bits of the key that the evidence brings.
pub(crate) fn brought_key(ak: &AkPublic) -> Result<AkKey, TpmAuthenticateError> {
    Ok(match ak {
        AkPublic::Area(area) => AkKey::of_area(&area.key)?,
        AkPublic::Spki(der) => AkKey::new(PublicKey::parse_spki(der).map_err(AkKeyError::Spki)?)?,
    })
}

/// Whether the vTPM is a cloud's: software that something must measure.
const fn is_virtual(provenance: AkProvenance) -> bool {
    match provenance {
        AkProvenance::AkCertGcp
        | AkProvenance::AkCertAzure
        | AkProvenance::HclSnp
        | AkProvenance::HclTdx
        | AkProvenance::SvsmEk => true,
        AkProvenance::AkCertOperator | AkProvenance::EkActivated | AkProvenance::Pinned => false,
    }
}

fn claims(tpm: TpmClaims, unchecked: Vec<Unchecked>) -> Claims {
    Claims {
        hwmodel: "tpm2",
        platform: match tpm.ak_provenance {
            AkProvenance::AkCertGcp => Platform::Gcp,
            AkProvenance::AkCertAzure | AkProvenance::HclSnp | AkProvenance::HclTdx => Platform::Azure,
            AkProvenance::AkCertOperator => Platform::Simulated,
            AkProvenance::SvsmEk | AkProvenance::EkActivated | AkProvenance::Pinned => Platform::Bare,
        },
        measurement: Measurements { launch: None, runtime: tpm.runtime() },
        tcb: TcbClaims::default(),
        debug: false,
        instance: tpm.ak_name.clone(),
        signer: None,
        host_data: None,
        init_data: None,
        report_data: tpm.extra_data.clone(),
        unchecked,
        raw: RawClaims::Tpm(Box::new(tpm)),
    }
}
