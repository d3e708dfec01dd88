//! `[baseline.tdx]`: typed rules over an authenticated quote. Every default is strict; every relaxation has a name and
//! shows in the results that it changed.

use evidence_formats::{
    code::Code,
    tdx::{Fmspc, MrConfigId, MrOwner, MrOwnerConfig, MrSeam, MrServiceTd, Ppid, TdAttribute, Trailing, Xfam},
};
use serde::Deserialize;

use super::claims::TdxClaims;
use crate::{InitDataRule, TcbStatus, Timestamp};

const SECONDS_PER_DAY: i64 = 86_400;

/// Rules for TDX evidence.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TdxBaseline {
    /// Accepts a TD that its host can debug.
    pub allow_debug: bool,
    /// Accepts a TD without SEPT_VE_DISABLE, whose pages the host can take away without being noticed at once (older
    /// paravisors on Azure).
    pub allow_sept_ve: bool,
    /// Attributes that are accepted beside the harmless ones (`lass`, `sept_ve_disable`, `pks`, `kl`, `perfmon`), for
    /// example `migratable`. `debug` is only accepted by `allow_debug`.
    pub allow_attributes: Vec<TdAttribute>,
    /// Attributes that are refused although they are harmless as such, for example `perfmon`.
    pub refuse_attributes: Vec<TdAttribute>,
    /// XFAM bits that may be set, in hex; absent: those of known features.
    #[serde(deserialize_with = "hex_mask")]
    pub xfam_mask: Option<u64>,
    /// TDX modules that are accepted; absent: every one that TCB info describes.
    pub mr_seam: Option<Vec<MrSeam>>,
    /// Service TDs that may be bound; without any, none may.
    pub mr_service_td: Vec<MrServiceTd>,
    /// Refuses version 4 quotes, which cannot say whether a service TD is bound.
    pub require_quote_v5: bool,
    /// Values of MRCONFIGID that are accepted; absent: reference values and policy decide.
    pub mr_config_id: Option<Vec<MrConfigId>>,
    /// Values of MROWNER that are accepted; absent: reference values and policy decide.
    pub mr_owner: Option<Vec<MrOwner>>,
    /// Values of MROWNERCONFIG that are accepted; absent: reference values and policy decide.
    pub mr_owner_config: Option<Vec<MrOwnerConfig>>,
    /// Processors that are accepted, by FMSPC in hex; absent: every kind that TCB info describes.
    pub fmspc: Option<Vec<Fmspc>>,
    /// Platforms that are accepted, by PPID or platform instance id in hex; absent: every one. A genuine chain proves a
    /// platform, not whose it is.
    pub platforms: Option<Vec<Ppid>>,
    /// Platforms that are refused, likewise.
    pub denied_platforms: Vec<Ppid>,
    /// Whether init-data must be there: `"if_present"` (default) or `"require"`. What is there must be what MRCONFIGID
    /// commits to, always.
    pub init_data: InitDataRule,
    /// TCB statuses that are accepted beside `UpToDate`, by name, optionally for a while.
    pub accept_tcb: Vec<AcceptedTcb>,
    /// Advisories that an accepted status may come with; absent: all.
    pub allow_advisories: Option<Vec<String>>,
    /// Advisories that are refused whatever the status.
    pub refuse_advisories: Vec<String>,
    /// Least evaluation data number of the collateral; absent: the one that `built_in_floor` gives.
    pub min_evaluation_number: Option<u32>,
    /// Most days since TCB info and QE identity were issued; absent: their nextUpdate alone counts.
    pub max_collateral_age_days: Option<u32>,
    /// Accepts data that is not padding after the quote. Nobody signed it.
    pub allow_trailing_data: bool,
}

/// A TCB status that is accepted, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WireAccepted")]
pub struct AcceptedTcb {
    /// The status. Never `Revoked`.
    pub status: TcbStatus,
    /// Until when, included.
    pub until: Option<Timestamp>,
    /// For how many days after the date of the TCB level.
    pub days_after_tcb_date: Option<u32>,
}

/// `"OutOfDate"` or `{ status = "OutOfDate", days_after_tcb_date = 30 }`.
#[derive(Deserialize)]
#[serde(untagged)]
enum WireAccepted {
    Name(TcbStatus),
    Limited(LimitedStatus),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitedStatus {
    status: TcbStatus,
    until: Option<Timestamp>,
    days_after_tcb_date: Option<u32>,
}

impl TryFrom<WireAccepted> for AcceptedTcb {
    type Error = &'static str;

