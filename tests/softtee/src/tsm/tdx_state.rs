//! The TDX half of the state file.
use evidence_formats::bytes::{LaunchDigest, Sha384Digest};
use evidence_formats::tdx::{
    Fmspc, MrConfigId, MrOwner, MrOwnerConfig, MrSeam, MrServiceTd, SvnComponents, TdAttributes, TdQuoteBody,
    TeeTcbSvn, Xfam,
};
use serde::Deserialize;
use time::OffsetDateTime;

use super::state::{a_month_ago, set};
use crate::intel::{CcelBuilder, IntelPki, PckCa, PckSpec, QuoteSpec, TdxPlatform};

/// Which TD report a quote carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
pub enum TdReportVersion {
    /// Report 1.0 in a quote of version 4.
    #[default]
    #[serde(rename = "1.0")]
    V10,
    /// Report 1.5 in a quote of version 5.
    #[serde(rename = "1.5")]
    V15,
}

/// The guest as TDX sees it. What is `None` is as in [`TdxPlatform::td`].
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TdxState {
    /// Report version.
    pub report: TdReportVersion,
    /// Whether the whole hierarchy is an attacker's imitation.
    pub rogue: bool,
    /// From when the PCK certificate is valid; default: thirty days before the quote.
    #[serde(with = "time::serde::rfc3339::option")]
    pub issued_at: Option<OffsetDateTime>,
    /// Who certifies the platform.
    pub ca: PckCa,
    /// Kind of processor.
    pub fmspc: Option<Fmspc>,
    /// SGX TCB components of the platform.
    pub components: Option<SvnComponents>,
    /// Whether the platform is one that the healthy TCB info calls out of date.
    pub outdated: bool,
    /// TCB of the TDX module at launch of the TD.
    pub tee_tcb_svn: Option<TeeTcbSvn>,
    /// TCB of the TDX module now; report 1.5 only.
    pub current_tee_tcb_svn: Option<TeeTcbSvn>,
    /// Service TDs; report 1.5 only.
    pub mr_service_td: Option<MrServiceTd>,
    /// Security version of the quoting enclave.
    pub qe_isv_svn: Option<u16>,
    /// Initial image.
    pub mr_td: Option<LaunchDigest>,
    /// The TDX module.
    pub mr_seam: Option<MrSeam>,
    /// TD attributes.
    pub attributes: Option<u64>,
    /// Extended features.
    pub xfam: Option<u64>,
    /// Host-supplied configuration id.
    pub mr_config_id: Option<MrConfigId>,
    /// Host-supplied owner.
    pub mr_owner: Option<MrOwner>,
    /// Host-supplied configuration of the owner.
    pub mr_owner_config: Option<MrOwnerConfig>,
    /// The kernel's command line: changes the event log, and RTMR2 with it.
    pub command_line: Option<String>,
    /// Application register; the event log does not explain it.
    pub rtmr3: Option<Sha384Digest>,
    /// Zero bytes after the quote, as some clouds have them.
    pub padding: usize,
}

impl TdxState {
    /// The platform under this TD.
    #[must_use]
    pub fn platform(&self) -> TdxPlatform {
        let mut platform = TdxPlatform::new();
        if self.rogue {
            platform.pki = IntelPki::rogue();
        }
        platform.pck.ca = self.ca;
        platform.pck.issued_at = self.issued_at.unwrap_or_else(a_month_ago);
        set(&mut platform.pck.fmspc, self.fmspc);
        if let Some(components) = self.components.or(self.outdated.then_some(PckSpec::OUTDATED)) {
            platform.pck.set_components(components);
        }
        set(&mut platform.tee_tcb_svn, self.tee_tcb_svn);
        platform
    }

    /// The event log of its boot.
    #[must_use]
    pub fn event_log(&self) -> CcelBuilder {
        self.command_line.as_deref().map_or_else(TdxPlatform::event_log, CcelBuilder::healthy)
    }

    /// What its TD reports say, but for the request.
    #[must_use]
    pub fn td(&self, platform: &TdxPlatform) -> TdQuoteBody {
        let mut td = match self.report {
            TdReportVersion::V10 => platform.td(),
            TdReportVersion::V15 => platform.td15(),
        };
        set(&mut td.mr_seam, self.mr_seam);
        set(&mut td.info.mr_td, self.mr_td);
        set(&mut td.info.attributes, self.attributes.map(TdAttributes));
        set(&mut td.info.xfam, self.xfam.map(Xfam));
        set(&mut td.info.mr_config_id, self.mr_config_id);
        set(&mut td.info.mr_owner, self.mr_owner);
        set(&mut td.info.mr_owner_config, self.mr_owner_config);
        td.info.rtmr = self.event_log().rtmrs();
        let [.., rtmr3] = &mut td.info.rtmr;
        set(rtmr3, self.rtmr3);
        if let Some(td15) = &mut td.td15 {
            set(&mut td15.current_tee_tcb_svn, self.current_tee_tcb_svn);
            set(&mut td15.mr_service_td, self.mr_service_td);
        }
        td
    }

    /// The quote over a TD report, before signing.
    #[must_use]
    pub fn quote(&self, platform: &TdxPlatform, td: &TdQuoteBody) -> QuoteSpec {
        let mut quote = platform.quote(td);
        set(&mut quote.qe.isv_svn, self.qe_isv_svn);
        quote.trailing = vec![0; self.padding];
        quote
    }
}
