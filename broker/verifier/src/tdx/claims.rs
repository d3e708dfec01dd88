//! What a TDX quote says, for policies and people.

use std::{collections::BTreeMap, sync::Arc};

use evidence_formats::tdx::{
    EnclaveReport, Fmspc, MrConfigId, MrOwner, MrOwnerConfig, MrSeam, MrServiceTd, MrSignerSeam, PceId, PceSvn, Ppid,
    QuoteVersion, SeamAttributes, SvnComponents, TdAttributes, TdQuoteBody, TdxQuote, TeeTcbSvn, Trailing, Xfam,
};
use serde::Serialize;

use super::{
    certs::{PckCa, PckCertificate, PlatformConfiguration, SgxType},
    collateral::{AuthenticCollateral, Window},
    eventlog::NamedEvents,
    floors::SeenNumbers,
    tcb::TcbEvaluation,
};
use crate::{Claims, Floor, Measurements, Platform, RawClaims, RuntimeMeasurement, TcbClaims, Timestamp, Unchecked};

/// Every field of an authenticated quote, with what its endorsements say about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TdxClaims {
    /// Quote format version.
    pub quote_version: u16,
    /// TD report: `1.0`, `1.5` or `1.5-extended`.
    pub td_report: &'static str,
    /// ATTRIBUTES.
    pub attributes: TdAttributes,
    /// Names of the attributes that are set.
    pub attribute_names: Vec<&'static str>,
    /// XFAM.
    pub xfam: Xfam,
    /// TEE_TCB_SVN.
    pub tee_tcb_svn: TeeTcbSvn,
    /// MRSEAM.
    pub mr_seam: MrSeam,
    /// MRSIGNERSEAM.
    pub mr_signer_seam: MrSignerSeam,
    /// SEAMATTRIBUTES.
    pub seam_attributes: SeamAttributes,
    /// MRCONFIGID.
    pub mr_config_id: MrConfigId,
    /// MROWNER.
    pub mr_owner: MrOwner,
    /// MROWNERCONFIG.
    pub mr_owner_config: MrOwnerConfig,
    /// TEE_TCB_SVN_2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_tee_tcb_svn: Option<TeeTcbSvn>,
    /// MRSERVICETD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mr_service_td: Option<MrServiceTd>,
    /// INIT_SERVICE_TD_HASH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_service_td: Option<MrServiceTd>,
    /// CUR_SERVICE_TD_HASH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_service_td: Option<MrServiceTd>,
    /// TD_ID, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub td_id: Option<String>,
    /// The quoting enclave.
    pub qe: TdxQeClaims,
    /// The platform, from its PCK certificate.
    pub pck: TdxPckClaims,
    /// TCB statuses one by one.
    pub tcb: TdxTcbClaims,
    /// The collateral that was used.
    pub collateral: TdxCollateralClaims,
    /// What stands after the quote.
    pub trailing: Trailing,
    /// Whether an event log was replayed into the RTMRs.
    pub event_log: bool,
    /// When all this was verified.
    pub verified_at: Timestamp,
}

/// The quoting enclave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TdxQeClaims {
    /// MRENCLAVE, in hex.
    pub mr_enclave: String,
    /// MRSIGNER, in hex.
    pub mr_signer: String,
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    /// First 16 bytes of the header's user data, in hex: a pseudonym of the platform.
    pub qe_id: String,
}

/// The platform, from its PCK certificate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TdxPckClaims {
    /// Which CA certified it.
    pub ca: PckCa,
    /// FMSPC.
    pub fmspc: Fmspc,
    /// PCEID.
    pub pce_id: PceId,
    /// PPID.
    pub ppid: Ppid,
    /// PCESVN.
    pub pce_svn: PceSvn,
    /// The 16 TCB components, in hex.
    pub components: SvnComponents,
    /// SGX type.
    pub sgx_type: SgxType,
    /// Platform instance id, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_instance: Option<String>,
    /// Configuration of the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<PlatformConfiguration>,
}

/// TCB statuses one by one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TdxTcbClaims {
    /// The evaluation.
    #[serde(flatten)]
    pub evaluation: TcbEvaluation,
    /// The lower evaluation data number of TCB info and QE identity.
    pub evaluation_number: u32,
}