    fn try_from(wire: WireAccepted) -> Result<Self, Self::Error> {
        let LimitedStatus { status, until, days_after_tcb_date } = match wire {
            WireAccepted::Name(status) => LimitedStatus { status, until: None, days_after_tcb_date: None },
            WireAccepted::Limited(limited) => limited,
        };
        if status == TcbStatus::Revoked {
            return Err("a revoked TCB cannot be accepted");
        }
        Ok(Self { status, until, days_after_tcb_date })
    }
}

impl AcceptedTcb {
    /// A status that is accepted without limit.
    ///
    /// # Errors
    /// For `Revoked`, which is never accepted.
    pub fn unlimited(status: TcbStatus) -> Result<Self, &'static str> {
        WireAccepted::Name(status).try_into()
    }

    fn covers(&self, status: TcbStatus, tcb_date: Timestamp, now: Timestamp) -> bool {
        let grace_ends = |days: u32| tcb_date.plus_seconds(i64::from(days).saturating_mul(SECONDS_PER_DAY));
        self.status == status
            && self.until.is_none_or(|until| now <= until)
            && self.days_after_tcb_date.is_none_or(|days| now <= grace_ends(days))
    }
}

/// How an attribute is judged by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeRule {
    /// May be set.
    Harmless,
    /// Must not be set unless allowed by name; the code says which.
    Refused(&'static str),
}

impl AttributeRule {
    /// The default rule (TDX Module ABI: the TUD group makes a TD untrusted).
    #[must_use]
    pub const fn of(attribute: TdAttribute) -> Self {
        match attribute {
            TdAttribute::SeptVeDisable
            | TdAttribute::Lass
            | TdAttribute::Pks
            | TdAttribute::Kl
            | TdAttribute::Perfmon => Self::Harmless,
            TdAttribute::Debug => Self::Refused("baseline.tdx.debug"),
            TdAttribute::HgsPlusProfiling | TdAttribute::PerfProfiling | TdAttribute::PmtProfiling => {
                Self::Refused("baseline.tdx.profiling")
            }
            TdAttribute::Migratable => Self::Refused("baseline.tdx.migratable"),
            TdAttribute::ServtdExt => Self::Refused("baseline.tdx.servtd_ext"),
            TdAttribute::Icssd | TdAttribute::Tpa => Self::Refused("baseline.tdx.attributes"),
        }
    }
}

/// What the rules found: `(code, expected, actual)` of each broken rule, and the names of the relaxations that counted.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) violations: Vec<(Code, String, String)>,
    pub(crate) relaxed: Vec<String>,
}

impl Findings {
    fn refuse(&mut self, code: &'static str, expected: impl Into<String>, actual: impl Into<String>) {
        self.violations.push((Code::new(code), expected.into(), actual.into()));
    }

    /// A rule that is broken: refused, or listed as relaxed by `name`.
    fn refuse_unless(&mut self, allowed: bool, name: &str, code: &'static str, expected: &str, actual: &str) {
        if allowed {
            self.relaxed.push(name.to_owned());
        } else {
            self.refuse(code, expected, actual);
        }
    }
}

impl TdxBaseline {
    /// Judges the claims of a quote, in a fixed order: attributes, features, modules, identities, platform, TCB, collateral.
    pub(crate) fn judge(&self, claims: &TdxClaims) -> Findings {
        let mut findings = Findings::default();
        self.judge_attributes(claims, &mut findings);
        self.judge_xfam(claims, &mut findings);
        self.judge_modules(claims, &mut findings);
        self.judge_identities(claims, &mut findings);
        self.judge_platform(claims, &mut findings);
        self.judge_tcb(claims, &mut findings);
        self.judge_collateral(claims, &mut findings);
        if let Trailing::Data { length } = claims.trailing {
            let actual = format!("{length} bytes");
            findings.refuse_unless(
                self.allow_trailing_data,
                "tdx.allow_trailing_data",
                "baseline.tdx.trailing",
                "nothing but zeros after the quote",
                &actual,
            );
        }
        findings
    }

