//! Claims in one schema for every platform, so that a policy reads the same everywhere.

use std::collections::BTreeMap;

use evidence_formats::bytes::LaunchDigest;
use serde::{Deserialize, Serialize};

use crate::{
    InitDataClaims, Timestamp, azure::AzureClaims, snp::SnpClaims, tdx::TdxClaims, tpm::TpmClaims, vtpm::VtpmClaims,
};

/// What authenticated evidence says, in one schema for every platform; the platform's own fields stand in `raw`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claims {
    /// Hardware model, for example `amd-milan`, `amd-turin`, `intel-tdx`.
    pub hwmodel: &'static str,
    /// Whose machine it runs on, or `simulated`.
    pub platform: Platform,
    /// What was measured.
    pub measurement: Measurements,
    /// Trusted computing base.
    pub tcb: TcbClaims,
    /// Whether the guest may be debugged by its host.
    pub debug: bool,
    /// Stable hardware identity (SNP chip id, TDX platform id) in lower-case hex; absent when masked or shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Who signed the launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<Signer>,
    /// Host-supplied launch data (SNP HOST_DATA, TDX MRCONFIGID) in lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_data: Option<String>,
    /// Init-data that the launch committed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_data: Option<InitDataClaims>,
    /// The 64 bytes (or TPM extraData in hex) that the guest bound.
    pub report_data: String,
    /// What was not checked, each with its reason: never empty by accident.
    pub unchecked: Vec<Unchecked>,
    /// The platform's own fields.
    pub raw: RawClaims,
}

/// Whose machine the evidence came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// No cloud could be told from the evidence.
    Bare,
    /// Microsoft Azure (paravisor evidence).
    Azure,
    /// Google Cloud (Google attestation key certificate).
    Gcp,
    /// Amazon Web Services (VLEK of an AWS fleet).
    Aws,
    /// Verified against an operator's own trust anchor instead of the vendor's: not hardware.
    Simulated,
}

impl Platform {
    /// The text that claims and reference values use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
            Self::Aws => "aws",
            Self::Simulated => "simulated",
        }
    }
}

/// Measured code and configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Measurements {
    /// Launch digest (SNP MEASUREMENT, TDX MRTD).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch: Option<LaunchDigest>,
    /// Runtime registers by name (`rtmr0`…`rtmr3`, `pcr0`…`pcr23`) with what was replayed into them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub runtime: BTreeMap<String, RuntimeMeasurement>,
}

/// One runtime register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuntimeMeasurement {
    /// Register value in lower-case hex.
    pub value: String,
    /// Named digests that an authenticated event log replayed into it, for example `kernel`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, Vec<String>>,
}

/// Trusted computing base.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct TcbClaims {
    /// Vendor's judgement, where the vendor publishes one (Intel).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TcbStatus>,
    /// Component values by version kind (`current`, `reported`, `committed`, `launch`), then by component name.
    pub versions: BTreeMap<&'static str, BTreeMap<&'static str, u32>>,
    /// Advisory ids that apply.
    pub advisories: Vec<String>,
    /// When the vendor's judgement was evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluated_at: Option<Timestamp>,
}

/// Intel's TCB status, closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TcbStatus {
    /// Nothing to do.
    UpToDate,
    /// Software hardening needed.
    SWHardeningNeeded,
    /// BIOS configuration needed.
    ConfigurationNeeded,
    /// BIOS configuration and software hardening needed.
    ConfigurationAndSWHardeningNeeded,
    /// TD must be relaunched to be up to date.
    TDRelaunchAdvised,
    /// TD must be relaunched and the platform configured.
    TDRelaunchAdvisedConfigurationNeeded,
    /// Out of date.
    OutOfDate,
    /// Out of date, and configuration needed.
    OutOfDateConfigurationNeeded,
    /// Revoked.
    Revoked,
}

/// Who signed the launch configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signer {
    /// Digest of the key that signed it, lower-case hex.
    pub id_key_digest: String,
    /// Digest of the author's key, lower-case hex, when the author key was enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author_key_digest: Option<String>,
    /// Guest security version, when an enforced ID block vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_svn: Option<u32>,
}

/// A check that did not run, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unchecked {
    /// What was not checked: `revocation`, `report_data`, …
    pub what: &'static str,
    /// Why, for people.
    pub reason: &'static str,
}

/// The platform's own fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RawClaims {
    /// An SNP report.
    Snp(Box<SnpClaims>),
    /// Intel TDX.
    Tdx(Box<TdxClaims>),
    /// A TPM alone.
    Tpm(Box<TpmClaims>),
    /// An Azure confidential VM: hardware, paravisor and vTPM.
    Azure(Box<AzureClaims>),
    /// Hardware beside a vTPM of the host (Google Cloud).
    #[serde(rename = "hosted-vtpm")]
    HostedVtpm(Box<VtpmClaims>),
    /// Hardware, SVSM and the vTPM that it runs.
    Svsm(Box<VtpmClaims>),
}

impl RawClaims {
    /// Until when the vendor's judgement of the TCB speaks, where there is one (Intel): the end of what runs out first.
    #[must_use]
    pub fn judged_until(&self) -> Option<Timestamp> {
        match self {
            Self::Tdx(tdx) => Some(tdx.collateral.valid_until),
            Self::Azure(azure) => azure.hardware.judged_until(),
            Self::HostedVtpm(composite) | Self::Svsm(composite) => composite.hardware.judged_until(),
            Self::Snp(_) | Self::Tpm(_) => None,
        }
    }

    /// The TPM's claims, alone or in a composite.
    #[must_use]
    pub fn tpm(&self) -> Option<&TpmClaims> {
        match self {
            Self::Snp(_) | Self::Tdx(_) => None,
            Self::Tpm(tpm) => Some(tpm),
            Self::Azure(azure) => Some(&azure.tpm),
            Self::HostedVtpm(composite) | Self::Svsm(composite) => Some(&composite.tpm),
        }
    }
}
