//! Which vendor documents evidence is judged by: names only, read from evidence that nothing authenticated yet.
//!
//! A name found here is good for looking into a cache. Whoever would fetch it asks [`crate::authenticate`] first: of TDX
//! evidence that a genuine platform did not sign, it says so before it says that a document is missing. Of SNP evidence
//! nothing can be known without the VCEK itself, so whoever fetches one for a stranger bounds how often.

use evidence_formats::{
    endorsement::{AmdService, EndorsementId, PckAuthority, TcbUpdate},
    evidence::{Evidence, SnpEvidence, TdxEvidence},
    snp::{CertGuid, ProductLine, ReportFields, SigningKey},
    vtpm::HardwareEvidence,
};

use crate::{
    snp,
    tdx::{PckCa, PckCertificate},
};

/// Documents about the one machine that made `evidence` which the evidence does not bring itself: its VCEK. Two names when
/// the report does not tell the product line (version 2). Costs next to nothing.
#[must_use]
pub fn wanted_of_machine(evidence: &Evidence) -> Vec<EndorsementId> {
    snp_of(evidence).map(wanted_of_chip).unwrap_or_default()
}

/// The same for an SNP report by itself.
#[must_use]
pub fn wanted_of_chip(snp: &SnpEvidence) -> Vec<EndorsementId> {
    let fields = snp.report.fields();
    if fields.key_info.signing_key != SigningKey::Vcek || brings_vcek(snp) {
        return Vec::new();
    }
    let named = |line: &ProductLine| EndorsementId::vcek(*line, fields.chip_id, fields.reported_tcb);
    lines(fields).iter().filter_map(named).collect()
}

/// Documents about many machines that `evidence` is judged by. Parses the certificate chain of a TDX quote.
#[must_use]
pub fn wanted_of_vendor(evidence: &Evidence, update: TcbUpdate) -> Vec<EndorsementId> {
    if let Some(snp) = snp_of(evidence) {
        return snp_lists(snp.report.fields());
    }
    let Some((fmspc, ca)) = tdx_of(evidence).and_then(|tdx| PckCertificate::claimed(tdx.quote.certification_data()))
    else {
        return Vec::new();
    };
    let ca = match ca {
        PckCa::Platform => PckAuthority::Platform,
        PckCa::Processor => PckAuthority::Processor,
    };
    vec![
        EndorsementId::IntelRootCrl,
        EndorsementId::PckCrl { ca },
        EndorsementId::TcbInfo { fmspc, update },
        EndorsementId::QeIdentity { update },
    ]
}

/// For a loaded key both lists of the root count: each may name the ASVK.
fn snp_lists(fields: &ReportFields) -> Vec<EndorsementId> {
    let services: &[AmdService] = match fields.key_info.signing_key {
        SigningKey::Vcek => &[AmdService::Vcek],
        SigningKey::Vlek => &AmdService::ALL,
        SigningKey::Unsigned => &[],
    };
    let list = |line: &ProductLine| {
        let line = *line;
        services.iter().map(move |service| EndorsementId::AmdCrl { line, service: *service })
    };
    lines(fields).iter().flat_map(list).collect()
}

/// The product line by CPUID. Version 2 reports do not have it; Turin's firmware never wrote such reports.
fn lines(fields: &ReportFields) -> &'static [ProductLine] {
    match fields.product {
        Some(ProductLine::Milan) => &[ProductLine::Milan],
        Some(ProductLine::Genoa) => &[ProductLine::Genoa],
        Some(ProductLine::Turin) => &[ProductLine::Turin],
        None => &[ProductLine::Milan, ProductLine::Genoa],
    }
}

/// Whether the host's table has a VCEK that claims to be for this chip and TCB. Hosts often keep the one of older firmware.
fn brings_vcek(evidence: &SnpEvidence) -> bool {
    let entries = evidence.certificates.iter().flat_map(|table| table.entries());
    let mut veks = entries.filter(|(guid, _)| *guid == CertGuid::VCEK);
    veks.any(|(_, blob)| snp::claims_to_be_for(blob, evidence.report.fields()))
}

fn snp_of(evidence: &Evidence) -> Option<&SnpEvidence> {
    match evidence {
        Evidence::Snp(evidence) => Some(evidence),
        Evidence::AzureSnp(evidence) => Some(&evidence.snp),
        Evidence::Svsm(evidence) => Some(&evidence.report.snp),
        Evidence::HostedVtpm(evidence) => match &evidence.hardware {
            HardwareEvidence::Snp(snp) => Some(snp),
            HardwareEvidence::Tdx(_) => None,
        },
        Evidence::Tdx(_) | Evidence::AzureTdx(_) | Evidence::Tpm(_) => None,
    }
}

fn tdx_of(evidence: &Evidence) -> Option<&TdxEvidence> {
    match evidence {
        Evidence::Tdx(evidence) => Some(evidence),
        Evidence::AzureTdx(evidence) => Some(&evidence.tdx),
        Evidence::HostedVtpm(evidence) => match &evidence.hardware {
            HardwareEvidence::Tdx(tdx) => Some(tdx),
            HardwareEvidence::Snp(_) => None,
        },
        Evidence::Snp(_) | Evidence::AzureSnp(_) | Evidence::Svsm(_) | Evidence::Tpm(_) => None,
    }
}