    fn judge_attributes(&self, claims: &TdxClaims, findings: &mut Findings) {
        let attributes = claims.attributes;
        for attribute in attributes.set() {
            let name = attribute.name();
            match AttributeRule::of(attribute) {
                AttributeRule::Refused(code) => {
                    let debug = attribute == TdAttribute::Debug;
                    let listed = !debug && self.allow_attributes.contains(&attribute);
                    let relaxation =
                        if debug { "tdx.allow_debug".to_owned() } else { format!("tdx.allow_attributes.{name}") };
                    let allowed = listed || (debug && self.allow_debug);
                    findings.refuse_unless(allowed, &relaxation, code, &format!("a TD without {name}"), name);
                }
                AttributeRule::Harmless if self.refuse_attributes.contains(&attribute) => {
                    findings.refuse("baseline.tdx.attributes", format!("a TD without {name}"), name);
                }
                AttributeRule::Harmless => {}
            }
        }
        if let Err(unknown) = attributes.require_defined() {
            findings.refuse(
                "baseline.tdx.reserved_attributes",
                "reserved attribute bits to be zero",
                format!("{:#018x}", unknown.bits),
            );
        }
        if !attributes.has(TdAttribute::SeptVeDisable) {
            findings.refuse_unless(
                self.allow_sept_ve,
                "tdx.allow_sept_ve",
                "baseline.tdx.sept_ve_disable",
                "a TD with sept_ve_disable",
                "off",
            );
        }
    }

    fn judge_xfam(&self, claims: &TdxClaims, findings: &mut Findings) {
        let mask = self.xfam_mask.unwrap_or(Xfam::KNOWN);
        let Xfam(xfam) = claims.xfam;
        if xfam & Xfam::REQUIRED != Xfam::REQUIRED || xfam & !mask & !Xfam::KNOWN != 0 {
            findings.refuse(
                "baseline.tdx.xfam",
                format!("bits 0x3 and others within {mask:#x}"),
                claims.xfam.to_string(),
            );
        } else if xfam & !mask != 0 {
            findings.refuse("baseline.tdx.xfam", format!("features within {mask:#x}"), claims.xfam.to_string());
        } else if xfam & !Xfam::KNOWN != 0 {
            findings.relaxed.push("tdx.xfam_mask".to_owned());
        }
    }

    fn judge_modules(&self, claims: &TdxClaims, findings: &mut Findings) {
        require_listed("baseline.tdx.mr_seam", self.mr_seam.as_deref(), &claims.mr_seam, findings);
        let service_tds = [claims.mr_service_td, claims.initial_service_td, claims.current_service_td];
        for service_td in service_tds.into_iter().flatten().filter(|service_td| !service_td.is_zero()) {
            findings.refuse_unless(
                self.mr_service_td.contains(&service_td),
                "tdx.mr_service_td",
                "baseline.tdx.service_td",
                "no service TD, or one that is listed",
                &service_td.to_string(),
            );
        }
        if self.require_quote_v5 && claims.mr_service_td.is_none() {
            findings.refuse("baseline.tdx.quote_version", "a quote that tells its service TD", claims.td_report);
        }
    }

    fn judge_identities(&self, claims: &TdxClaims, findings: &mut Findings) {
        require_listed("baseline.tdx.mr_config_id", self.mr_config_id.as_deref(), &claims.mr_config_id, findings);
        require_listed("baseline.tdx.mr_owner", self.mr_owner.as_deref(), &claims.mr_owner, findings);
        require_listed(
            "baseline.tdx.mr_owner_config",
            self.mr_owner_config.as_deref(),
            &claims.mr_owner_config,
            findings,
        );
    }

    /// Which platform it is: what its PCK certificate says.
    fn judge_platform(&self, claims: &TdxClaims, findings: &mut Findings) {
        let pck = &claims.pck;
        require_listed("baseline.tdx.fmspc", self.fmspc.as_deref(), &pck.fmspc, findings);
        let is = |pin: &Ppid| *pin == pck.ppid || pck.platform_instance.as_ref() == Some(&pin.to_string());
        if self.denied_platforms.iter().any(is) {
            findings.refuse("baseline.tdx.platform_denied", "a platform that is not denied", pck.ppid.to_string());
        }
        if self.platforms.as_ref().is_some_and(|platforms| !platforms.iter().any(is)) {
            let expected = "a platform of the allowed ones";
            findings.refuse("baseline.tdx.platform_not_allowed", expected, pck.ppid.to_string());
        }
    }

