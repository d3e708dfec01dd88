//! Azure confidential VMs: a paravisor runs the vTPM and has the hardware for itself. The guest asks through NV indices of
//! the vTPM, and the cloud's metadata service has what the paravisor does not give: certificates and quotes.

mod metadata;
mod report;

use std::{path::PathBuf, time::Duration};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use evidence_formats::{
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    bytes::ReportData,
    hcl::{HclError, HclHardware},
    snp::{CertGuid, CertTable, SnpReportError},
    tdx::{QuoteError, ReportError, TdxQuote},
};
use serde::Deserialize;
use thiserror::Error;

pub use self::metadata::{MetadataError, MetadataService, NotAService};
use self::report::Report;
use crate::{
    attester::{Attester, Collected, Paths},
    error::{AttestError, Warning},
    init_data,
    tpm::{PersistentHandle, Tpm, TpmAddress, TpmError},
    vtpm::{AkSource, GuestTpm},
};

/// Where the paravisor keeps the attestation key that its report names.
const ATTESTATION_KEY: PersistentHandle = PersistentHandle(0x8100_0003);
const CERTIFICATION: &str = "/metadata/THIM/amd/certification";
const QUOTE: &str = "/acc/tdquote";

/// Why the paravisor, or the cloud around it, gave no evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParavisorError {
    /// The vTPM failed.
    #[error("the paravisor's TPM gave no report")]
    Tpm(#[from] TpmError),
    /// What stands in its NV index is no report.
    #[error("expected a report of the paravisor")]
    Report(#[from] HclError),
    /// What stands in the report is no SNP report.
    #[error("expected an SNP report in the paravisor's")]
    SnpReport(#[from] SnpReportError),
    /// What stands in the report is no TDREPORT.
    #[error("expected a TDREPORT in the paravisor's")]
    TdReport(#[from] ReportError),
    /// The paravisor made no report with our user data.
    #[error("expected a report of the paravisor that carries our user data within {} s", limit.as_secs())]
    OtherUserData {
        /// How long was waited.
        limit: Duration,
    },
    /// The metadata service gave no quote.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// What it gave is no quote.
    #[error("expected a TDX quote from the metadata service")]
    Quote(#[from] QuoteError),
    /// The quote is of something else than the paravisor's report.
    #[error("expected a quote of the TDREPORT in the paravisor's report")]
    OtherQuote,
}

/// Whether a paravisor's report is in the TPM.
///
/// # Errors
/// [`TpmError`] when the TPM does not answer.
pub(crate) fn is_here(address: &TpmAddress) -> Result<bool, TpmError> {
    Ok(Tpm::open(address)?.nv_public(report::REPORT)?.is_some())
}

/// Evidence of an Azure confidential VM.
#[derive(Debug)]
pub(crate) struct AzureAttester {
    address: TpmAddress,
    metadata: MetadataService,
    init_data: Option<PathBuf>,
    tpm: GuestTpm,
}

impl AzureAttester {
    pub(crate) fn new(address: &TpmAddress, paths: &Paths) -> Self {
        // The report vouches for the key; a certificate of it adds nothing.
        let source = AkSource::Persistent(ATTESTATION_KEY);
        let tpm = GuestTpm::new(address.clone(), paths.tpm.clone(), source, Vec::new());
        Self { address: address.clone(), metadata: paths.metadata.clone(), init_data: paths.init_data.clone(), tpm }
    }
}

impl Attester for AzureAttester {
    fn collect(&mut self, report_data: &ReportData) -> Result<Collected, AttestError> {
        let (mut bundle, mut warnings) = (Bundle::new(), Vec::new());
        // A connection of its own: a TPM without a resource manager serves one client after the other.
        let Report { bytes, parsed } = {
            let tpm = Tpm::open(&self.address).map_err(ParavisorError::from)?;
            report::with_user_data(&tpm, report_data, report::LIMIT)?
        };
        match parsed.hardware() {
            HclHardware::Snp => match certificates(&self.metadata) {
                Ok(table) => {
                    let item = BundleItem { media_type: MediaType::SnpCertTable, bytes: table.to_bytes() };
                    bundle.insert(ItemName::Certs, item)?;
                }
                // The broker may have them itself.
                Err(error) => warnings.push(Warning::Metadata(error)),
            },
            HclHardware::Tdx => {
                let quote = quote(&self.metadata, parsed.hardware_report(), &parsed.expected_report_data())?;
                bundle.insert(ItemName::Cpu, BundleItem { media_type: MediaType::TdxQuote, bytes: quote })?;
            }
        }
        bundle.insert(ItemName::Hcl, BundleItem { media_type: MediaType::HclReport, bytes })?;
        self.tpm.add_to(&mut bundle, report_data, &mut warnings)?;
        // Nothing in this evidence commits to init-data: the broker says so, where the operator named some.
        init_data::beside(Collected { bundle, warnings }, self.init_data.as_deref())
    }

    fn tpm(&mut self) -> Option<&mut GuestTpm> {
        Some(&mut self.tpm)
    }
}

/// Certificates of the processor (THIM).
#[derive(Deserialize)]
struct Certification {
    #[serde(rename = "vcekCert")]
    vcek: String,
    #[serde(rename = "certificateChain")]
    chain: String,
}

/// VCEK, ASK and ARK as a certificate table; what is in it is looked at by the broker.
fn certificates(metadata: &MetadataService) -> Result<CertTable, MetadataError> {
    let malformed = MetadataError::Answer { expected: "the certificates of the processor" };
    let answer: Certification =
        serde_json::from_slice(&metadata.get(CERTIFICATION)?).map_err(|_other| malformed.clone())?;
    let pem = [answer.vcek, answer.chain].join("\n");
    let mut blocks = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    let mut entry = |guid| {
        let text = blocks.next()?.split("-----END CERTIFICATE-----").next()?;
        let text: String = text.split_ascii_whitespace().collect();
        Some((guid, BASE64_STANDARD.decode(text).ok()?))
    };
    let entries: Option<Vec<_>> = [CertGuid::VCEK, CertGuid::ASK, CertGuid::ARK].into_iter().map(&mut entry).collect();
    let table = CertTable::from_entries(entries.ok_or_else(|| malformed.clone())?);
    // What is too long for a table is refused here and not by the broker.
    CertTable::parse(&table.to_bytes()).map_err(|_too_large| malformed)
}

#[derive(Deserialize)]
struct QuoteAnswer {
    quote: String,
}

/// The quote of a TDREPORT, which must be of this TD and carry the same report data.
fn quote(metadata: &MetadataService, report: &[u8], report_data: &ReportData) -> Result<Vec<u8>, ParavisorError> {
    let request = serde_json::json!({ "report": BASE64_URL_SAFE_NO_PAD.encode(report) }).to_string();
    let answer = metadata.post(QUOTE, request.as_bytes())?;
    let malformed = MetadataError::Answer { expected: "a quote" };
    let answer: QuoteAnswer = serde_json::from_slice(&answer).map_err(|_other| malformed.clone())?;
    let quote = BASE64_URL_SAFE_NO_PAD.decode(answer.quote.trim_end_matches('=')).map_err(|_not_base64| malformed)?;
    let parsed = TdxQuote::parse(&quote)?;
    let body = &parsed.body;
    let same = evidence_formats::tdx::TdReport::parse(report)?.info == body.info && body.report_data == *report_data;
    if same { Ok(quote) } else { Err(ParavisorError::OtherQuote) }
}
