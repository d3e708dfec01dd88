//! Security version numbers and platform identities.

use crate::bytes::byte_newtypes;

byte_newtypes! {
    /// TEE_TCB_SVN: the TDX module's and its loader's security versions, 16 components.
    TeeTcbSvn: 16;
    /// The 16 component security versions of a PCK certificate (OID 1.2.840.113741.1.13.1.2.1 to .16) or a TCB level.
    SvnComponents: 16;
    /// Raw CPUSVN: opaque, never compared; the components are what counts.
    CpuSvn: 16;
    /// Family, model, stepping, platform type and custom SKU of a processor.
    Fmspc: 6;
    /// Identity of the provisioning certification enclave.
    PceId: 2;
    /// Platform provisioning id: names one physical platform for as long as its keys live.
    Ppid: 16;
}

/// Security version of the provisioning certification enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct PceSvn(pub u16);

impl TeeTcbSvn {
    /// Security version of the TDX module within its major version (component 0).
    #[must_use]
    pub const fn module_svn(&self) -> u8 {
        let [svn, ..] = self.0;
        svn
    }

    /// Major version of the TDX module (component 1): 0 for TDX 1.0, otherwise the number in `TDX_01`, `TDX_03`, ….
    #[must_use]
    pub const fn module_major(&self) -> u8 {
        let [_, major, ..] = self.0;
        major
    }

    /// Whether any component is lower than in `other`.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(mine, theirs)| mine < theirs)
    }
}

impl SvnComponents {
    /// Whether every component is at least that of `minimum`. Component-wise: never a comparison of whole vectors.
    #[must_use]
    pub fn reaches(&self, minimum: &Self) -> bool {
        self.0.iter().zip(&minimum.0).all(|(mine, least)| mine >= least)
    }
}
