//! Compares a quote with authentic collateral: TDX module, quoting enclave, TCB level, convergence and relaunch.

use evidence_formats::{
    code::{Code, Coded},
    tdx::{
        EnclaveReport, IsvLevel, LevelStatus, ModuleIdentity, QeIdentity, SvnComponents, TcbInfo, TcbLevel,
        TdQuoteBody, TdxModule, TeeTcbSvn, UtcSeconds,
    },
};
use serde::{Serialize, Serializer};
use thiserror::Error;

use super::{
    certs::PckCertificate,
    collateral::{AuthenticQeIdentity, AuthenticTcbInfo},
};
use crate::{TcbStatus, Timestamp};

/// The quote is about a platform, module or enclave that the collateral does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TcbError {
    /// The TDX module is not one that Intel lists.
    #[error("expected a TDX module that TCB info describes (major version {major})")]
    Module {
        /// TEE_TCB_SVN component 1.
        major: u8,
    },
    /// The quoting enclave is not Intel's TD quoting enclave.
    #[error("expected the TD quoting enclave that QE identity describes")]
    Enclave,
    /// The versions are below every level of the platform, the module or the enclave.
    #[error("expected versions that some TCB level covers")]
    NotSupported,
}

impl Coded for TcbError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Module { .. } => "endorsement.tdx.module_identity",
            Self::Enclave => "endorsement.tdx.qe_identity_mismatch",
            Self::NotSupported => "endorsement.tdx.tcb_not_supported",
        })
    }
}

/// One evaluation of a TCB: the three levels and what they converge to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConvergedTcb {
    /// The converged status.
    pub status: TcbStatus,
    /// Status of the platform's level (processor and microcode).
    pub platform: TcbStatus,
    /// Status of the TDX module's level; absent for TDX 1.0, whose module is part of the platform's level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<TcbStatus>,
    /// Status of the quoting enclave's level.
    pub enclave: TcbStatus,
    /// Oldest date of the levels.
    #[serde(serialize_with = "as_timestamp")]
    pub date: UtcSeconds,
    /// Advisories of all levels, sorted.
    pub advisories: Vec<String>,
}

fn as_timestamp<S: Serializer>(date: &UtcSeconds, serializer: S) -> Result<S::Ok, S::Error> {
    Timestamp::from_unix(date.0).serialize(serializer)
}

/// The TCB of a TD: at its launch and, from TD report 1.5 on, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TcbEvaluation {
    /// What counts: the launch status, or that a relaunch would improve it.
    pub status: TcbStatus,
    /// By TEE_TCB_SVN.
    pub launch: ConvergedTcb,
    /// By TEE_TCB_SVN_2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<ConvergedTcb>,
    /// Whether a component of TEE_TCB_SVN_2 is lower than at launch, which no update does.
    pub current_below_launch: bool,
}

impl TcbEvaluation {
    /// Evaluates the TCB of `body` on the platform of `pck`.
    ///
    /// # Errors
    /// [`TcbError`] when the collateral has no statement about the module, the enclave or the versions.
    pub(crate) fn of(
        pck: &PckCertificate,
        body: &TdQuoteBody,
        qe_report: &EnclaveReport,
        tcb_info: &AuthenticTcbInfo,
        qe_identity: &AuthenticQeIdentity,
    ) -> Result<Self, TcbError> {
        let enclave = enclave_level(qe_report, qe_identity.identity())?;
        let evaluate = |svn: &TeeTcbSvn| converge_for(pck, body, svn, tcb_info.info(), enclave);
        let launch = evaluate(&body.tee_tcb_svn)?;
        let current_svn = body.td15.as_ref().map(|td15| &td15.current_tee_tcb_svn);
        let current = current_svn.map(evaluate).transpose()?;
        Ok(Self {
            status: current.as_ref().map_or(launch.status, |current| relaunch(launch.status, current.status)),
            current_below_launch: current_svn.is_some_and(|svn| svn.is_below(&body.tee_tcb_svn)),
            launch,
            current,
        })
    }
}

fn converge_for(
    pck: &PckCertificate,
    body: &TdQuoteBody,
    svn: &TeeTcbSvn,
    info: &TcbInfo,
    enclave: &IsvLevel,
) -> Result<ConvergedTcb, TcbError> {
    let module = module_level(body, svn, info)?;
    let platform = platform_level(pck, svn, &info.levels)?;
    let dates = [Some(platform.date), module.map(|level| level.date), Some(enclave.date)];
    let module_advisories = module.map(|level| level.advisories.as_slice()).unwrap_or_default();
    let mut advisories = [platform.advisories.as_slice(), module_advisories, &enclave.advisories].concat();
    advisories.sort();
    advisories.dedup();
    Ok(ConvergedTcb {
        status: converge(platform.status, module.map(|level| level.status), enclave.status),
        platform: published(platform.status),
        module: module.map(|level| published(level.status)),
        enclave: published(enclave.status),
        date: dates.into_iter().flatten().min().unwrap_or(platform.date),
        advisories,
    })
}

