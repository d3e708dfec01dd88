//! The paravisor's part of the state file.
use evidence_formats::bytes::ReportData;
use serde::Deserialize;

/// Which attestation key the runtime claims name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AkClaim {
    /// The one in the TPM.
    #[default]
    Genuine,
    /// None: an all-zero modulus, as when the paravisor could not make the key.
    Zero,
    /// Somebody else's.
    Foreign,
}

/// What goes wrong in the metadata service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetadataFault {
    /// Nothing.
    #[default]
    None,
    /// It answers 503.
    Unavailable,
    /// It answers with something that is not JSON.
    Garbage,
    /// It answers with more than anybody needs.
    Endless,
    /// It closes the connection without an answer.
    HangsUp,
    /// Its quotes are of another TD.
    OtherTd,
}

/// The paravisor. The default is healthy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParavisorState {
    /// How old a report may be before a read makes a new one, in milliseconds (2000 on the real one).
    pub refresh_ms: u64,
    /// Whether a report, once made, stays for ever.
    pub frozen: bool,
    /// `user-data` whatever the guest wrote.
    pub user_data: Option<ReportData>,
    /// Which attestation key the claims name.
    pub ak: AkClaim,
    /// Whether the hardware's report data is that of the claims.
    pub bound: bool,
    /// `secure-boot` of the claims.
    pub secure_boot: bool,
    /// `console-enabled` of the claims.
    pub console: bool,
    /// The kernel's command line when a unified kernel image is measured into the TPM at the start; none: nothing boots.
    pub command_line: Option<String>,
    /// What the metadata service does.
    pub metadata: MetadataFault,
}

impl Default for ParavisorState {
    fn default() -> Self {
        Self {
            refresh_ms: 200,
            frozen: false,
            user_data: None,
            ak: AkClaim::Genuine,
            bound: true,
            secure_boot: true,
            console: false,
            command_line: None,
            metadata: MetadataFault::None,
        }
    }
}
