//! The evidence file: what each type of it holds.

use evidence_formats::{
    bundle::Bundle,
    evidence::{Evidence, SnpEvidence},
    snp::{CertTable, SnpReport},
};

use super::outcome::{Outcome, Verdict};

/// What `--type` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum EvidenceType {
    /// SEV-SNP attestation report, 1184 bytes
    Snp,
    /// Evidence bundle, JSON or CBOR
    Bundle,
}

/// Parses the evidence; what is malformed is the verdict `rejected`.
pub(super) fn parse(kind: EvidenceType, bytes: &[u8], table: Option<CertTable>) -> Result<Evidence, Outcome> {
    match kind {
        EvidenceType::Snp => match SnpReport::parse(bytes) {
            Ok(report) => Ok(Evidence::Snp(SnpEvidence { report, certificates: table })),
            Err(error) => Err(Outcome::refused(Verdict::Rejected, &error)),
        },
        EvidenceType::Bundle => {
            let bundle = Bundle::parse(bytes).map_err(|error| Outcome::refused(Verdict::Rejected, &error))?;
            Evidence::from_bundle(&bundle).map_err(|error| Outcome::refused(Verdict::Rejected, &error))
        }
    }
}
