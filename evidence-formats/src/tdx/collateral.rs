//! TCB info (structure version 3) and QE identity (structure version 2): what Intel says about platforms, TDX modules
//! and quoting enclaves.

use std::cmp::Reverse;

use serde::Deserialize;

use super::{CollateralError, DocumentCause, Fmspc, PceId, PceSvn, SignedDocument, SvnComponents};

/// Most TCB levels, module identities or advisories of one list.
const MAX_ENTRIES: usize = 128;

/// Seconds since 1970-01-01T00:00:00Z, from an ISO 8601 date-time in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcSeconds(pub i64);

impl<'de> Deserialize<'de> for UtcSeconds {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339)
            .ok()
            .filter(|_| text.ends_with('Z'))
            .ok_or_else(|| serde::de::Error::custom("expected a date-time in UTC"))?;
        Ok(Self(time.unix_timestamp()))
    }
}

/// Status of a TCB level as Intel publishes it. The relaunch statuses are computed, never published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LevelStatus {
    /// `UpToDate`.
    UpToDate,
    /// `SWHardeningNeeded`.
    SwHardeningNeeded,
    /// `ConfigurationNeeded`.
    ConfigurationNeeded,
    /// `ConfigurationAndSWHardeningNeeded`.
    ConfigurationAndSwHardeningNeeded,
    /// `OutOfDate`.
    OutOfDate,
    /// `OutOfDateConfigurationNeeded`.
    OutOfDateConfigurationNeeded,
    /// `Revoked`.
    Revoked,
}

impl LevelStatus {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "UpToDate" => Some(Self::UpToDate),
            "SWHardeningNeeded" => Some(Self::SwHardeningNeeded),
            "ConfigurationNeeded" => Some(Self::ConfigurationNeeded),
            "ConfigurationAndSWHardeningNeeded" => Some(Self::ConfigurationAndSwHardeningNeeded),
            "OutOfDate" => Some(Self::OutOfDate),
            "OutOfDateConfigurationNeeded" => Some(Self::OutOfDateConfigurationNeeded),
            "Revoked" => Some(Self::Revoked),
            _ => None,
        }
    }

    /// A TDX module is current, old or revoked; it has no configuration (PCS API v4, TDX module TCB levels).
    const fn fits_module(self) -> bool {
        match self {
            Self::UpToDate | Self::OutOfDate | Self::Revoked => true,
            Self::SwHardeningNeeded
            | Self::ConfigurationNeeded
            | Self::ConfigurationAndSwHardeningNeeded
            | Self::OutOfDateConfigurationNeeded => false,
        }
    }

    /// A quoting enclave needs no software hardening of its own (PCS API v4, QE identity).
    const fn fits_enclave(self) -> bool {
        match self {
            Self::UpToDate
            | Self::ConfigurationNeeded
            | Self::OutOfDate
            | Self::OutOfDateConfigurationNeeded
            | Self::Revoked => true,
            Self::SwHardeningNeeded | Self::ConfigurationAndSwHardeningNeeded => false,
        }
    }
}

/// One level of a TDX module or an enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsvLevel {
    /// Least security version of this level.
    pub isv_svn: u16,
    /// Date of the level.
    pub date: UtcSeconds,
    /// Its status.
    pub status: LevelStatus,
    /// Advisories that apply to it. Free text: not every id is an Intel-SA number.
    pub advisories: Vec<String>,
}

/// What a genuine TDX module looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxModule {
    /// MRSIGNERSEAM.
    pub mr_signer: [u8; 48],
    /// SEAMATTRIBUTES under the mask.
    pub attributes: [u8; 8],
    /// Bits of SEAMATTRIBUTES that count.
    pub attributes_mask: [u8; 8],
}

/// A TDX module of one major version, with its levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleIdentity {
    /// Major version: the two hex digits of `TDX_03`.
    pub major: u8,
    /// What it looks like.
    pub module: TdxModule,
    /// Levels from the highest security version to the lowest.
    pub levels: Vec<IsvLevel>,
}

/// One level of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbLevel {
    /// Least components of the PCK certificate.
    pub sgx: SvnComponents,
    /// Least PCESVN of the PCK certificate.
    pub pce_svn: PceSvn,
    /// Least components of TEE_TCB_SVN.
    pub tdx: SvnComponents,
    /// Date of the level.
    pub date: UtcSeconds,
    /// Its status.
    pub status: LevelStatus,
    /// Advisories that apply to it.
    pub advisories: Vec<String>,
}

/// TCB info for TDX (PCS API v4, "TDX TCB info", structure version 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbInfo {
    /// Valid from, inclusive.
    pub issue_date: UtcSeconds,
    /// Valid until, inclusive.
    pub next_update: UtcSeconds,
    /// Processors that it is about.
    pub fmspc: Fmspc,
    /// Provisioning certification enclave that it is about.
    pub pce_id: PceId,
    /// Number of the TCB recovery that it judges by.
    pub evaluation_number: u32,
    /// The TDX 1.0 module.
    pub module: TdxModule,
    /// TDX 1.5 and later modules.
    pub module_identities: Vec<ModuleIdentity>,
    /// Levels in descending order of components, PCESVN and TDX components.
    pub levels: Vec<TcbLevel>,
}

