//! Evidence to work on: a simulated chip with its CRL, and the genuine Milan report that the `sev` crate ships.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;
use evidence_formats::{
    bytes::ReportData,
    evidence::{Evidence, SnpEvidence},
    snp::{CertTable, ProductLine, SnpReport},
};
use softtee::amd::SecureProcessor;
use time::macros::datetime;
use verifier::{
    ChainKey, ChainMemory, CrlFloors, Endorsements, Expected, Revocation, Terms, Timestamp, TrustAnchors,
    VerifiedChain, tpm::TpmTerms,
};

/// When everything is verified.
const NOW: time::OffsetDateTime = datetime!(2026-11-01 0:00 UTC);

/// Everything that one verification reads.
#[derive(Debug)]
pub struct Case {
    report: SnpReport,
    /// The evidence without a certificate table.
    pub evidence: Evidence,
    /// The same report with the certificates in the host's table.
    pub with_table: Evidence,
    /// Certificates and CRL.
    pub endorsements: Endorsements,
    /// What is trusted.
    pub anchors: TrustAnchors,
    /// The 64 bytes that the report carries.
    pub report_data: ReportData,
    /// Whether there is a CRL.
    pub revocation: Revocation,
    /// DER of VEK, ASK, ARK.
    pub certificates: [Vec<u8>; 3],
    /// DER of the CRL, when there is one.
    pub crl: Option<Vec<u8>>,
}

impl Case {
    /// A simulated Genoa chip, verified with everything that is required.
    ///
    /// # Errors
    /// When the fixture does not fit the verifier.
    pub fn simulated() -> Result<Self> {
        let chip = SecureProcessor::new(ProductLine::Genoa);
        let mut guest = chip.guest();
        guest.report_data = ReportData([7; 64]);
        let crl = chip.pki.sign_crl(&chip.pki.crl(NOW));
        let certificates = [chip.vek().der(), chip.pki.ask.der(), chip.pki.ark.der()];
        let anchors = TrustAnchors::from_files(chip.pki.anchors().iter().map(Vec::as_slice))?;
        let table = CertTable::parse(&chip.certificates().to_bytes())?;
        Self::new(&chip.report(&guest), Some(table), certificates, Some(crl), anchors)
    }

    /// The genuine Milan report of the `sev` crate. Its package has no CRL.
    ///
    /// # Errors
    /// When the package cannot be found or does not verify.
    pub fn genuine() -> Result<Self> {
        let data = packaged("sev")?.join("tests/certs_data");
        let report = hex::decode(fs::read_to_string(data.join("report_milan.hex"))?.trim())?;
        let authorities = sev::certs::snp::ca::Chain {
            ark: sev::certs::snp::builtin::milan::ark()?,
            ask: sev::certs::snp::builtin::milan::ask()?,
        };
        let certificates =
            [fs::read(data.join("vcek_milan.der"))?, authorities.ask.to_der()?, authorities.ark.to_der()?];
        Self::new(&report, None, certificates, None, TrustAnchors::vendor())
    }

    fn new(
        report: &[u8],
        table: Option<CertTable>,
        certificates: [Vec<u8>; 3],
        crl: Option<Vec<u8>>,
        anchors: TrustAnchors,
    ) -> Result<Self> {
        let report = SnpReport::parse(report)?;
        let report_data = report.fields().report_data;
        let mut endorsements = Endorsements::new();
        for document in certificates.iter().chain(&crl) {
            endorsements.add(document)?;
        }
        let with_table = Evidence::Snp(SnpEvidence { report: report.clone(), certificates: table, init_data: None });
        let evidence = Evidence::Snp(SnpEvidence { report: report.clone(), certificates: None, init_data: None });
        let revocation = if crl.is_some() { Revocation::Require } else { Revocation::IfPresent };
        Ok(Self { report, evidence, with_table, endorsements, anchors, report_data, revocation, certificates, crl })
    }

    /// The terms, with a memory.
    #[must_use]
    pub fn terms<'a>(&'a self, memory: &'a dyn ChainMemory) -> Terms<'a> {
        Terms {
            anchors: &self.anchors,
            revocation: self.revocation,
            expected: Expected::ReportData(self.report_data),
            now: Timestamp::from_unix(NOW.unix_timestamp()),
            memory,
            crl_floors: CrlFloors::NONE,
            tpm: TpmTerms::DEFAULT,
        }
    }

    /// The report.
    #[must_use]
    pub const fn report(&self) -> &SnpReport {
        &self.report
    }
}

/// A memory of chains without a bound: benchmarks verify few.
#[derive(Debug, Default)]
pub struct Remember(Mutex<HashMap<ChainKey, VerifiedChain>>);

impl ChainMemory for Remember {
    fn recall(&self, key: &ChainKey) -> Option<VerifiedChain> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn remember(&self, key: ChainKey, chain: VerifiedChain) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, chain);
    }
}

/// Where cargo unpacked a dependency.
///
/// # Errors
/// When no package of that name is a dependency.
pub fn packaged(name: &str) -> Result<PathBuf> {
    let metadata = MetadataCommand::new().current_dir(env!("CARGO_MANIFEST_DIR")).exec()?;
    let package = metadata.packages.iter().find(|package| package.name.as_str() == name);
    let manifest = &package.with_context(|| format!("expected the package {name}"))?.manifest_path;
    Ok(Path::new(manifest.as_str()).parent().context("expected a folder")?.to_owned())
}
