//! The TD report body of a quote, and the TDREPORT that only the platform itself can check.

use thiserror::Error;

use super::{TdAttributes, TeeTcbSvn, Xfam};
use crate::{
    bytes::{LaunchDigest, Reader, ReportData, Sha384Digest, Truncated, byte_newtypes},
    code::{Code, Coded},
};

byte_newtypes! {
    /// MRSEAM: measurement of the TDX module.
    MrSeam: 48;
    /// MRSIGNERSEAM: signer of the TDX module; zero for Intel's.
    MrSignerSeam: 48;
    /// SEAMATTRIBUTES: attributes of the TDX module.
    SeamAttributes: 8;
    /// MRCONFIGID: host-supplied identity of configuration, compared and never interpreted.
    MrConfigId: 48;
    /// MROWNER: host-supplied identity of the owner.
    MrOwner: 48;
    /// MROWNERCONFIG: host-supplied identity of the owner's configuration.
    MrOwnerConfig: 48;
    /// Hash over the service TDs that are bound to this TD; zero when none is.
    MrServiceTd: 48;
}

/// What the TDX module knows about one TD: the same 400 bytes in a quote (offset 168 of v4) and a TDREPORT (offset 512).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdInfo {
    /// ATTRIBUTES.
    pub attributes: TdAttributes,
    /// XFAM.
    pub xfam: Xfam,
    /// MRTD: the initial image (firmware), measured by the TDX module.
    pub mr_td: LaunchDigest,
    /// MRCONFIGID.
    pub mr_config_id: MrConfigId,
    /// MROWNER.
    pub mr_owner: MrOwner,
    /// MROWNERCONFIG.
    pub mr_owner_config: MrOwnerConfig,
    /// RTMR0 to RTMR3.
    pub rtmr: [Sha384Digest; 4],
}

impl TdInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            attributes: TdAttributes::from_le_bytes(reader.array()?),
            xfam: Xfam::from_le_bytes(reader.array()?),
            mr_td: LaunchDigest(reader.array()?),
            mr_config_id: MrConfigId(reader.array()?),
            mr_owner: MrOwner(reader.array()?),
            mr_owner_config: MrOwnerConfig(reader.array()?),
            rtmr: [
                Sha384Digest(reader.array()?),
                Sha384Digest(reader.array()?),
                Sha384Digest(reader.array()?),
                Sha384Digest(reader.array()?),
            ],
        })
    }
}

/// The body of a quote about a TD: TD report 1.0, 1.5 or 1.5 extended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdQuoteBody {
    /// TEE_TCB_SVN: the TCB at launch of the TD.
    pub tee_tcb_svn: TeeTcbSvn,
    /// MRSEAM.
    pub mr_seam: MrSeam,
    /// MRSIGNERSEAM.
    pub mr_signer_seam: MrSignerSeam,
    /// SEAMATTRIBUTES.
    pub seam_attributes: SeamAttributes,
    /// The TD itself.
    pub info: TdInfo,
    /// REPORTDATA: what the guest bound.
    pub report_data: ReportData,
    /// What TD report 1.5 adds.
    pub td15: Option<Td15>,
}

/// What TD report 1.5 adds to 1.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Td15 {
    /// TEE_TCB_SVN_2: the TCB now; higher than at launch after an update of the TDX module under running TDs.
    pub current_tee_tcb_svn: TeeTcbSvn,
    /// MRSERVICETD.
    pub mr_service_td: MrServiceTd,
    /// What the extended TD report 1.5 adds.
    pub extended: Option<MigrationTds>,
}

/// What the extended TD report 1.5 adds: the platform and service TDs at initialisation and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationTds {
    /// VMID.
    pub vmid: u8,
    /// TD_ID.
    pub td_id: [u8; 32],
    /// DEV_INFO.
    pub device_info: [u8; 48],
    /// INIT_SERVICE_TD_HASH.
    pub initial_service_td: MrServiceTd,
    /// INIT_SERVICE_TD_ATTRIBUTES.
    pub initial_service_td_attributes: u64,
    /// INIT_CPU_SVN.
    pub initial_cpu_svn: [u8; 16],
    /// INIT_TEE_TCB_SVN.
    pub initial_tee_tcb_svn: TeeTcbSvn,
    /// INIT_TEE_FMSPC.
    pub initial_fmspc: [u8; 12],
    /// CUR_SERVICE_TD_HASH.
    pub current_service_td: MrServiceTd,
    /// CUR_SERVICE_TD_ATTRIBUTES.
    pub current_service_td_attributes: u64,
}

impl TdQuoteBody {
    /// Length of TD report 1.0.
    pub const TD10_LENGTH: usize = 584;
    /// Length of TD report 1.5.
    pub const TD15_LENGTH: usize = 648;
    /// Length of the extended TD report 1.5.
    pub const TD15_EXTENDED_LENGTH: usize = 885;

