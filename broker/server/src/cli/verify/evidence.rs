//! The evidence file: what each type of it holds.

use anyhow::{Result, ensure};
use evidence_formats::{
    azure::{AzureSnpEvidence, AzureTdxEvidence},
    bundle::Bundle,
    eventlog::EventLog,
    evidence::{Evidence, EvidenceError, SnpEvidence, TdxEvidence},
    init_data::InitData,
    snp::{CertTable, SnpReport},
    tpm::{TpmError, TpmEvidence},
};

use super::outcome::{Outcome, Verdict};

/// What `--type` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum EvidenceType {
    /// SEV-SNP attestation report, 1184 bytes
    Snp,
    /// TDX quote, version 4 or 5
    Tdx,
    /// TPM quote with its key, PCRs and logs, a JSON document
    Tpm,
    /// Azure confidential VM on SEV-SNP, a JSON document
    AzureSnp,
    /// Azure confidential VM on TDX, a JSON document
    AzureTdx,
    /// Evidence bundle, JSON or CBOR
    Bundle,
}

/// What belongs to the evidence and stands in files of its own.
pub(super) struct Beside {
    pub(super) cert_table: Option<CertTable>,
    pub(super) event_log: Option<Vec<u8>>,
    pub(super) runtime_event_log: Option<Vec<u8>>,
    pub(super) init_data: Option<Vec<u8>>,
}

impl EvidenceType {
    /// Refuses a file that evidence of this type has no use for: it would go unchecked.
    ///
    /// # Errors
    /// Names the option.
    pub(super) fn require_use_for(self, beside: &Beside) -> Result<()> {
        let init_data = matches!(self, Self::Snp | Self::Tdx);
        ensure!(init_data || beside.init_data.is_none(), "--init-data is for --type snp and tdx");
        let runtime_log = matches!(self, Self::Tdx);
        ensure!(runtime_log || beside.runtime_event_log.is_none(), "--runtime-event-log is for --type tdx");
        Ok(())
    }
}

/// Parses the evidence; what is malformed is the verdict `rejected`.
pub(super) fn parse(kind: EvidenceType, bytes: &[u8], beside: Beside) -> Result<Evidence, Box<Outcome>> {
    match kind {
        EvidenceType::Snp => snp(bytes, beside).map_err(|error| Outcome::refused(Verdict::Rejected, &error)),
        EvidenceType::Tdx => tdx(bytes, &beside).map_err(|error| Outcome::refused(Verdict::Rejected, &error)),
        EvidenceType::Tpm | EvidenceType::AzureSnp | EvidenceType::AzureTdx => {
            parse_document(kind, bytes, beside).map_err(|error| Outcome::refused(Verdict::Rejected, &error))
        }
        EvidenceType::Bundle => {
            let bundle = Bundle::parse(bytes).map_err(|error| Outcome::refused(Verdict::Rejected, &error))?;
            Evidence::from_bundle(&bundle).map_err(|error| Outcome::refused(Verdict::Rejected, &error))
        }
    }
}

fn snp(report: &[u8], beside: Beside) -> Result<Evidence, EvidenceError> {
    let init_data = beside.init_data.as_deref().map(InitData::parse).transpose()?;
    let report = SnpReport::parse(report)?;
    let init_data = init_data.map(Box::new);
    Ok(Evidence::Snp(SnpEvidence { report, certificates: beside.cert_table, init_data }))
}

fn tdx(quote: &[u8], beside: &Beside) -> Result<Evidence, EvidenceError> {
    let evidence = TdxEvidence::parse(quote, beside.event_log.as_deref())?;
    let evidence = evidence.with(beside.runtime_event_log.as_deref(), beside.init_data.as_deref())?;
    Ok(Evidence::Tdx(Box::new(evidence)))
}

/// Parses a JSON document; a log in a file of its own takes the place of one inside.
fn parse_document(kind: EvidenceType, bytes: &[u8], beside: Beside) -> Result<Evidence, EvidenceError> {
    let log = beside.event_log.map(|log| EventLog::parse(&log)).transpose().map_err(TpmError::from)?;
    let with_log = |mut tpm: TpmEvidence| {
        tpm.event_log = log.or(tpm.event_log);
        tpm
    };
    Ok(match kind {
        EvidenceType::AzureSnp => {
            let mut evidence = AzureSnpEvidence::from_document(bytes)?;
            evidence.snp.certificates = beside.cert_table;
            evidence.tpm = with_log(evidence.tpm);
            Evidence::AzureSnp(Box::new(evidence))
        }
        EvidenceType::AzureTdx => {
            let mut evidence = AzureTdxEvidence::from_document(bytes)?;
            evidence.tpm = with_log(evidence.tpm);
            Evidence::AzureTdx(Box::new(evidence))
        }
        EvidenceType::Tpm | EvidenceType::Snp | EvidenceType::Tdx | EvidenceType::Bundle => {
            Evidence::Tpm(with_log(TpmEvidence::from_document(bytes)?))
        }
    })
}
