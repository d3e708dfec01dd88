//! What a PCK certificate says of its platform.
use evidence_formats::tdx::{CpuSvn, Fmspc, PceId, PceSvn, Ppid, SvnComponents};
use time::OffsetDateTime;

use crate::amd::AmdPki;
use crate::der;
use crate::x509::Extension;

/// Object identifiers of the SGX extension (PCK Certificate and CRL Profile 1.5, section 3.5).
pub mod oids {
    /// The extension.
    pub const SGX: &str = "1.2.840.113741.1.13.1";
}

/// Which authority certifies a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PckCa {
    /// Multi-package platforms: with instance id and configuration.
    #[default]
    Platform,
    /// Single-package platforms.
    Processor,
}

impl PckCa {
    /// The name in addresses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }
}

/// Configuration of a platform (OID .7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PckConfiguration {
    /// Packages can be added.
    pub dynamic_platform: bool,
    /// Keys are kept by Intel.
    pub cached_keys: bool,
    /// SMT is on.
    pub smt_enabled: bool,
}

/// A platform, as its PCK certificate describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct PckSpec {
    /// Who certifies it.
    pub ca: PckCa,
    /// From when.
    pub issued_at: OffsetDateTime,
    /// Platform provisioning id.
    pub ppid: Ppid,
    /// The sixteen SGX TCB components.
    pub components: SvnComponents,
    /// Security version of the provisioning certification enclave.
    pub pce_svn: PceSvn,
    /// Raw CPUSVN.
    pub cpu_svn: CpuSvn,
    /// Identity of the provisioning certification enclave.
    pub pce_id: PceId,
    /// Family, model, stepping, platform type, SKU.
    pub fmspc: Fmspc,
    /// 0 standard, 1 scalable, 2 scalable with integrity.
    pub sgx_type: u8,
    /// Platform instance id; Platform CA only.
    pub instance_id: Option<[u8; 16]>,
    /// Configuration; Platform CA only.
    pub configuration: Option<PckConfiguration>,
}

impl PckSpec {
    /// Components that only reach the out-of-date level of the healthy TCB info.
    pub const OUTDATED: SvnComponents = SvnComponents([2, 2, 2, 2, 3, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0]);

    /// A current Emerald Rapids platform.
    #[must_use]
    pub const fn healthy() -> Self {
        let components = [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
        Self {
            ca: PckCa::Platform,
            issued_at: AmdPki::ISSUED_AT,
            ppid: Ppid([0x17; 16]),
            components: SvnComponents(components),
            pce_svn: PceSvn(11),
            cpu_svn: CpuSvn(components),
            pce_id: PceId([0, 0]),
            fmspc: Fmspc([0xb0, 0xc0, 0x6f, 0, 0, 0]),
            sgx_type: 1,
            instance_id: Some([0xf0; 16]),
            configuration: Some(PckConfiguration { dynamic_platform: true, cached_keys: true, smt_enabled: true }),
        }
    }

    /// Sets the components, and CPUSVN to the same bytes as on real platforms.
    pub const fn set_components(&mut self, components: SvnComponents) {
        self.components = components;
        self.cpu_svn = CpuSvn(components.0);
    }
}

/// The SGX extension, members in Intel's order.
pub(super) fn sgx_extension(platform: &PckSpec) -> Extension {
    let member = |path: &str, value: Vec<u8>| der::sequence(&[der::oid(&format!("{}.{path}", oids::SGX)), value]);
    let mut tcb: Vec<Vec<u8>> = platform
        .components
        .0
        .iter()
        .zip(1_u8..)
        .map(|(svn, number)| member(&format!("2.{number}"), der::unsigned(u64::from(*svn))))
        .collect();
    tcb.push(member("2.17", der::unsigned(u64::from(platform.pce_svn.0))));
    tcb.push(member("2.18", der::octets(&platform.cpu_svn.0)));
    let mut members = vec![
        member("1", der::octets(&platform.ppid.0)),
        member("2", der::sequence(&tcb)),
        member("3", der::octets(&platform.pce_id.0)),
        member("4", der::octets(&platform.fmspc.0)),
        member("5", der::enumerated(platform.sgx_type)),
    ];
    members.extend(platform.instance_id.map(|id| member("6", der::octets(&id))));
    if let Some(configuration) = platform.configuration {
        let flags = [
            member("7.1", der::boolean(configuration.dynamic_platform)),
            member("7.2", der::boolean(configuration.cached_keys)),
            member("7.3", der::boolean(configuration.smt_enabled)),
        ];
        members.push(member("7", der::sequence(&flags)));
    }
    Extension::new(oids::SGX, der::sequence(&members))
}
