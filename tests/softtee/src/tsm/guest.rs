//! What answers report requests: driver, firmware and host in one.
use evidence_formats::bundle::{Bundle, BundleError, BundleItem, ItemName, MediaType};
use fuser::Errno;
use openssl::hash::MessageDigest;

use super::state::{GuestState, StateSource};
use super::{Extensions, Provider};
use crate::keys::digest;

/// What a report directory asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReportRequest {
    /// What was written to `inblob`.
    pub inblob: Vec<u8>,
    /// What was written to `privlevel`, 0 before.
    pub privilege_level: u32,
    /// Whether `service_provider` is `svsm`.
    pub from_svsm: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blobs {
    /// The report or quote.
    pub outblob: Vec<u8>,
    /// The host's certificate table; empty when it gave none.
    pub auxblob: Vec<u8>,
    /// The service's manifest; empty when no service was asked.
    pub manifestblob: Vec<u8>,
    /// The boot's event log, which a guest reads from ACPI; `None` where there is none.
    pub event_log: Option<Vec<u8>>,
    /// How often another process wrote to the directory meanwhile.
    pub foreign_writes: u64,
}

impl Blobs {
    /// The evidence bundle that an agent makes of them.
    ///
    /// # Errors
    /// [`BundleError`] when a blob is larger than a bundle carries.
    pub fn to_bundle(&self, provider: Provider) -> Result<Bundle, BundleError> {
        let mut bundle = Bundle::new();
        let media_type = match provider {
            Provider::SevGuest => MediaType::SnpReport,
            Provider::TdxGuest => MediaType::TdxQuote,
        };
        bundle.insert(ItemName::Cpu, BundleItem { media_type, bytes: self.outblob.clone() })?;
        if !self.auxblob.is_empty() {
            let certificates = BundleItem { media_type: MediaType::SnpCertTable, bytes: self.auxblob.clone() };
            bundle.insert(ItemName::Certs, certificates)?;
        }
        if let Some(log) = &self.event_log {
            let log = BundleItem { media_type: MediaType::CcelLog, bytes: log.clone() };
            bundle.insert(ItemName::EventlogCc, log)?;
        }
        Ok(bundle)
    }
}

/// The other end of a report directory.
pub trait Guest: std::fmt::Debug + Send {
    /// The driver, or `ENXIO` when none is loaded.
    ///
    /// # Errors
    /// `ENXIO`, or `EIO` when the simulation itself is broken.
    fn provider(&mut self) -> Result<Provider, Errno>;

    /// The most privileged level that may be asked for.
    fn privilege_floor(&mut self) -> u32;

    /// Whether writes are refused at the moment (`EBUSY`).
    fn is_busy(&mut self) -> bool;

    /// Makes a report.
    ///
    /// # Errors
    /// What the driver returns: `EINVAL` for what it cannot ask the hardware, others for what the hardware refuses.
    fn report(&mut self, request: &ReportRequest) -> Result<Blobs, Errno>;
}

/// A guest that is what its state says, read again each time.
#[derive(Debug)]
pub struct SimulatedGuest {
    source: StateSource,
    last_state: GuestState,
    /// Reports made since the state changed: faults say how many reports they hit.
    reports: u64,
    extensions: Extensions,
}

impl SimulatedGuest {
    /// A guest whose state comes from `source`.
    #[must_use]
    pub fn new(source: StateSource) -> Self {
        Self::extended_by(source, Extensions::default())
    }

    /// A TD whose registers are extended elsewhere.
    #[must_use]
    pub fn extended_by(source: StateSource, extensions: Extensions) -> Self {
        Self { source, last_state: GuestState::default(), reports: 0, extensions }
    }

    /// The state now.
    #[expect(clippy::print_stderr, reason = "the reader of the file system cannot see why its state file is refused")]
    fn state(&mut self) -> Result<&GuestState, Errno> {
        let state = self.source.load().map_err(|error| {
            eprintln!("softtee: {error}");
            Errno::EIO
        })?;
        if state != self.last_state {
            self.reports = 0;
            self.last_state = state;
        }
        Ok(&self.last_state)
    }
}

impl Guest for SimulatedGuest {
    fn provider(&mut self) -> Result<Provider, Errno> {
        let state = self.state()?;
        if state.faults.no_provider { Err(Errno::ENXIO) } else { Ok(state.provider) }
    }

    fn privilege_floor(&mut self) -> u32 {
        self.state().map_or(0, GuestState::privilege_floor)
    }

    fn is_busy(&mut self) -> bool {
        self.state().is_ok_and(|state| state.faults.busy)
    }

    fn report(&mut self, request: &ReportRequest) -> Result<Blobs, Errno> {
        let state = self.state()?.clone();
        let earlier = self.reports;
        self.reports = self.reports.saturating_add(1);
        let faults = &state.faults;
        if let Some(failure) = faults.failure
            && faults.failing_reports.is_none_or(|count| earlier < count)
        {
            return Err(failure.errno());
        }
        let mut blobs = match state.provider {
            Provider::SevGuest => sev_report(&state, request)?,
            Provider::TdxGuest => tdx_quote(&state, request, &self.extensions)?,
        };
        faults.damage(&mut blobs.outblob);
        if earlier < faults.interrupted_reports {
            blobs.foreign_writes = 1;
        }
        Ok(blobs)
    }
}

/// `sev_report_new` of the driver, and the firmware below it.
fn sev_report(state: &GuestState, request: &ReportRequest) -> Result<Blobs, Errno> {
    let snp = &state.snp;
    let mut report_data: [u8; 64] = request.inblob.as_slice().try_into().map_err(|_other_length| Errno::EINVAL)?;
    let mut manifestblob = Vec::new();
    let mut vmpl = request.privilege_level;
    if request.from_svsm {
        // SVSM specification §7.1: its report is of VMPL 0 and binds the manifest.
        manifestblob = snp.service_manifest.clone().ok_or(Errno::EINVAL)?.0;
        let bound = digest(MessageDigest::sha512(), &[&report_data, &manifestblob]);
        report_data = bound.try_into().map_err(|_impossible| Errno::EIO)?;
        vmpl = 0;
    } else if vmpl < snp.vmpl {
        // 56860 §7.3: a guest cannot ask for a level above its own; the driver turns INVALID_PARAM into EINVAL.
        return Err(Errno::EINVAL);
    }
    let processor = snp.processor();
    let mut report = snp.guest(&processor);
    report.report_data.0 = report_data;
    report.vmpl = vmpl;
    let auxblob = snp.certificates.to_bytes(processor.certificates());
    Ok(Blobs { outblob: processor.report(&report), auxblob, manifestblob, ..Blobs::default() })
}

/// `tdx_report_new` of the driver, and the host's quoting service below it.
fn tdx_quote(state: &GuestState, request: &ReportRequest, extensions: &Extensions) -> Result<Blobs, Errno> {
    let report_data: [u8; 64] = request.inblob.as_slice().try_into().map_err(|_other_length| Errno::EINVAL)?;
    let platform = state.tdx.platform();
    let mut td = state.tdx.td(&platform);
    td.report_data.0 = report_data;
    td.info.rtmr = extensions.onto(td.info.rtmr);
    let outblob = state.tdx.quote(&platform, &td).to_bytes(&platform);
    let event_log = Some(state.tdx.event_log().to_bytes());
    Ok(Blobs { outblob, event_log, ..Blobs::default() })
}