    /// Reads TD report 1.0; the caller adds what its body type adds.
    pub(super) fn read_td10(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            tee_tcb_svn: TeeTcbSvn(reader.array()?),
            mr_seam: MrSeam(reader.array()?),
            mr_signer_seam: MrSignerSeam(reader.array()?),
            seam_attributes: SeamAttributes(reader.array()?),
            info: TdInfo::read(reader)?,
            report_data: ReportData(reader.array()?),
            td15: None,
        })
    }

    pub(super) fn read_td15(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        let mut body = Self::read_td10(reader)?;
        body.td15 = Some(Td15 {
            current_tee_tcb_svn: TeeTcbSvn(reader.array()?),
            mr_service_td: MrServiceTd(reader.array()?),
            extended: None,
        });
        Ok(body)
    }

    pub(super) fn read_td15_extended(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        let mut body = Self::read_td15(reader)?;
        let extended = MigrationTds {
            vmid: reader.u8()?,
            td_id: reader.array()?,
            device_info: reader.array()?,
            initial_service_td: MrServiceTd(reader.array()?),
            initial_service_td_attributes: reader.u64_le()?,
            initial_cpu_svn: reader.array()?,
            initial_tee_tcb_svn: TeeTcbSvn(reader.array()?),
            initial_fmspc: reader.array()?,
            current_service_td: MrServiceTd(reader.array()?),
            current_service_td_attributes: reader.u64_le()?,
        };
        if let Some(td15) = &mut body.td15 {
            td15.extended = Some(extended);
        }
        Ok(body)
    }
}

/// A TDREPORT is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Wrong size.
    #[error("expected a TDREPORT of {} bytes, found {found}", TdReport::LENGTH)]
    Length {
        /// Length that was found, in bytes.
        found: usize,
    },
    /// Not a TD's report.
    #[error("expected report type 0x81 version 0 or 1, found {report_type:#04x} version {version}")]
    Type {
        /// REPORTMACSTRUCT.REPORTTYPE.TYPE.
        report_type: u8,
        /// REPORTMACSTRUCT.REPORTTYPE.VERSION.
        version: u8,
    },
}

impl Coded for ReportError {
    fn code(&self) -> Code {
        match self {
            Self::Length { .. } => Code::new("parse.tdx.report_length"),
            Self::Type { .. } => Code::new("parse.tdx.report_type"),
        }
    }
}

/// TDREPORT (TDX Module ABI, TDREPORT_STRUCT): 1024 bytes whose MAC only the same platform can check. It is evidence for
/// nobody else; its fields are compared with the quote made from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdReport {
    received: Box<[u8]>,
    /// REPORTDATA.
    pub report_data: ReportData,
    /// TEE_TCB_INFO.TEE_TCB_SVN.
    pub tee_tcb_svn: TeeTcbSvn,
    /// TEE_TCB_INFO.MRSEAM.
    pub mr_seam: MrSeam,
    /// TEE_TCB_INFO.MRSIGNERSEAM.
    pub mr_signer_seam: MrSignerSeam,
    /// TEE_TCB_INFO.ATTRIBUTES.
    pub seam_attributes: SeamAttributes,
    /// TDINFO.
    pub info: TdInfo,
    /// TDINFO.SERVTD_HASH.
    pub service_td: MrServiceTd,
}

impl TdReport {
    /// Length in bytes.
    pub const LENGTH: usize = 1024;

    /// Parses the 1024 bytes of a TDREPORT.
    ///
    /// # Errors
    /// Another length, report type or version.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() != Self::LENGTH {
            return Err(ReportError::Length { found: bytes.len() });
        }
        let truncated = |_: Truncated| ReportError::Length { found: bytes.len() };
        let mut reader = Reader::new(bytes);
        let [report_type, _subtype, version, _] = reader.array().map_err(truncated)?;
        if report_type != 0x81 || version > 1 {
            return Err(ReportError::Type { report_type, version });
        }
        Self::read(&mut reader, bytes).map_err(truncated)
    }

    fn read(reader: &mut Reader<'_>, bytes: &[u8]) -> Result<Self, Truncated> {
        reader.take(124)?; // reserved, CPUSVN and the hashes of TEE_TCB_INFO and TDINFO
        let report_data = ReportData(reader.array()?);
        reader.take(72)?; // reserved, MAC and the valid mask of TEE_TCB_INFO
        let tee_tcb_svn = TeeTcbSvn(reader.array()?);
        let mr_seam = MrSeam(reader.array()?);
        let mr_signer_seam = MrSignerSeam(reader.array()?);
        let seam_attributes = SeamAttributes(reader.array()?);
        reader.take(128)?; // TEE_TCB_SVN_2 and reserved, up to TDINFO at 512
        let info = TdInfo::read(reader)?;
        let service_td = MrServiceTd(reader.array()?);
        Ok(Self {
            received: bytes.into(),
            report_data,
            tee_tcb_svn,
            mr_seam,
            mr_signer_seam,
            seam_attributes,
            info,
            service_td,
        })
    }

    /// The bytes as received.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.received
    }
}