/// The collateral that was used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TdxCollateralClaims {
    /// When TCB info speaks.
    pub tcb_info: Window,
    /// When QE identity speaks.
    pub qe_identity: Window,
    /// Evaluation data number of TCB info.
    pub tcb_info_number: u32,
    /// Evaluation data number of QE identity.
    pub qe_identity_number: u32,
    /// When the root CRL speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_crl: Option<Window>,
    /// When the PCK CRL speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pck_crl: Option<Window>,
    /// Until when all of it speaks: the last second at which this result can be had again.
    pub valid_until: Timestamp,
    /// The numbers below which none of it may fall again.
    #[serde(skip)]
    pub floors: Arc<[Floor]>,
}

/// What was authenticated, for [`claims`].
pub(super) struct Authenticated<'a> {
    pub(super) quote: &'a TdxQuote,
    pub(super) pck: &'a PckCertificate,
    pub(super) collateral: &'a AuthenticCollateral,
    pub(super) seen: &'a SeenNumbers,
    pub(super) tcb: TcbEvaluation,
    pub(super) events: Option<NamedEvents>,
    pub(super) simulated: bool,
    pub(super) now: Timestamp,
}

/// Claims in the schema of every platform. `unchecked` has what collateral and log left open; the binding is the
/// caller's.
pub(super) fn claims(found: Authenticated<'_>) -> Claims {
    let body = &found.quote.body;
    let event_log = found.events.is_some();
    let mut events = found.events.clone().unwrap_or_default().into_iter();
    let names = ["rtmr0", "rtmr1", "rtmr2", "rtmr3"];
    let runtime = names.into_iter().zip(&body.info.rtmr).map(|(name, value)| {
        (name.to_owned(), RuntimeMeasurement { value: value.to_string(), events: events.next().unwrap_or_default() })
    });
    let info = found.collateral.tcb_info.info();
    Claims {
        hwmodel: "intel-tdx",
        platform: if found.simulated { Platform::Simulated } else { Platform::Bare },
        measurement: Measurements { launch: Some(body.info.mr_td), runtime: runtime.collect() },
        tcb: TcbClaims {
            status: Some(found.tcb.status),
            versions: versions(found.pck, body, &found.quote.qe_report),
            advisories: found.tcb.launch.advisories.clone(),
            evaluated_at: Some(Timestamp::from_unix(info.issue_date.0)),
        },
        debug: body.info.attributes.has(evidence_formats::tdx::TdAttribute::Debug),
        instance: Some(found.pck.ppid.to_string()),
        signer: None,
        host_data: Some(body.info.mr_config_id.to_string()),
        init_data: None,
        report_data: body.report_data.to_string(),
        unchecked: found.collateral.unchecked.iter().cloned().chain(unexplained(&found)).collect(),
        raw: RawClaims::Tdx(Box::new(raw(&found, event_log))),
    }
}

/// Registers that were extended and that no log explains: their values count, nothing is known of their content.
fn unexplained(found: &Authenticated<'_>) -> Option<Unchecked> {
    let extended = found.quote.body.info.rtmr.iter().any(|rtmr| !rtmr.is_zero());
    let without_log = found.events.is_none() && extended;
    without_log.then_some(Unchecked { what: "event_log", reason: "the evidence has no event log" })
}

