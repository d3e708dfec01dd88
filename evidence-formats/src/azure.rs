//! Composite evidence of Azure confidential VMs: hardware report ⊃ runtime claims ⊃ attestation key ⊃ quote ⊃ logs.

use thiserror::Error;

use crate::{
    code::{Code, Coded},
    evidence::{SnpEvidence, TdxEvidence},
    hcl::{HclError, HclHardware, HclReport},
    snp::{CertTable, SnpReport, SnpReportError},
    tdx::{QuoteError, ReportError, TdReport, TdxQuote},
    tpm::{FullDocument, TpmError, TpmEvidence},
};

/// An Azure confidential VM on SEV-SNP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureSnpEvidence {
    /// The paravisor's report.
    pub hcl: HclReport,
    /// The SNP report inside, and what the host sent along.
    pub snp: SnpEvidence,
    /// The vTPM's evidence.
    pub tpm: TpmEvidence,
}

/// An Azure confidential VM on TDX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureTdxEvidence {
    /// The paravisor's report.
    pub hcl: HclReport,
    /// The TDREPORT inside, which only its own platform can check.
    pub report: TdReport,
    /// The quote made from it; all RTMRs are zero here, and there is no log of them.
    pub tdx: TdxEvidence,
    /// The vTPM's evidence.
    pub tpm: TpmEvidence,
}

impl AzureSnpEvidence {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`AzureError`] when the paravisor's report is not of SNP, or the SNP report inside is malformed.
    pub fn new(hcl: HclReport, certificates: Option<CertTable>, tpm: TpmEvidence) -> Result<Self, AzureError> {
        if hcl.hardware() != HclHardware::Snp {
            return Err(AzureError::Hardware { expected: HclHardware::Snp });
        }
        let report = SnpReport::parse(hcl.hardware_report())?;
        Ok(Self { hcl, snp: SnpEvidence { report, certificates, init_data: None }, tpm })
    }

    /// Parses the JSON document of `--type azure-snp`.
    ///
    /// # Errors
    /// [`AzureError`] naming the member or the structure inside.
    pub fn from_document(bytes: &[u8]) -> Result<Self, AzureError> {
        let document = FullDocument::parse(bytes)?;
        if document.td_quote.is_some() {
            return Err(AzureError::Unexpected("td_quote"));
        }
        let hcl = document.hcl_report.ok_or(AzureError::Missing("hcl_report"))?;
        Self::new(HclReport::parse(&hcl)?, None, document.tpm)
    }
}

impl AzureTdxEvidence {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`AzureError`] when the paravisor's report is not of TDX, or the TDREPORT or the quote is malformed.
    pub fn new(hcl: HclReport, quote: &[u8], tpm: TpmEvidence) -> Result<Self, AzureError> {
        if hcl.hardware() != HclHardware::Tdx {
            return Err(AzureError::Hardware { expected: HclHardware::Tdx });
        }
        let report = TdReport::parse(hcl.hardware_report())?;
        let quote = TdxQuote::parse(quote)?;
        Ok(Self { hcl, report, tdx: TdxEvidence::of_quote(quote), tpm })
    }

    /// Parses the JSON document of `--type azure-tdx`.
    ///
    /// # Errors
    /// [`AzureError`] naming the member or the structure inside.
    pub fn from_document(bytes: &[u8]) -> Result<Self, AzureError> {
        let document = FullDocument::parse(bytes)?;
        let hcl = document.hcl_report.ok_or(AzureError::Missing("hcl_report"))?;
        let quote = document.td_quote.ok_or(AzureError::Missing("td_quote"))?;
        Self::new(HclReport::parse(&hcl)?, &quote, document.tpm)
    }
}

/// Evidence of an Azure confidential VM is malformed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AzureError {
    /// A member that this evidence needs is absent.
    #[error("evidence document has no member {0}")]
    Missing(&'static str),
    /// A member that this evidence has no use for.
    #[error("evidence document has a member {0}, which this platform has no use for")]
    Unexpected(&'static str),
    /// The paravisor's report is of other hardware.
    #[error("expected an HCL report of {expected:?}")]
    Hardware {
        /// The hardware that was expected.
        expected: HclHardware,
    },
    /// The paravisor's report.
    #[error(transparent)]
    Hcl(#[from] HclError),
    /// The vTPM's evidence.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The SNP report inside.
    #[error(transparent)]
    SnpReport(#[from] SnpReportError),
    /// The TDREPORT inside.
    #[error(transparent)]
    TdReport(#[from] ReportError),
    /// The quote.
    #[error(transparent)]
    Quote(#[from] QuoteError),
}

impl Coded for AzureError {
    fn code(&self) -> Code {
        match self {
            Self::Missing(_) => Code::new("parse.azure.member_missing"),
            Self::Unexpected(_) => Code::new("parse.azure.member_unexpected"),
            Self::Hardware { .. } => Code::new("parse.hcl.report_type"),
            Self::Hcl(source) => source.code(),
            Self::Tpm(source) => source.code(),
            Self::SnpReport(source) => source.code(),
            Self::TdReport(source) => source.code(),
            Self::Quote(source) => source.code(),
        }
    }
}
