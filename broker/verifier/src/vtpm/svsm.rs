//! A vTPM that an SVSM runs inside of the guest's own confidential VM, at VMPL 0.

use evidence_formats::{
    bytes::LaunchDigest,
    snp::Vmpl,
    tpm::TpmPublic,
    vtpm::{SvsmEvidence, SvsmReport},
};

use super::{VtpmAuthenticateError, VtpmClaims};
use crate::{
    Authentic, Claims, Endorsements, Expected, RawClaims, Terms, snp,
    tpm::{AkProvenance, prove, quote_by, require_endorsement_key},
};

/// What the report of an SVSM proves before any attestation key is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenSvsm {
    /// Endorsement key of the vTPM.
    pub endorsement_key: TpmPublic,
    /// Launch digest of SVSM and firmware: whether it is a welcome one is for reference values to say.
    pub launch: Option<LaunchDigest>,
}

/// Authenticates report and manifest alone, as an enrolment brings them.
///
/// # Errors
/// [`VtpmAuthenticateError`] names the first rule that is broken.
pub fn authenticate_svsm_report(
    report: &SvsmReport,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<ProvenSvsm, VtpmAuthenticateError> {
    let claims = prove_report(report, endorsements, terms)?;
    Ok(ProvenSvsm { endorsement_key: report.manifest.endorsement_key.clone(), launch: claims.measurement.launch })
}

/// Authenticates the whole tree.
pub(crate) fn authenticate(
    evidence: &SvsmEvidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Authentic<Claims>, VtpmAuthenticateError> {
    let claims = prove_report(&evidence.report, endorsements, terms)?;
    let proven = prove(&evidence.tpm, endorsements, terms)?;
    let ak = &proven.0;
    if ak.provenance != AkProvenance::SvsmEk {
        return Err(VtpmAuthenticateError::AkProvenance { provenance: ak.provenance });
    }
    // A manifest of another boot has another key: the credential was opened by another TPM.
    if ak.endorsement_key.as_ref() != Some(&evidence.report.manifest.endorsement_key) {
        return Err(VtpmAuthenticateError::OtherEndorsementKey);
    }
    let quoted = quote_by(proven, &evidence.tpm, terms)?;
    let what_runs_it = "the launch measurement of the SVSM counts only in a reference set of its own";
    Ok(Authentic::new(VtpmClaims::join(claims, quoted, what_runs_it, RawClaims::Svsm)))
}

/// The report is genuine, of VMPL 0, and commits to the manifest together with what the guest asked for: SHA-512 over both.
fn prove_report(
    report: &SvsmReport,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Claims, VtpmAuthenticateError> {
    let guest_data = match terms.expected {
        Expected::Binding(digest) => digest.report_data(),
        Expected::ReportData(data) => data,
        Expected::Unchecked { .. } => return Err(VtpmAuthenticateError::ManifestUnbound),
    };
    let hardware_terms = Terms { expected: Expected::ReportData(report.manifest.report_data(&guest_data)), ..*terms };
    let claims = snp::authenticate(&report.snp, endorsements, &hardware_terms)?.into_claims();
    let vmpl = report.snp.report.fields().vmpl;
    if vmpl != Vmpl::Guest(0) {
        return Err(VtpmAuthenticateError::Vmpl { vmpl });
    }
    require_endorsement_key(&report.manifest.endorsement_key).map_err(VtpmAuthenticateError::EndorsementKey)?;
    Ok(claims)
}