/// Finds the module's identity, compares it and, from TDX 1.5 on, finds the module's level (DCAP QVL, TDX module
/// identity).
fn module_level<'a>(body: &TdQuoteBody, svn: &TeeTcbSvn, info: &'a TcbInfo) -> Result<Option<&'a IsvLevel>, TcbError> {
    let unknown = TcbError::Module { major: svn.module_major() };
    if svn.module_major() == 0 {
        require_module(body, &info.module).ok_or(unknown)?;
        return Ok(None);
    }
    let names_major = |identity: &&ModuleIdentity| identity.major == svn.module_major();
    let identity = info.module_identities.iter().find(names_major).ok_or(unknown)?;
    require_module(body, &identity.module).ok_or(unknown)?;
    isv_level(&identity.levels, u16::from(svn.module_svn())).map(Some)
}

/// SEAMATTRIBUTES must be zero whatever the mask says, and equal to the identity's under the mask.
fn require_module(body: &TdQuoteBody, module: &TdxModule) -> Option<()> {
    let signer = *body.mr_signer_seam.as_bytes() == module.mr_signer;
    let attributes = masked_equal(body.seam_attributes.as_bytes(), &module.attributes, &module.attributes_mask);
    (signer && attributes && body.seam_attributes.is_zero()).then_some(())
}

fn masked_equal<const N: usize>(actual: &[u8; N], expected: &[u8; N], mask: &[u8; N]) -> bool {
    actual.iter().zip(expected).zip(mask).all(|((actual, expected), mask)| actual & mask == expected & mask)
}

/// Compares the QE report with the QE identity and finds its level.
fn enclave_level<'a>(report: &EnclaveReport, identity: &'a QeIdentity) -> Result<&'a IsvLevel, TcbError> {
    let same = masked_equal(&report.misc_select, &identity.misc_select, &identity.misc_select_mask)
        && masked_equal(&report.attributes, &identity.attributes, &identity.attributes_mask)
        && report.mr_signer == identity.mr_signer
        && report.isv_prod_id == identity.isv_prod_id;
    if !same {
        return Err(TcbError::Enclave);
    }
    isv_level(&identity.levels, report.isv_svn)
}

/// Levels are in descending order: the first that is reached counts.
fn isv_level(levels: &[IsvLevel], isv_svn: u16) -> Result<&IsvLevel, TcbError> {
    levels.iter().find(|level| level.isv_svn <= isv_svn).ok_or(TcbError::NotSupported)
}

/// The first level whose every component the platform reaches. From TDX 1.5 on the first two TDX components are the
/// module's own version, which its identity judges.
fn platform_level<'a>(pck: &PckCertificate, svn: &TeeTcbSvn, levels: &'a [TcbLevel]) -> Result<&'a TcbLevel, TcbError> {
    let own = if svn.module_major() == 0 { 0 } else { 2 };
    let reaches_tdx =
        |minimum: &SvnComponents| svn.0.iter().zip(&minimum.0).skip(own).all(|(mine, least)| mine >= least);
    let reached = |level: &&TcbLevel| {
        pck.components.reaches(&level.sgx) && pck.pce_svn >= level.pce_svn && reaches_tdx(&level.tdx)
    };
    levels.iter().find(reached).ok_or(TcbError::NotSupported)
}

const fn published(status: LevelStatus) -> TcbStatus {
    match status {
        LevelStatus::UpToDate => TcbStatus::UpToDate,
        LevelStatus::SwHardeningNeeded => TcbStatus::SWHardeningNeeded,
        LevelStatus::ConfigurationNeeded => TcbStatus::ConfigurationNeeded,
        LevelStatus::ConfigurationAndSwHardeningNeeded => TcbStatus::ConfigurationAndSWHardeningNeeded,
        LevelStatus::OutOfDate => TcbStatus::OutOfDate,
        LevelStatus::OutOfDateConfigurationNeeded => TcbStatus::OutOfDateConfigurationNeeded,
        LevelStatus::Revoked => TcbStatus::Revoked,
    }
}

