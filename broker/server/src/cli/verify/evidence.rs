//! The evidence file: what each type of it holds.

use evidence_formats::{
    bundle::Bundle,
    evidence::{Evidence, SnpEvidence, TdxEvidence},
    snp::{CertTable, SnpReport},
};

use super::outcome::{Outcome, Verdict};

/// What `--type` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum EvidenceType {
    /// SEV-SNP attestation report, 1184 bytes
    Snp,
    /// TDX quote, version 4 or 5
    Tdx,
    /// Evidence bundle, JSON or CBOR
    Bundle,
}

/// What belongs to the evidence and stands in files of its own.
pub(super) struct Beside {
    pub(super) cert_table: Option<CertTable>,
    pub(super) event_log: Option<Vec<u8>>,
}

/// Parses the evidence; what is malformed is the verdict `rejected`.
pub(super) fn parse(kind: EvidenceType, bytes: &[u8], beside: Beside) -> Result<Evidence, Outcome> {
    match kind {
        EvidenceType::Snp => match SnpReport::parse(bytes) {
            Ok(report) => Ok(Evidence::Snp(SnpEvidence { report, certificates: beside.cert_table })),
            Err(error) => Err(Outcome::refused(Verdict::Rejected, &error)),
        },
        EvidenceType::Tdx => match TdxEvidence::parse(bytes, beside.event_log.as_deref()) {
            Ok(evidence) => Ok(Evidence::Tdx(Box::new(evidence))),
            Err(error) => Err(Outcome::refused(Verdict::Rejected, &error)),
        },
        EvidenceType::Bundle => {
            let bundle = Bundle::parse(bytes).map_err(|error| Outcome::refused(Verdict::Rejected, &error))?;
            Evidence::from_bundle(&bundle).map_err(|error| Outcome::refused(Verdict::Rejected, &error))
        }
    }
}