fn raw(found: &Authenticated<'_>, event_log: bool) -> TdxClaims {
    let Authenticated { quote, pck, collateral, .. } = found;
    let body = &quote.body;
    let td15 = body.td15.as_ref();
    let extended = td15.and_then(|td15| td15.extended.as_ref());
    TdxClaims {
        quote_version: quote.version.number(),
        td_report: td_report(quote.version, body),
        attributes: body.info.attributes,
        attribute_names: body.info.attributes.set().map(|attribute| attribute.name()).collect(),
        xfam: body.info.xfam,
        tee_tcb_svn: body.tee_tcb_svn,
        mr_seam: body.mr_seam,
        mr_signer_seam: body.mr_signer_seam,
        seam_attributes: body.seam_attributes,
        mr_config_id: body.info.mr_config_id,
        mr_owner: body.info.mr_owner,
        mr_owner_config: body.info.mr_owner_config,
        current_tee_tcb_svn: td15.map(|td15| td15.current_tee_tcb_svn),
        mr_service_td: td15.map(|td15| td15.mr_service_td),
        initial_service_td: extended.map(|extended| extended.initial_service_td),
        current_service_td: extended.map(|extended| extended.current_service_td),
        td_id: extended.map(|extended| hex::encode(extended.td_id)),
        qe: TdxQeClaims {
            mr_enclave: hex::encode(quote.qe_report.mr_enclave),
            mr_signer: hex::encode(quote.qe_report.mr_signer),
            isv_prod_id: quote.qe_report.isv_prod_id,
            isv_svn: quote.qe_report.isv_svn,
            qe_id: hex::encode(quote.user_data.first_chunk::<16>().unwrap_or(&[0; 16])),
        },
        pck: pck_claims(pck),
        tcb: TdxTcbClaims {
            evaluation: found.tcb.clone(),
            evaluation_number: collateral
                .tcb_info
                .info()
                .evaluation_number
                .min(collateral.qe_identity.identity().evaluation_number),
        },
        collateral: collateral_claims(collateral, found.seen),
        trailing: quote.trailing,
        event_log,
        verified_at: found.now,
    }
}

const fn td_report(version: QuoteVersion, body: &TdQuoteBody) -> &'static str {
    match (version, &body.td15) {
        (_, None) => "1.0",
        (_, Some(td15)) if td15.extended.is_some() => "1.5-extended",
        (_, Some(_)) => "1.5",
    }
}

fn pck_claims(pck: &PckCertificate) -> TdxPckClaims {
    TdxPckClaims {
        ca: pck.ca,
        fmspc: pck.fmspc,
        pce_id: pck.pce_id,
        ppid: pck.ppid,
        pce_svn: pck.pce_svn,
        components: pck.components,
        sgx_type: pck.sgx_type,
        platform_instance: pck.platform_instance.map(hex::encode),
        configuration: pck.configuration,
    }
}

fn collateral_claims(collateral: &AuthenticCollateral, seen: &SeenNumbers) -> TdxCollateralClaims {
    let (info, identity) = (collateral.tcb_info.info(), collateral.qe_identity.identity());
    TdxCollateralClaims {
        tcb_info: Window::of(info.issue_date, info.next_update),
        qe_identity: Window::of(identity.issue_date, identity.next_update),
        tcb_info_number: info.evaluation_number,
        qe_identity_number: identity.evaluation_number,
        root_crl: collateral.root_crl,
        pck_crl: collateral.pck_crl,
        valid_until: collateral.window.until,
        floors: seen.floors(),
    }
}

fn versions(
    pck: &PckCertificate,
    body: &TdQuoteBody,
    qe: &EnclaveReport,
) -> BTreeMap<&'static str, BTreeMap<&'static str, u32>> {
    let module = |svn: &TeeTcbSvn| {
        let [_, _, microcode, ..] = svn.0;
        BTreeMap::from([
            ("module_svn", u32::from(svn.module_svn())),
            ("module_major", u32::from(svn.module_major())),
            ("late_microcode", u32::from(microcode)),
        ])
    };
    let mut versions = BTreeMap::from([("launch", module(&body.tee_tcb_svn))]);
    if let Some(td15) = &body.td15 {
        versions.insert("current", module(&td15.current_tee_tcb_svn));
    }
    let names = [
        "sgx01", "sgx02", "sgx03", "sgx04", "sgx05", "sgx06", "sgx07", "sgx08", "sgx09", "sgx10", "sgx11", "sgx12",
        "sgx13", "sgx14", "sgx15", "sgx16",
    ];
    let mut platform: BTreeMap<_, _> = names.into_iter().zip(pck.components.0.map(u32::from)).collect();
    platform.insert("pce", u32::from(pck.pce_svn.0));
    platform.insert("qe", u32::from(qe.isv_svn));
    versions.insert("platform", platform);
    versions
}