/// An old module or enclave makes the platform out of date, a revoked one revokes it; nothing improves it.
fn converge(platform: LevelStatus, module: Option<LevelStatus>, enclave: LevelStatus) -> TcbStatus {
    let others = [module, Some(enclave)];
    let any = |wanted: LevelStatus| others.contains(&Some(wanted));
    if platform == LevelStatus::Revoked || any(LevelStatus::Revoked) {
        return TcbStatus::Revoked;
    }
    if !any(LevelStatus::OutOfDate) && !any(LevelStatus::OutOfDateConfigurationNeeded) {
        return published(platform);
    }
    match platform {
        LevelStatus::UpToDate | LevelStatus::SwHardeningNeeded => TcbStatus::OutOfDate,
        LevelStatus::ConfigurationNeeded | LevelStatus::ConfigurationAndSwHardeningNeeded => {
            TcbStatus::OutOfDateConfigurationNeeded
        }
        LevelStatus::OutOfDate | LevelStatus::OutOfDateConfigurationNeeded | LevelStatus::Revoked => {
            published(platform)
        }
    }
}

/// A TD that was launched on an old TCB and now runs on a good one would be good after a relaunch. The result is never
/// better than the launch.
const fn relaunch(launch: TcbStatus, current: TcbStatus) -> TcbStatus {
    use TcbStatus as Status;
    let configuration = match (launch, current) {
        (Status::OutOfDate, Status::UpToDate | Status::SWHardeningNeeded) => false,
        (Status::OutOfDate, Status::ConfigurationNeeded | Status::ConfigurationAndSWHardeningNeeded)
        | (
            Status::OutOfDateConfigurationNeeded,
            Status::UpToDate
            | Status::SWHardeningNeeded
            | Status::ConfigurationNeeded
            | Status::ConfigurationAndSWHardeningNeeded,
        ) => true,
        _ => return launch,
    };
    if configuration { Status::TDRelaunchAdvisedConfigurationNeeded } else { Status::TDRelaunchAdvised }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [LevelStatus; 7] = [
        LevelStatus::UpToDate,
        LevelStatus::SwHardeningNeeded,
        LevelStatus::ConfigurationNeeded,
        LevelStatus::ConfigurationAndSwHardeningNeeded,
        LevelStatus::OutOfDate,
        LevelStatus::OutOfDateConfigurationNeeded,
        LevelStatus::Revoked,
    ];

    #[test]
    fn convergence_follows_the_table() {
        use LevelStatus as L;
        assert_eq!(converge(L::UpToDate, Some(L::UpToDate), L::UpToDate), TcbStatus::UpToDate);
        assert_eq!(converge(L::UpToDate, Some(L::OutOfDate), L::UpToDate), TcbStatus::OutOfDate);
        assert_eq!(converge(L::SwHardeningNeeded, None, L::OutOfDate), TcbStatus::OutOfDate);
        assert_eq!(
            converge(L::ConfigurationAndSwHardeningNeeded, None, L::OutOfDate),
            TcbStatus::OutOfDateConfigurationNeeded
        );
        assert_eq!(converge(L::ConfigurationNeeded, None, L::ConfigurationNeeded), TcbStatus::ConfigurationNeeded);
        for platform in ALL {
            assert_eq!(converge(platform, Some(L::Revoked), L::UpToDate), TcbStatus::Revoked);
            assert_eq!(converge(platform, Some(L::UpToDate), L::Revoked), TcbStatus::Revoked);
            assert_eq!(converge(platform, Some(L::UpToDate), L::UpToDate), published(platform));
        }
    }

    #[test]
    fn a_relaunch_is_never_better_than_the_launch() {
        use TcbStatus as S;
        assert_eq!(relaunch(S::OutOfDate, S::UpToDate), S::TDRelaunchAdvised);
        assert_eq!(relaunch(S::OutOfDate, S::ConfigurationNeeded), S::TDRelaunchAdvisedConfigurationNeeded);
        assert_eq!(relaunch(S::OutOfDateConfigurationNeeded, S::UpToDate), S::TDRelaunchAdvisedConfigurationNeeded);
        assert_eq!(relaunch(S::OutOfDate, S::OutOfDate), S::OutOfDate);
        assert_eq!(relaunch(S::UpToDate, S::OutOfDate), S::UpToDate);
        assert_eq!(relaunch(S::Revoked, S::UpToDate), S::Revoked);
        for launch in ALL.map(published) {
            for current in ALL.map(published) {
                assert_eq!(relaunch(launch, current) == S::UpToDate, launch == S::UpToDate);
            }
        }
    }
}