/// Identity of the TD quoting enclave (PCS API v4, "TD QE identity", structure version 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QeIdentity {
    /// Valid from, inclusive.
    pub issue_date: UtcSeconds,
    /// Valid until, inclusive.
    pub next_update: UtcSeconds,
    /// Number of the TCB recovery that it judges by.
    pub evaluation_number: u32,
    /// MISCSELECT under the mask.
    pub misc_select: [u8; 4],
    /// Bits of MISCSELECT that count.
    pub misc_select_mask: [u8; 4],
    /// ATTRIBUTES under the mask.
    pub attributes: [u8; 16],
    /// Bits of ATTRIBUTES that count.
    pub attributes_mask: [u8; 16],
    /// MRSIGNER.
    pub mr_signer: [u8; 32],
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// Levels from the highest security version to the lowest.
    pub levels: Vec<IsvLevel>,
}

/// Hex of a fixed-size value, of either case.
struct Hex<const N: usize>([u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(&text, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTcbInfo {
    issue_date: UtcSeconds,
    next_update: UtcSeconds,
    fmspc: Hex<6>,
    pce_id: Hex<2>,
    tcb_type: u32,
    tcb_evaluation_data_number: u32,
    tdx_module: WireModule,
    #[serde(default)]
    tdx_module_identities: Vec<WireModuleIdentity>,
    tcb_levels: Vec<WireTcbLevel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireModule {
    mrsigner: Hex<48>,
    attributes: Hex<8>,
    attributes_mask: Hex<8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireModuleIdentity {
    id: String,
    mrsigner: Hex<48>,
    attributes: Hex<8>,
    attributes_mask: Hex<8>,
    tcb_levels: Vec<WireIsvLevel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIsvLevel {
    tcb: WireIsvSvn,
    tcb_date: UtcSeconds,
    tcb_status: String,
    #[serde(default, rename = "advisoryIDs")]
    advisories: Vec<String>,
}

#[derive(Deserialize)]
struct WireIsvSvn {
    isvsvn: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTcbLevel {
    tcb: WireTcb,
    tcb_date: UtcSeconds,
    tcb_status: String,
    #[serde(default, rename = "advisoryIDs")]
    advisories: Vec<String>,
}

#[derive(Deserialize)]
struct WireTcb {
    sgxtcbcomponents: [WireComponent; 16],
    pcesvn: u16,
    tdxtcbcomponents: [WireComponent; 16],
}

#[derive(Deserialize)]
struct WireComponent {
    svn: u8,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireQeIdentity {
    issue_date: UtcSeconds,
    next_update: UtcSeconds,
    tcb_evaluation_data_number: u32,
    miscselect: Hex<4>,
    miscselect_mask: Hex<4>,
    attributes: Hex<16>,
    attributes_mask: Hex<16>,
    mrsigner: Hex<32>,
    isvprodid: u16,
    tcb_levels: Vec<WireIsvLevel>,
}

impl TcbInfo {
    /// Reads the body of a TCB info document for TDX.
    ///
    /// # Errors
    /// Another id than `TDX`, another version than 3, another `tcbType` than 0; a level without 16 components of either
    /// kind; no or duplicate levels; a status without a known meaning.
    pub fn parse(document: &SignedDocument) -> Result<Self, CollateralError> {
        document.require_head("TDX", 3)?;
        Self::from_wire(document.read()?).map_err(|cause| document.error(cause))
    }

    fn from_wire(wire: WireTcbInfo) -> Result<Self, DocumentCause> {
        if wire.tcb_type != 0 {
            return Err(DocumentCause::TcbType { found: wire.tcb_type });
        }
        require_entries(wire.tcb_levels.len())?;
        let mut levels = wire.tcb_levels.into_iter().map(TcbLevel::from_wire).collect::<Result<Vec<_>, _>>()?;
        // PCS sorts them; the order of trust must not depend on it (rules of TCB level selection).
        levels.sort_by_key(|level| Reverse(level.order()));
        require_distinct(&levels, TcbLevel::order)?;
        if wire.tdx_module_identities.len() > MAX_ENTRIES {
            return Err(DocumentCause::Member("at most 128 module identities"));
        }
        let mut module_identities =
            wire.tdx_module_identities.into_iter().map(ModuleIdentity::from_wire).collect::<Result<Vec<_>, _>>()?;
        module_identities.sort_by_key(|identity| identity.major);
        require_distinct(&module_identities, |identity| identity.major)?;
        Ok(Self {
            issue_date: wire.issue_date,
            next_update: wire.next_update,
            fmspc: Fmspc(wire.fmspc.0),
            pce_id: PceId(wire.pce_id.0),
            evaluation_number: wire.tcb_evaluation_data_number,
            module: wire.tdx_module.into(),
            module_identities,
            levels,
        })
    }
}

impl TcbLevel {
    fn from_wire(wire: WireTcbLevel) -> Result<Self, DocumentCause> {
        require_advisories(&wire.advisories)?;
        Ok(Self {
            sgx: SvnComponents(wire.tcb.sgxtcbcomponents.map(|component| component.svn)),
            pce_svn: PceSvn(wire.tcb.pcesvn),
            tdx: SvnComponents(wire.tcb.tdxtcbcomponents.map(|component| component.svn)),
            date: wire.tcb_date,
            status: LevelStatus::from_name(&wire.tcb_status).ok_or(DocumentCause::Status)?,
            advisories: wire.advisories,
        })
    }

    const fn order(&self) -> (SvnComponents, PceSvn, SvnComponents) {
        (self.sgx, self.pce_svn, self.tdx)
    }
}

impl From<WireModule> for TdxModule {
    fn from(wire: WireModule) -> Self {
        Self { mr_signer: wire.mrsigner.0, attributes: wire.attributes.0, attributes_mask: wire.attributes_mask.0 }
    }
}

impl ModuleIdentity {
    fn from_wire(wire: WireModuleIdentity) -> Result<Self, DocumentCause> {
        let mut major = [0];
        wire.id
            .strip_prefix("TDX_")
            .and_then(|digits| hex::decode_to_slice(digits, &mut major).ok())
            .ok_or(DocumentCause::Member("a module identity of the form TDX_03"))?;
        let [major] = major;
        Ok(Self {
            major,
            module: TdxModule {
                mr_signer: wire.mrsigner.0,
                attributes: wire.attributes.0,
                attributes_mask: wire.attributes_mask.0,
            },
            levels: isv_levels(wire.tcb_levels, LevelStatus::fits_module)?,
        })
    }
}

impl QeIdentity {
    /// Reads the body of a TD QE identity document.
    ///
    /// # Errors
    /// Another id than `TD_QE`, another version than 2; no or duplicate levels; a status without a known meaning.
    pub fn parse(document: &SignedDocument) -> Result<Self, CollateralError> {
        document.require_head("TD_QE", 2)?;
        let wire: WireQeIdentity = document.read()?;
        Ok(Self {
            issue_date: wire.issue_date,
            next_update: wire.next_update,
            evaluation_number: wire.tcb_evaluation_data_number,
            misc_select: wire.miscselect.0,
            misc_select_mask: wire.miscselect_mask.0,
            attributes: wire.attributes.0,
            attributes_mask: wire.attributes_mask.0,
            mr_signer: wire.mrsigner.0,
            isv_prod_id: wire.isvprodid,
            levels: isv_levels(wire.tcb_levels, LevelStatus::fits_enclave).map_err(|cause| document.error(cause))?,
        })
    }
}

fn isv_levels(wire: Vec<WireIsvLevel>, fits: fn(LevelStatus) -> bool) -> Result<Vec<IsvLevel>, DocumentCause> {
    require_entries(wire.len())?;
    let mut levels = wire.into_iter().map(|level| isv_level(level, fits)).collect::<Result<Vec<_>, _>>()?;
    levels.sort_by_key(|level| Reverse(level.isv_svn));
    require_distinct(&levels, |level| level.isv_svn)?;
    Ok(levels)
}

fn isv_level(wire: WireIsvLevel, fits: fn(LevelStatus) -> bool) -> Result<IsvLevel, DocumentCause> {
    require_advisories(&wire.advisories)?;
    let status =
        LevelStatus::from_name(&wire.tcb_status).filter(|status| fits(*status)).ok_or(DocumentCause::Status)?;
    Ok(IsvLevel { isv_svn: wire.tcb.isvsvn, date: wire.tcb_date, status, advisories: wire.advisories })
}

const fn require_entries(count: usize) -> Result<(), DocumentCause> {
    if count == 0 || count > MAX_ENTRIES {
        return Err(DocumentCause::Member("1 to 128 TCB levels"));
    }
    Ok(())
}

fn require_advisories(advisories: &[String]) -> Result<(), DocumentCause> {
    if advisories.len() > MAX_ENTRIES || advisories.iter().any(|id| id.is_empty() || id.len() > 64) {
        return Err(DocumentCause::Member("at most 128 advisory ids of 1 to 64 bytes"));
    }
    Ok(())
}

/// Refuses two equal keys in a sorted list.
fn require_distinct<T, K: PartialEq>(sorted: &[T], key: impl Fn(&T) -> K) -> Result<(), DocumentCause> {
    if sorted.iter().zip(sorted.iter().skip(1)).any(|(one, next)| key(one) == key(next)) {
        return Err(DocumentCause::Member("distinct levels and module identities"));
    }
    Ok(())
}
