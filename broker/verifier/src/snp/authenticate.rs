//! Authentication of a report: whose key signed it, and does everything agree?

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use evidence_formats::{
    evidence::SnpEvidence,
    snp::{ReportFields, SnpReport, TcbVersion},
};

use super::{
    SnpError,
    certs::{self, VekKind, VekOwner},
    chain::{Claimed, Material, VekProof},
    claims::SnpClaims,
    revocation::{CrlUsed, Standing},
    tcb,
};
use crate::{
    Authentic, Claims, Endorsements, Expected, InitDataClaims, Revocation, Terms, Unchecked, VerifiedChain,
    x509::{Certificate, CrlTimeError, PublicKey},
};

/// VEK candidates whose chain is verified at most, best fit first.
const MAX_CANDIDATES: usize = 8;

/// Authenticates an SNP report against endorsements; the host's certificate table only adds candidates.
pub(crate) fn authenticate(
    evidence: &SnpEvidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Authentic<Claims>, SnpError> {
    let report = &evidence.report;
    let claimed = claimed(report.fields())?;
    let hints = hints(evidence);
    let material = Material { anchors: terms.anchors, endorsements, hints: &hints };
    let outcome = match rank(material.vek_candidates(), claimed.kind, report.fields()) {
        candidates if candidates.is_empty() => Err(without_vek(endorsements, report.fields(), claimed.kind, terms)?),
        candidates => first_that_fits(&candidates, &material, claimed, report, terms),
    };
    // What is wrong with the evidence comes first, what is missing last.
    if outcome.as_ref().err().is_none_or(SnpError::is_missing_endorsement) {
        require_init_data(evidence)?;
    }
    let mut claims = outcome?;
    claims.init_data = evidence.init_data.as_deref().map(InitDataClaims::new);
    Ok(Authentic::new(claims))
}

/// All 32 bytes of HOST_DATA are compared.
fn require_init_data(evidence: &SnpEvidence) -> Result<(), SnpError> {
    let Some(init_data) = &evidence.init_data else { return Ok(()) };
    if init_data.launch_field() == Some(evidence.report.fields().host_data.0) {
        Ok(())
    } else {
        Err(SnpError::InitData)
    }
}

/// A report that firmware did not sign is no evidence, whatever else it says. Under MASK_CHIP_KEY it writes zeros in place
/// of a signature (AMD 56860, MSG_REPORT_REQ); zeros that nothing explains are a wrong signature.
fn claimed(fields: &ReportFields) -> Result<Claimed, SnpError> {
    let kind = VekKind::of_report(fields.key_info.signing_key).ok_or(SnpError::Unsigned)?;
    if fields.key_info.mask_chip_key && fields.signature.is_zero() {
        return Err(SnpError::Unsigned);
    }
    Ok(Claimed { kind, product: fields.product })
}

/// What the host's certificate table holds. It is unsigned: what cannot be read there is as good as absent.
fn hints(evidence: &SnpEvidence) -> Endorsements {
    let mut hints = Endorsements::new();
    for (_, blob) in evidence.certificates.iter().flat_map(|table| table.entries()) {
        drop(hints.add(blob));
    }
    hints
}

/// Candidates by how well what they claim fits the report; nothing is verified yet.
fn rank<'a>(mut candidates: Vec<&'a Certificate>, kind: VekKind, fields: &ReportFields) -> Vec<&'a Certificate> {
    if candidates.len() > 1 {
        candidates.sort_by_cached_key(|vek| {
            let same_kind = VekKind::of_subject(vek.subject()) == Some(kind);
            let fits = certs::claims_to_fit(vek, fields);
            std::cmp::Reverse((same_kind, fits))
        });
        candidates.truncate(MAX_CANDIDATES);
    }
    candidates
}

/// The claims by the first candidate that verifies, or the most telling failure: that of the key which signed the report,
/// and among equals that of the candidate which came furthest.
fn first_that_fits(
    candidates: &[&Certificate],
    material: &Material<'_>,
    claimed: Claimed,
    report: &SnpReport,
    terms: &Terms<'_>,
) -> Result<Claims, SnpError> {
    let mut failure: Option<((bool, u8), SnpError)> = None;
    for vek in candidates {
        let error = match prove(vek, material, claimed, terms)
            .and_then(|proof| fits(report, claimed, &proof).map(|()| proof))
        {
            Ok(proof) => return conclude(report, &proof, material.endorsements, terms),
            Err(error) => error,
        };
        let telling = (candidates.len() > 1 && signed(report, vek), error.progress());
        if failure.as_ref().is_none_or(|(before, _)| *before < telling) {
            failure = Some((telling, error));
        }
    }
    let missing = || vek_missing(report.fields(), claimed.kind);
    Err(failure.map_or_else(missing, |(_, error)| error))
}

/// Whether the key of a certificate that nothing vouches for signed the report.
fn signed(report: &SnpReport, vek: &Certificate) -> bool {
    match vek.public_key() {
        PublicKey::P384(point) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
            .verify(report.signed_bytes(), &report.fields().signature.0)
            .is_ok(),
        PublicKey::P256(_) | PublicKey::Rsa { .. } => false,
    }
}

/// The proof of a VEK's chain: remembered, or made now.
fn prove(
    vek: &Certificate,
    material: &Material<'_>,
    claimed: Claimed,
    terms: &Terms<'_>,
) -> Result<Arc<VekProof>, SnpError> {
    let key = material.key(vek);
    if let Some(proof) = terms.memory.recall(&key).and_then(|chain| chain.proof_at::<VekProof>(terms.now)) {
        return Ok(proof);
    }
    let proof = Arc::new(material.verify(vek, claimed, terms.now)?);
    let (from, until) = proof.holds;
    terms.memory.remember(key, VerifiedChain::new(Arc::clone(&proof), from, until));
    Ok(proof)
}