    fn judge_tcb(&self, claims: &TdxClaims, findings: &mut Findings) {
        let evaluation = &claims.tcb.evaluation;
        let date = Timestamp::from_unix(evaluation.launch.date.0);
        self.judge_status("baseline.tdx.tcb_status", evaluation.status, date, claims.verified_at, findings);
        if let Some(current) = &evaluation.current {
            let date = Timestamp::from_unix(current.date.0);
            self.judge_status("baseline.tdx.current_tcb_status", current.status, date, claims.verified_at, findings);
        }
        if evaluation.current_below_launch {
            findings.refuse("baseline.tdx.current_tcb_rollback", "a TCB not below that of the launch", "below");
        }
        let current = evaluation.current.iter().flat_map(|current| &current.advisories);
        let mut advisories: Vec<&String> = evaluation.launch.advisories.iter().chain(current).collect();
        advisories.sort();
        advisories.dedup();
        for advisory in advisories {
            let allowed = self.allow_advisories.as_ref().is_none_or(|allowed| allowed.contains(advisory));
            if !allowed || self.refuse_advisories.contains(advisory) {
                findings.refuse("baseline.tdx.advisory", "advisories that are allowed", advisory);
            }
        }
    }

    fn judge_status(
        &self,
        code: &'static str,
        status: TcbStatus,
        date: Timestamp,
        now: Timestamp,
        findings: &mut Findings,
    ) {
        match status {
            TcbStatus::UpToDate => {}
            TcbStatus::Revoked => findings.refuse("baseline.tdx.tcb_revoked", "a TCB that is not revoked", "Revoked"),
            TcbStatus::SWHardeningNeeded
            | TcbStatus::ConfigurationNeeded
            | TcbStatus::ConfigurationAndSWHardeningNeeded
            | TcbStatus::TDRelaunchAdvised
            | TcbStatus::TDRelaunchAdvisedConfigurationNeeded
            | TcbStatus::OutOfDate
            | TcbStatus::OutOfDateConfigurationNeeded => {
                let accepted = self.accept_tcb.iter().any(|accepted| accepted.covers(status, date, now));
                let relaxation = format!("tdx.accept_tcb.{status:?}");
                findings.refuse_unless(
                    accepted,
                    &relaxation,
                    code,
                    "UpToDate or a status that is accepted now",
                    &format!("{status:?} (TCB date {date})"),
                );
            }
        }
    }

    fn judge_collateral(&self, claims: &TdxClaims, findings: &mut Findings) {
        let number = claims.tcb.evaluation_number;
        let built_in = built_in_floor(claims.verified_at);
        let floor = self.min_evaluation_number.unwrap_or(built_in);
        if number < floor {
            findings.refuse("baseline.tdx.evaluation_number", format!("at least {floor}"), number.to_string());
        } else if number < built_in {
            findings.relaxed.push("tdx.min_evaluation_number".to_owned());
        }
        if let Some(days) = self.max_collateral_age_days {
            let age = i64::from(days).saturating_mul(SECONDS_PER_DAY);
            let oldest = claims.collateral.tcb_info.from.min(claims.collateral.qe_identity.from);
            if claims.verified_at > oldest.plus_seconds(age) {
                let expected = format!("collateral of at most {days} days");
                findings.refuse("baseline.tdx.collateral_age", expected, format!("issued {oldest}"));
            }
        }
    }
}

/// The least evaluation data number that is accepted at `now` without being named. 17 was in force from autumn 2024: from
/// 2025 on, what is judged by an older number is judged by what was known before.
fn built_in_floor(now: Timestamp) -> u32 {
    const FROM_2025: Timestamp = Timestamp::from_unix(1_735_689_600);
    if now < FROM_2025 { 0 } else { 17 }
}

fn require_listed<T: PartialEq + ToString>(
    code: &'static str,
    listed: Option<&[T]>,
    actual: &T,
    findings: &mut Findings,
) {
    if listed.is_some_and(|listed| !listed.contains(actual)) {
        findings.refuse(code, "a value that is listed", actual.to_string());
    }
}

fn hex_mask<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.strip_prefix("0x").ok_or_else(|| serde::de::Error::custom("expected a mask such as 0x61ae7"))?;
    u64::from_str_radix(digits, 16).map(Some).map_err(serde::de::Error::custom)
}
