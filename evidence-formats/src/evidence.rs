//! Evidence of one guest, parsed as a whole: what a bundle must hold for each platform.

use thiserror::Error;

use crate::{
    azure::{AzureError, AzureSnpEvidence, AzureTdxEvidence},
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    code::{Code, Coded},
    eventlog::{EventLog, EventLogError, RuntimeLog, RuntimeLogError},
    hcl::{HclHardware, HclReport},
    init_data::{InitData, InitDataError},
    snp::{CertTable, CertTableError, SnpReport, SnpReportError},
    svsm::{SvsmError, SvsmManifest},
    tdx::{QuoteError, TdxQuote},
    tpm::{TpmError, TpmEvidence},
    vtpm::{HardwareEvidence, HostedVtpmEvidence, SvsmEvidence, SvsmReport},
};

/// Well-formed evidence of one guest. Nothing about it is authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// An AMD SEV-SNP guest without a paravisor.
    Snp(SnpEvidence),
    /// An Intel TDX guest without a paravisor.
    Tdx(Box<TdxEvidence>),
    /// A machine with a TPM, virtual or not, and nothing that measures its launch.
    Tpm(TpmEvidence),
    /// An Azure confidential VM on SEV-SNP.
    AzureSnp(Box<AzureSnpEvidence>),
    /// An Azure confidential VM on TDX.
    AzureTdx(Box<AzureTdxEvidence>),
    /// A confidential VM beside a vTPM that its host runs (Google Cloud).
    HostedVtpm(Box<HostedVtpmEvidence>),
    /// An SEV-SNP guest under an SVSM that runs its vTPM.
    Svsm(Box<SvsmEvidence>),
}

/// An SNP report and what the host sent along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpEvidence {
    /// The report.
    pub report: SnpReport,
    /// The host's certificate table: hints, since nothing signs it.
    pub certificates: Option<CertTable>,
    /// What HOST_DATA is to commit to.
    pub init_data: Option<Box<InitData>>,
}