/// Whether the VEK is this report's: kind, product line, chip, TCB, and then the signature.
fn fits(report: &SnpReport, claimed: Claimed, proof: &VekProof) -> Result<(), SnpError> {
    let fields = report.fields();
    if claimed.kind != proof.kind {
        return Err(SnpError::SigningKey { report: claimed.kind, certificate: proof.kind });
    }
    claimed.made_on(proof.line)?;
    match &proof.profile.owner {
        // A masked chip id cannot be bound to a chip: the claims say so, and the baseline refuses it by default.
        VekOwner::Chip(chip) if fields.chip_id != *chip && !fields.chip_id.is_zero() => {
            return Err(SnpError::HardwareId);
        }
        VekOwner::Chip(_) | VekOwner::Csp(_) => {}
    }
    if fields.reported_tcb != proof.profile.tcb {
        let hex = |tcb: &TcbVersion| tcb.to_string();
        return Err(SnpError::Tcb { reported: hex(&fields.reported_tcb), certified: hex(&proof.profile.tcb) });
    }
    // AMD 56860, ATTESTATION_REPORT: ECDSA P-384 with SHA-384 over the received bytes 0x000 to 0x29F. aws-lc-rs refuses
    // scalars outside of 1..n.
    proof.key.verify_sig(report.signed_bytes(), &fields.signature.0).or(Err(SnpError::Signature))
}

/// Everything that is left once signature and chain stand. That an endorsement is missing is said last.
fn conclude(
    report: &SnpReport,
    proof: &VekProof,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Claims, SnpError> {
    let fields = report.fields();
    let tcb = tcb::read(fields, proof.line)?;
    tcb::order(&tcb)?;
    let mut unchecked = Vec::new();
    binding(fields, terms, &mut unchecked)?;
    revocation(proof, endorsements, terms, &mut unchecked)?;
    Ok(SnpClaims::new(fields, tcb, proof).into_claims(terms.anchors.origin(), unchecked))
}

/// All 64 bytes of REPORT_DATA are compared.
fn binding(fields: &ReportFields, terms: &Terms<'_>, unchecked: &mut Vec<Unchecked>) -> Result<(), SnpError> {
    let expected = match terms.expected {
        Expected::ReportData(expected) => expected,
        Expected::Binding(digest) => digest.report_data(),
        Expected::Unchecked { reason } => {
            unchecked.push(Unchecked { what: "report_data", reason });
            return Ok(());
        }
    };
    if fields.report_data == expected { Ok(()) } else { Err(SnpError::ReportData) }
}

fn revocation(
    proof: &VekProof,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
    unchecked: &mut Vec<Unchecked>,
) -> Result<(), SnpError> {
    match (&proof.standing, terms.revocation) {
        (Standing::Checked(crl), _) => not_rolled_back(crl, terms),
        (Standing::NotCurrent(error, crl), Revocation::Require | Revocation::RequireWithin { .. }) => match *error {
            CrlTimeError::NotYetValid { this_update } => Err(SnpError::CrlNotYetValid { this_update }),
            CrlTimeError::Stale { next_update } if terms.now < next_update.plus_seconds(terms.revocation.grace()) => {
                unchecked.push(Unchecked {
                    what: "crl_age",
                    reason: "the newest CRL has run out and counts for some hours",
                });
                not_rolled_back(crl, terms)
            }
            CrlTimeError::Stale { next_update } => Err(SnpError::CrlStale { next_update }),
        },
        (Standing::NotCurrent(..), Revocation::IfPresent) => {
            unchecked.push(Unchecked { what: "revocation", reason: "the CRL that was given is not current" });
            Ok(())
        }
        (Standing::Missing { .. }, Revocation::IfPresent) => {
            unchecked.push(Unchecked { what: "revocation", reason: "no CRL of the root was given" });
            Ok(())
        }
        (Standing::Missing { issuer, given }, Revocation::Require | Revocation::RequireWithin { .. }) => {
            Err(match (given, endorsements.malformed_crl()) {
                (Some(actual), _) => SnpError::CrlIssuer { expected: issuer.clone(), actual: actual.clone() },
                (None, Some(unreadable)) => SnpError::Unreadable(unreadable.clone()),
                (None, None) => SnpError::CrlMissing { issuer: issuer.clone() },
            })
        }
    }
}

fn not_rolled_back(crl: &CrlUsed, terms: &Terms<'_>) -> Result<(), SnpError> {
    match terms.crl_floors.of(&crl.issuer) {
        Some(floor) if crl.number < floor => Err(SnpError::CrlRollback { floor, actual: crl.number }),
        Some(_) | None => Ok(()),
    }
}

/// The refusal when no VEK was given: what can be checked without it is checked first.
fn without_vek(
    endorsements: &Endorsements,
    fields: &ReportFields,
    kind: VekKind,
    terms: &Terms<'_>,
) -> Result<SnpError, SnpError> {
    binding(fields, terms, &mut Vec::new())?;
    if let Some(line) = fields.product {
        tcb::order(&tcb::read(fields, line)?)?;
    }
    Ok(match endorsements.malformed_certificate() {
        Some(unreadable) => SnpError::Unreadable(unreadable.clone()),
        None => vek_missing(fields, kind),
    })
}

fn vek_missing(fields: &ReportFields, kind: VekKind) -> SnpError {
    SnpError::VekMissing { kind, reported_tcb: fields.reported_tcb.to_string() }
}
