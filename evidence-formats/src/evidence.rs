//! Evidence of one guest, parsed as a whole: what a bundle must hold for each platform.

use thiserror::Error;

use crate::{
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    code::{Code, Coded},
    snp::{CertTable, CertTableError, SnpReport, SnpReportError},
};

/// Well-formed evidence of one guest. Nothing about it is authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// An AMD SEV-SNP guest without a paravisor.
    Snp(SnpEvidence),
}

/// An SNP report and what the host sent along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpEvidence {
    /// The report.
    pub report: SnpReport,
    /// The host's certificate table: hints, since nothing signs it.
    pub certificates: Option<CertTable>,
}

/// Why a bundle is not evidence of a known platform.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// An item that the platform's evidence needs is missing.
    #[error("expected item {item}")]
    Missing {
        /// The item.
        item: ItemName,
    },
    /// An item that nothing of this platform's evidence authenticates: it would be carried unchecked.
    #[error("expected no item {item} beside this evidence")]
    Unexpected {
        /// The item.
        item: ItemName,
    },
    /// The report is malformed.
    #[error(transparent)]
    SnpReport(#[from] SnpReportError),
    /// The certificate table is malformed.
    #[error(transparent)]
    CertTable(#[from] CertTableError),
}

impl Coded for EvidenceError {
    fn code(&self) -> Code {
        match self {
            Self::Missing { .. } => Code::new("parse.bundle.missing_item"),
            Self::Unexpected { .. } => Code::new("parse.bundle.unexpected_item"),
            Self::SnpReport(error) => error.code(),
            Self::CertTable(error) => error.code(),
        }
    }
}

impl Evidence {
    /// Parses every item of `bundle`. The media type of `cpu` says which platform it is.
    ///
    /// # Errors
    /// [`EvidenceError`] names the item that is missing, unexpected or malformed.
    pub fn from_bundle(bundle: &Bundle) -> Result<Self, EvidenceError> {
        let cpu = bundle.item(ItemName::Cpu).ok_or(EvidenceError::Missing { item: ItemName::Cpu })?;
        match cpu.media_type {
            MediaType::SnpReport => SnpEvidence::from_items(cpu, bundle).map(Self::Snp),
            MediaType::TdxQuote
            | MediaType::SnpCertTable
            | MediaType::TpmQuote
            | MediaType::HclReport
            | MediaType::Tcg2Log
            | MediaType::CcelLog
            | MediaType::ImaLog
            | MediaType::Toml => Err(EvidenceError::Unexpected { item: ItemName::Cpu }),
        }
    }
}

impl SnpEvidence {
    fn from_items(cpu: &BundleItem, bundle: &Bundle) -> Result<Self, EvidenceError> {
        only(bundle, &[ItemName::Cpu, ItemName::Certs])?;
        let certificates = bundle.item(ItemName::Certs).map(|item| CertTable::parse(&item.bytes)).transpose()?;
        Ok(Self { report: SnpReport::parse(&cpu.bytes)?, certificates })
    }
}

fn only(bundle: &Bundle, expected: &[ItemName]) -> Result<(), EvidenceError> {
    match bundle.items().find(|(name, _)| !expected.contains(name)) {
        Some((item, _)) => Err(EvidenceError::Unexpected { item }),
        None => Ok(()),
    }
}