/// A TDX quote and what explains its runtime registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxEvidence {
    /// The quote.
    pub quote: TdxQuote,
    /// The CCEL. Without it the registers have values and nothing is known of what led to them.
    pub event_log: Option<EventLog>,
    /// What was measured after the boot: continues the CCEL, and says nothing without it.
    pub runtime_log: Option<RuntimeLog>,
    /// What MRCONFIGID is to commit to.
    pub init_data: Option<InitData>,
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
    /// The quote is malformed.
    #[error(transparent)]
    TdxQuote(#[from] QuoteError),
    /// The event log is malformed.
    #[error(transparent)]
    EventLog(#[from] EventLogError),
    /// The runtime event log is malformed.
    #[error(transparent)]
    RuntimeLog(#[from] RuntimeLogError),
    /// The init-data are malformed.
    #[error(transparent)]
    InitData(#[from] InitDataError),
    /// The TPM evidence is malformed.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The paravisor's evidence is malformed.
    #[error(transparent)]
    Azure(#[from] AzureError),
    /// The SVSM's manifest is malformed.
    #[error(transparent)]
    Svsm(#[from] SvsmError),
}

impl Coded for EvidenceError {
    fn code(&self) -> Code {
        match self {
            Self::Missing { .. } => Code::new("parse.bundle.missing_item"),
            Self::Unexpected { .. } => Code::new("parse.bundle.unexpected_item"),
            Self::SnpReport(error) => error.code(),
            Self::CertTable(error) => error.code(),
            Self::TdxQuote(error) => error.code(),
            Self::EventLog(error) => error.code(),
            Self::RuntimeLog(error) => error.code(),
            Self::InitData(error) => error.code(),
            Self::Tpm(error) => error.code(),
            Self::Azure(error) => error.code(),
            Self::Svsm(error) => error.code(),
        }
    }
}

impl Evidence {
    /// Parses every item of `bundle`. An item `hcl` says that a paravisor runs, an item `svsm` that an SVSM does; else the
    /// media type of `cpu` says which platform it is, an item `tpm` beside it is the vTPM of the host, and a bundle without
    /// `cpu` is that of a TPM alone.
    ///
    /// # Errors
    /// [`EvidenceError`] names the item that is missing, unexpected or malformed.
    pub fn from_bundle(bundle: &Bundle) -> Result<Self, EvidenceError> {
        if let Some(hcl) = bundle.item(ItemName::Hcl) {
            return Self::from_azure_items(hcl, bundle);
        }
        if bundle.item(ItemName::Svsm).is_some() {
            return Self::from_svsm_items(bundle);
        }
        let Some(cpu) = bundle.item(ItemName::Cpu) else { return Self::from_tpm_items(bundle) };
        if bundle.item(ItemName::Tpm).is_some() {
            return Self::from_hosted_items(cpu, bundle);
        }
        match cpu.media_type {
            MediaType::SnpReport => SnpEvidence::from_items(cpu, bundle).map(Self::Snp),
            MediaType::TdxQuote => TdxEvidence::from_items(cpu, bundle).map(|evidence| Self::Tdx(Box::new(evidence))),
            MediaType::SnpCertTable
            | MediaType::TpmQuote
            | MediaType::HclReport
            | MediaType::SvsmManifest
            | MediaType::Tcg2Log
            | MediaType::CcelLog
            | MediaType::RuntimeLog
            | MediaType::ImaLog
            | MediaType::Toml => Err(EvidenceError::Unexpected { item: ItemName::Cpu }),
        }
    }
}

impl Evidence {
    /// The TPM's evidence, alone or in a composite.
    #[must_use]
    pub const fn tpm(&self) -> Option<&TpmEvidence> {
        match self {
            Self::Snp(_) | Self::Tdx(_) => None,
            Self::Tpm(tpm) => Some(tpm),
            Self::AzureSnp(azure) => Some(&azure.tpm),
            Self::AzureTdx(azure) => Some(&azure.tpm),
            Self::HostedVtpm(hosted) => Some(&hosted.tpm),
            Self::Svsm(svsm) => Some(&svsm.tpm),
        }
    }

    fn from_tpm_items(bundle: &Bundle) -> Result<Self, EvidenceError> {
        if bundle.item(ItemName::Tpm).is_none() {
            return Err(EvidenceError::Missing { item: ItemName::Cpu });
        }
        only(bundle, &[ItemName::Tpm, ItemName::EventlogTcg2, ItemName::EventlogIma])?;
        Ok(Self::Tpm(tpm_items(bundle)?))
    }

    fn from_svsm_items(bundle: &Bundle) -> Result<Self, EvidenceError> {
        let logs = [ItemName::Tpm, ItemName::EventlogTcg2, ItemName::EventlogIma];
        only(bundle, &[SvsmReport::ITEMS.as_slice(), &logs].concat())?;
        let (report, tpm) = (SvsmReport::from_items(bundle)?, tpm_items(bundle)?);
        Ok(Self::Svsm(Box::new(SvsmEvidence { report, tpm })))
    }

    fn from_hosted_items(cpu: &BundleItem, bundle: &Bundle) -> Result<Self, EvidenceError> {
        let shared = [ItemName::Cpu, ItemName::Tpm, ItemName::EventlogTcg2, ItemName::EventlogIma];
        let hardware = match cpu.media_type {
            MediaType::SnpReport => {
                only(bundle, &[shared.as_slice(), &[ItemName::Certs, ItemName::Initdata]].concat())?;
                HardwareEvidence::Snp(Box::new(SnpEvidence::read(cpu, bundle)?))
            }
            MediaType::TdxQuote => {
                let own = [ItemName::EventlogCc, ItemName::EventlogRuntime, ItemName::Initdata];
                only(bundle, &[shared.as_slice(), &own].concat())?;
                HardwareEvidence::Tdx(Box::new(TdxEvidence::read(cpu, bundle)?))
            }
            MediaType::SnpCertTable
            | MediaType::TpmQuote
            | MediaType::HclReport
            | MediaType::SvsmManifest
            | MediaType::Tcg2Log
            | MediaType::CcelLog
            | MediaType::RuntimeLog
            | MediaType::ImaLog
            | MediaType::Toml => return Err(EvidenceError::Unexpected { item: ItemName::Cpu }),
        };
        Ok(Self::HostedVtpm(Box::new(HostedVtpmEvidence { hardware, tpm: tpm_items(bundle)? })))
    }

    fn from_azure_items(hcl: &BundleItem, bundle: &Bundle) -> Result<Self, EvidenceError> {
        let hcl = HclReport::parse(&hcl.bytes).map_err(AzureError::from)?;
        let tpm = tpm_items(bundle)?;
        let shared = [ItemName::Hcl, ItemName::Tpm, ItemName::EventlogTcg2, ItemName::EventlogIma];
        match hcl.hardware() {
            HclHardware::Snp => {
                only(bundle, &[shared.as_slice(), &[ItemName::Certs]].concat())?;
                let certificates =
                    bundle.item(ItemName::Certs).map(|item| CertTable::parse(&item.bytes)).transpose()?;
                Ok(Self::AzureSnp(Box::new(AzureSnpEvidence::new(hcl, certificates, tpm)?)))
            }
            HclHardware::Tdx => {
                only(bundle, &[shared.as_slice(), &[ItemName::Cpu]].concat())?;
                let missing = EvidenceError::Missing { item: ItemName::Cpu };
                let quote = bundle.item(ItemName::Cpu).filter(|cpu| cpu.media_type == MediaType::TdxQuote);
                Ok(Self::AzureTdx(Box::new(AzureTdxEvidence::new(hcl, &quote.ok_or(missing)?.bytes, tpm)?)))
            }
        }
    }
}

fn tpm_items(bundle: &Bundle) -> Result<TpmEvidence, EvidenceError> {
    let bytes = |name| bundle.item(name).map(|item| item.bytes.as_slice());
    let document = bytes(ItemName::Tpm).ok_or(EvidenceError::Missing { item: ItemName::Tpm })?;
    Ok(TpmEvidence::from_items(document, bytes(ItemName::EventlogTcg2), bytes(ItemName::EventlogIma))?)
}

impl SvsmReport {
    const ITEMS: [ItemName; 3] = [ItemName::Cpu, ItemName::Certs, ItemName::Svsm];

    /// Parses a bundle of report and manifest alone, as an enrolment brings it.
    ///
    /// # Errors
    /// [`EvidenceError`] names the item that is missing, unexpected or malformed.
    pub fn from_bundle(bundle: &Bundle) -> Result<Self, EvidenceError> {
        only(bundle, &Self::ITEMS)?;
        Self::from_items(bundle)
    }

    fn from_items(bundle: &Bundle) -> Result<Self, EvidenceError> {
        let item = |item| bundle.item(item).ok_or(EvidenceError::Missing { item });
        let (cpu, manifest) = (item(ItemName::Cpu)?, item(ItemName::Svsm)?);
        if cpu.media_type != MediaType::SnpReport {
            return Err(EvidenceError::Unexpected { item: ItemName::Cpu });
        }
        Ok(Self { snp: SnpEvidence::read(cpu, bundle)?, manifest: SvsmManifest::parse(&manifest.bytes)? })
    }
}

impl SnpEvidence {
    fn from_items(cpu: &BundleItem, bundle: &Bundle) -> Result<Self, EvidenceError> {
        only(bundle, &[ItemName::Cpu, ItemName::Certs, ItemName::Initdata])?;
        Self::read(cpu, bundle)
    }

    fn read(cpu: &BundleItem, bundle: &Bundle) -> Result<Self, EvidenceError> {
        let certificates = bundle.item(ItemName::Certs).map(|item| CertTable::parse(&item.bytes)).transpose()?;
        let init_data = bundle.item(ItemName::Initdata).map(|item| InitData::parse(&item.bytes)).transpose()?;
        Ok(Self { report: SnpReport::parse(&cpu.bytes)?, certificates, init_data: init_data.map(Box::new) })
    }
}

impl TdxEvidence {
    /// Parses a quote as the platform wrote it, and the event log beside it.
    ///
    /// # Errors
    /// [`EvidenceError`] when either is malformed.
    pub fn parse(quote: &[u8], event_log: Option<&[u8]>) -> Result<Self, EvidenceError> {
        let event_log = event_log.map(EventLog::parse).transpose()?;
        Ok(Self { event_log, ..Self::of_quote(TdxQuote::parse(quote)?) })
    }

    /// A quote with nothing beside it.
    #[must_use]
    pub const fn of_quote(quote: TdxQuote) -> Self {
        Self { quote, event_log: None, runtime_log: None, init_data: None }
    }

    fn from_items(cpu: &BundleItem, bundle: &Bundle) -> Result<Self, EvidenceError> {
        only(bundle, &[ItemName::Cpu, ItemName::EventlogCc, ItemName::EventlogRuntime, ItemName::Initdata])?;
        Self::read(cpu, bundle)
    }

    fn read(cpu: &BundleItem, bundle: &Bundle) -> Result<Self, EvidenceError> {
        let bytes = |name| bundle.item(name).map(|item| item.bytes.as_slice());
        let evidence = Self::parse(&cpu.bytes, bytes(ItemName::EventlogCc))?;
        evidence.with(bytes(ItemName::EventlogRuntime), bytes(ItemName::Initdata))
    }

    /// Parses what else stands beside the quote: the runtime event log and the init-data.
    ///
    /// # Errors
    /// [`EvidenceError`] when either is malformed, or there is a runtime log without the log that it continues.
    pub fn with(self, runtime_log: Option<&[u8]>, init_data: Option<&[u8]>) -> Result<Self, EvidenceError> {
        if runtime_log.is_some() && self.event_log.is_none() {
            return Err(EvidenceError::Missing { item: ItemName::EventlogCc });
        }
        let runtime_log = runtime_log.map(RuntimeLog::parse).transpose()?;
        Ok(Self { runtime_log, init_data: init_data.map(InitData::parse).transpose()?, ..self })
    }
}

fn only(bundle: &Bundle, expected: &[ItemName]) -> Result<(), EvidenceError> {
    match bundle.items().find(|(name, _)| !expected.contains(name)) {
        Some((item, _)) => Err(EvidenceError::Unexpected { item }),
        None => Ok(()),
    }
}
