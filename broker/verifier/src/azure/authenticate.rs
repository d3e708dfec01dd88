//! The tree from the hardware down to the event log, in this order.

use aws_lc_rs::constant_time;
use evidence_formats::{
    azure::{AzureSnpEvidence, AzureTdxEvidence},
    bytes::ReportData,
    hcl::{HclKey, HclReport, RuntimeClaims},
    tpm::{TpmEvidence, TpmName, TpmPublic},
};

use super::{AzureAuthenticateError, AzureClaims};
use crate::{
    Authentic, Claims, Endorsements, Expected, Platform, RawClaims, Terms, Unchecked, snp, tdx,
    tpm::{
        AkKey, AkProvenance, ExpectedExtraData, ProvenAk, QuoteTerms, TpmAuthenticateError, authenticate_quote,
        brought_key, certify,
    },
};

/// The hardware's report data binds the runtime claims and is compared here; what the guest bound stands further down.
const BOUND_BELOW: Expected =
    Expected::Unchecked { reason: "the report data of the hardware binds the runtime claims" };

/// Authenticates an Azure confidential VM on SEV-SNP.
pub(crate) fn authenticate_snp(
    evidence: &AzureSnpEvidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Authentic<Claims>, AzureAuthenticateError> {
    let hardware_terms = Terms { expected: BOUND_BELOW, ..*terms };
    let hardware = snp::authenticate(&evidence.snp, endorsements, &hardware_terms)?.into_claims();
    require_bound(&evidence.hcl, &evidence.snp.report.fields().report_data)?;
    finish(hardware, AkProvenance::HclSnp, &evidence.hcl, &evidence.tpm, endorsements, terms)
}

/// Authenticates an Azure confidential VM on TDX. The report inside the paravisor's carries a MAC that only its own
/// platform can check: the quote counts, and both must be of one TD.
pub(crate) fn authenticate_tdx(
    evidence: &AzureTdxEvidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Authentic<Claims>, AzureAuthenticateError> {
    let hardware_terms = Terms { expected: BOUND_BELOW, ..*terms };
    let hardware = tdx::authenticate(&evidence.tdx, endorsements, &hardware_terms)?.into_claims();
    let (body, report) = (&evidence.tdx.quote.body, &evidence.report);
    require_bound(&evidence.hcl, &body.report_data)?;
    let same_td = body.info == report.info
        && body.mr_seam == report.mr_seam
        && body.mr_signer_seam == report.mr_signer_seam
        && body.seam_attributes == report.seam_attributes
        && body.report_data == report.report_data;
    if !same_td {
        return Err(AzureAuthenticateError::TdReportMismatch);
    }
    finish(hardware, AkProvenance::HclTdx, &evidence.hcl, &evidence.tpm, endorsements, terms)
}

/// SHA-256 of the claims, then 32 zero bytes: all 64 bytes.
fn require_bound(hcl: &HclReport, report_data: &ReportData) -> Result<(), AzureAuthenticateError> {
    constant_time::verify_slices_are_equal(&hcl.expected_report_data().0, &report_data.0)
        .or(Err(AzureAuthenticateError::ClaimsBinding))
}

/// Everything below the hardware: runtime claims, attestation key, quote, logs.
fn finish(
    mut claims: Claims,
    provenance: AkProvenance,
    hcl: &HclReport,
    tpm: &TpmEvidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Authentic<Claims>, AzureAuthenticateError> {
    let runtime = RuntimeClaims::parse(hcl.claims()).map_err(AzureAuthenticateError::RuntimeClaims)?;
    claims.unchecked.retain(|unchecked| unchecked.what != "report_data");
    claims.unchecked.extend(require_user_data(&runtime, terms)?);
    let ak = prove(&runtime, provenance, tpm, terms)?;
    claims.unchecked.extend(require_certificate(&ak, tpm, endorsements, terms)?);
    let quote_terms =
        QuoteTerms { pcrs: &terms.tpm.pcrs, extra_data: ExpectedExtraData::new(&terms.expected, terms.tpm) };
    let (tpm, unchecked) = authenticate_quote(tpm, &ak, &quote_terms)?;
    require_one_secure_boot(&runtime, &tpm)?;
    claims.unchecked.extend(unchecked);
    claims.unchecked.push(Unchecked {
        what: "paravisor_measurement",
        reason: "the launch measurement of the paravisor counts only in a reference set of its own",
    });
    if claims.platform != Platform::Simulated {
        claims.platform = Platform::Azure;
    }
    claims.measurement.runtime = tpm.runtime();
    claims.report_data.clone_from(&tpm.extra_data);
    claims.raw = RawClaims::Azure(Box::new(AzureClaims::new(claims.raw, tpm, runtime, hcl.header_version())));
    Ok(Authentic::new(claims))
}

/// What the guest wrote for the paravisor to bind: all 64 bytes, whatever version the evidence claims to be.
fn require_user_data(runtime: &RuntimeClaims, terms: &Terms<'_>) -> Result<Option<Unchecked>, AzureAuthenticateError> {
    let expected = match terms.expected {
        _ if terms.tpm.extra_data.is_some() => {
            return Ok(Some(Unchecked { what: "user_data", reason: "only the quote's qualifying data was given" }));
        }
        Expected::Unchecked { reason } => return Ok(Some(Unchecked { what: "user_data", reason })),
        Expected::ReportData(data) => data,
        Expected::Binding(digest) => digest.report_data(),
    };
    let same =
        runtime.user_data.is_some_and(|data| constant_time::verify_slices_are_equal(&data.0, &expected.0).is_ok());
    if same { Ok(None) } else { Err(AzureAuthenticateError::UserData) }
}

/// The key of the runtime claims, as the paravisor's template makes it (OpenHCL `vtpm`, attestation key template): a
/// primary key of the endorsement hierarchy. Its qualified name must stand in the quote, which tells a key that was put
/// in its place under another hierarchy or with other attributes.
fn prove(
    runtime: &RuntimeClaims,
    provenance: AkProvenance,
    tpm: &TpmEvidence,
    terms: &Terms<'_>,
) -> Result<ProvenAk, TpmAuthenticateError> {
    const ENDORSEMENT: u32 = 0x4000_000B;
    let area = template(&BEFORE_AK_MODULUS, &runtime.attestation_key).ok_or(TpmAuthenticateError::AkMismatch)?;
    let key = AkKey::of_area(&area.key)?;
    if let Some(brought) = &tpm.ak_public
        && brought_key(brought)? != key
    {
        return Err(TpmAuthenticateError::AkMismatch);
    }
    if let Some(pinned) = &terms.tpm.pinned_ak
        && !pinned.is(&area)
    {
        return Err(TpmAuthenticateError::AkNotPinned);
    }
    let qualified_name = Some(area.name().qualified_under(area.name_algorithm, &ENDORSEMENT.to_be_bytes()));
    let endorsement_key = runtime.endorsement_key.as_ref().and_then(|key| template(&BEFORE_EK_MODULUS, key));
    Ok(ProvenAk { qualified_name, endorsement_key, ..ProvenAk::new(key, Some(area), true, provenance) })
}

/// Attestation key: RSA 2048, name algorithm SHA-256, attributes 0x00050472 (fixedTPM, fixedParent, sensitiveDataOrigin,
/// userWithAuth, noDA, restricted, sign), no policy, no symmetric cipher, RSASSA with SHA-256, default exponent.
const BEFORE_AK_MODULUS: [u8; 24] = [
    0x00, 0x01, 0x00, 0x0B, 0x00, 0x05, 0x04, 0x72, 0x00, 0x00, 0x00, 0x10, 0x00, 0x14, 0x00, 0x0B, 0x08, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x01, 0x00,
];
/// Endorsement key: the TCG default template L-1 (RSA 2048, attributes 0x000300B2, PolicyA, AES-128 in CFB mode).
const BEFORE_EK_MODULUS: [u8; 58] = [
    0x00, 0x01, 0x00, 0x0B, 0x00, 0x03, 0x00, 0xB2, 0x00, 0x20, 0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xB3, 0xF8, 0x1A,
    0x90, 0xCC, 0x8D, 0x46, 0xA5, 0xD7, 0x24, 0xFD, 0x52, 0xD7, 0x6E, 0x06, 0x52, 0x0B, 0x64, 0xF2, 0xA1, 0xDA, 0x1B,
    0x33, 0x14, 0x69, 0xAA, 0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
    0x00,
];

/// The public area that the paravisor's template makes of a key.
fn template(before_modulus: &[u8], key: &HclKey) -> Option<TpmPublic> {
    TpmPublic::parse(&[before_modulus, key.modulus()].concat()).ok()
}

/// Name of the attestation key that runtime claims describe. Nothing about it is proven by being here.
pub(crate) fn claimed_ak_name(hcl: &HclReport) -> Option<TpmName> {
    let runtime = RuntimeClaims::parse(hcl.claims()).ok()?;
    Some(template(&BEFORE_AK_MODULUS, &runtime.attestation_key)?.name())
}

/// A certificate of the key is welcome, not needed: the hardware has proven it. One that is there must be for this key
/// and genuine; without its issuer's certificate it stays unchecked.
fn require_certificate(
    ak: &ProvenAk,
    tpm: &TpmEvidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Option<Unchecked>, TpmAuthenticateError> {
    let Some(leaf) = tpm.ak_certificates.first() else { return Ok(None) };
    let leaf = crate::x509::Certificate::parse_der(leaf).map_err(crate::tpm::AkCertificateError::from)?;
    if AkKey::new(leaf.public_key().clone())? != ak.key {
        return Err(TpmAuthenticateError::AkMismatch);
    }
    match certify(tpm, endorsements, terms) {
        Ok(certificate) => Ok(certificate.unchecked),
        Err(error) if error.is_missing_endorsement() => {
            Ok(Some(Unchecked { what: "ak_certificate", reason: "its issuer's certificate or CRL is not here" }))
        }
        Err(error) => Err(error),
    }
}

/// The firmware is part of the paravisor's image: what it logs and what the paravisor claims is one thing.
fn require_one_secure_boot(runtime: &RuntimeClaims, tpm: &crate::tpm::TpmClaims) -> Result<(), AzureAuthenticateError> {
    let logged = tpm.boot.as_ref().and_then(|boot| boot.secure_boot.as_ref()).map(|state| state.switched_on);
    match (runtime.flag("secure-boot"), logged) {
        (Some(claimed), Some(logged)) if claimed != logged => Err(AzureAuthenticateError::SecureBootMismatch),
        _ => Ok(()),
    }
}
