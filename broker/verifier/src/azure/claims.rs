//! What the paravisor says, once the hardware vouches for it.

use evidence_formats::hcl::RuntimeClaims;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{RawClaims, tpm::TpmClaims};

/// Claims of an Azure confidential VM: hardware, paravisor, vTPM.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AzureClaims {
    /// The hardware's own claims.
    pub hardware: RawClaims,
    /// The vTPM's claims.
    pub tpm: TpmClaims,
    /// `vm-configuration` of the runtime claims as it stands: `secure-boot`, `console-enabled`, `vmUniqueId`, …
    pub vm_configuration: Map<String, Value>,
    /// `secure-boot` of the runtime claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// `console-enabled` of the runtime claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_enabled: Option<bool>,
    /// `user-data` of the runtime claims, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// Version of the paravisor's report header: nothing measures it.
    pub untrusted_header_version: u32,
}

impl AzureClaims {
    pub(super) fn new(hardware: RawClaims, tpm: TpmClaims, runtime: RuntimeClaims, header_version: u32) -> Self {
        Self {
            hardware,
            tpm,
            secure_boot: runtime.flag("secure-boot"),
            console_enabled: runtime.flag("console-enabled"),
            user_data: runtime.user_data.map(|data| data.to_string()),
            vm_configuration: runtime.vm_configuration,
            untrusted_header_version: header_version,
        }
    }
}
