//! One simulated platform.
use evidence_formats::bundle::{Bundle, BundleError, BundleItem, ItemName, MediaType};
use evidence_formats::bytes::{LaunchDigest, ReportData};
use evidence_formats::tdx::{
    MigrationTds, MrConfigId, MrOwner, MrOwnerConfig, MrSeam, MrServiceTd, MrSignerSeam, SeamAttributes, Td15,
    TdAttributes, TdInfo, TdQuoteBody, TeeTcbSvn, Xfam,
};
use time::OffsetDateTime;
use time::macros::datetime;

use super::{CcelBuilder, Collateral, IntelPki, PckSpec, QeIdentitySpec, QuoteSpec, TcbInfoSpec};

/// A time at which everything healthy is valid, for tests that need a fixed one.
pub const AT: OffsetDateTime = datetime!(2026-06-01 0:00 UTC);

/// A simulated TDX platform.
#[derive(Debug, Clone)]
pub struct TdxPlatform {
    /// The authorities above its keys.
    pub pki: IntelPki,
    /// The platform, as its PCK certificate describes it.
    pub pck: PckSpec,
    /// The TDX module: minor version, major version, loader version, the rest zero.
    pub tee_tcb_svn: TeeTcbSvn,
}

impl Default for TdxPlatform {
    fn default() -> Self {
        Self::new()
    }
}

impl TdxPlatform {
    /// A current platform with a TDX 1.5 module.
    #[must_use]
    pub fn new() -> Self {
        Self { pki: IntelPki::new(), pck: PckSpec::healthy(), tee_tcb_svn: Self::svn(11, 1, 3) }
    }

    /// TEE_TCB_SVN of a TDX module (minor, major) and its loader.
    #[must_use]
    pub const fn svn(minor: u8, major: u8, loader: u8) -> TeeTcbSvn {
        TeeTcbSvn([minor, major, loader, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// A well-run TD (report 1.0): `SEPT_VE_DISABLE`, no debugging, owner fields zero; its runtime registers are those of
    /// [`CcelBuilder::healthy`] with the command line `console=hvc0`.
    #[must_use]
    pub fn td(&self) -> TdQuoteBody {
        TdQuoteBody {
            tee_tcb_svn: self.tee_tcb_svn,
            mr_seam: MrSeam([0x5e; 48]),
            mr_signer_seam: MrSignerSeam([0; 48]),
            seam_attributes: SeamAttributes([0; 8]),
            info: TdInfo {
                attributes: TdAttributes(1 << 28),
                xfam: Xfam(0x0006_02e7),
                mr_td: LaunchDigest([0x4d; 48]),
                mr_config_id: MrConfigId([0; 48]),
                mr_owner: MrOwner([0; 48]),
                mr_owner_config: MrOwnerConfig([0; 48]),
                rtmr: Self::event_log().rtmrs(),
            },
            report_data: ReportData([0; 64]),
            td15: None,
        }
    }

    /// The same TD as report 1.5: current TCB as at launch, no service TD.
    #[must_use]
    pub fn td15(&self) -> TdQuoteBody {
        let td15 = Td15 { current_tee_tcb_svn: self.tee_tcb_svn, mr_service_td: MrServiceTd([0; 48]), extended: None };
        TdQuoteBody { td15: Some(td15), ..self.td() }
    }

    /// The same TD as extended report 1.5: migrated never, no service TD at any time.
    #[must_use]
    pub fn td15_extended(&self) -> TdQuoteBody {
        let extended = MigrationTds {
            vmid: 1,
            td_id: [0x1d; 32],
            device_info: [0; 48],
            initial_service_td: MrServiceTd([0; 48]),
            initial_service_td_attributes: 0,
            initial_cpu_svn: self.pck.cpu_svn.0,
            initial_tee_tcb_svn: self.tee_tcb_svn,
            initial_fmspc: [0; 12],
            current_service_td: MrServiceTd([0; 48]),
            current_service_td_attributes: 0,
        };
        let mut td = self.td15();
        td.td15 = td.td15.map(|td15| Td15 { extended: Some(extended), ..td15 });
        td
    }

    /// The event log of [`Self::td`].
    #[must_use]
    pub fn event_log() -> CcelBuilder {
        CcelBuilder::healthy("console=hvc0")
    }

    /// A healthy quote over a TD report.
    #[must_use]
    pub fn quote(&self, td: &TdQuoteBody) -> QuoteSpec {
        QuoteSpec::healthy(td.clone())
    }

    /// The evidence that an agent gathers: quote and, if given, event log.
    ///
    /// # Errors
    /// [`BundleError`] when a part is larger than a bundle carries.
    pub fn bundle(&self, quote: &QuoteSpec, log: Option<&CcelBuilder>) -> Result<Bundle, BundleError> {
        let mut bundle = Bundle::new();
        let quote = BundleItem { media_type: MediaType::TdxQuote, bytes: quote.to_bytes(self) };
        bundle.insert(ItemName::Cpu, quote)?;
        if let Some(log) = log {
            let log = BundleItem { media_type: MediaType::CcelLog, bytes: log.to_bytes() };
            bundle.insert(ItemName::EventlogCc, log)?;
        }
        Ok(bundle)
    }

    /// Collateral by which this platform is judged, fresh at `now`.
    #[must_use]
    pub fn collateral(&self, now: OffsetDateTime) -> Collateral {
        Collateral {
            tcb_info: TcbInfoSpec::healthy(&self.pck, now),
            qe_identity: QeIdentitySpec::healthy(now),
            root_crl: self.pki.root_crl(now),
            pck_crl: self.pki.pck_crl(self.pck.ca, now),
            pck_ca: self.pki.pck_ca(self.pck.ca).clone(),
            pki: self.pki.clone(),
        }
    }
}
