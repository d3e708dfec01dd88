//! A vTPM that the host runs beside the guest.

use evidence_formats::vtpm::{HardwareEvidence, HostedVtpmEvidence};

use super::{VtpmAuthenticateError, VtpmClaims};
use crate::{
    Authentic, Claims, Endorsements, Platform, RawClaims, Terms, snp, tdx,
    tpm::{AkProvenance, TpmAuthenticateError, prove, quote_by},
};

/// Authenticates hardware and quote under the same terms: each must carry the whole binding, since nothing else ties one to
/// the other.
pub(crate) fn authenticate(
    evidence: &HostedVtpmEvidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Authentic<Claims>, VtpmAuthenticateError> {
    let mut claims = match &evidence.hardware {
        HardwareEvidence::Snp(snp) => snp::authenticate(snp, endorsements, terms)?.into_claims(),
        HardwareEvidence::Tdx(tdx) => tdx::authenticate(tdx, endorsements, terms)?.into_claims(),
    };
    let proven = prove(&evidence.tpm, endorsements, terms)?;
    require_hosted(proven.0.provenance)?;
    let quoted = quote_by(proven, &evidence.tpm, terms)?;
    if quoted.0.ak_provenance == AkProvenance::AkCertGcp && claims.platform != Platform::Simulated {
        claims.platform = Platform::Gcp;
    }
    let what_runs_it =
        "the host runs the vTPM: only a reference set of its own for this launch measurement accepts that";
    Ok(Authentic::new(VtpmClaims::join(claims, quoted, what_runs_it, RawClaims::HostedVtpm)))
}

/// Azure's keys are proven by its paravisor and an SVSM's by its report; neither belongs beside bare hardware.
const fn require_hosted(provenance: AkProvenance) -> Result<(), VtpmAuthenticateError> {
    match provenance {
        AkProvenance::AkCertGcp | AkProvenance::AkCertOperator | AkProvenance::EkActivated | AkProvenance::Pinned => {
            Ok(())
        }
        AkProvenance::SvsmEk => Err(VtpmAuthenticateError::Tpm(TpmAuthenticateError::SvsmMissing)),
        AkProvenance::AkCertAzure | AkProvenance::HclSnp | AkProvenance::HclTdx => {
            Err(VtpmAuthenticateError::AkProvenance { provenance })
        }
    }
}
