//! Flags about the TPM.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Where the TPM is, and what to ask it for.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TpmArgs {
    /// The TPM: a device (default /dev/tpmrm0), unix:/path or tcp:host:port of a software TPM, or none.
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) tpm_address: Option<String>,

    /// The firmware's event log (default /sys/kernel/security/tpm0/binary_bios_measurements).
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) tpm_event_log: Option<PathBuf>,

    /// The kernel's measurement list (default /sys/kernel/security/ima/binary_runtime_measurements).
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) tpm_ima_log: Option<PathBuf>,

    /// Kind of the attestation key, where the cloud has certified none (default ecc-p256).
    #[arg(long, global = true, value_enum)]
    pub(crate) tpm_ak: Option<AkChoice>,

    /// The PCRs to quote, exactly those that the broker demands (default sha256:0-23).
    #[arg(long, global = true, value_name = "BANK:LIST")]
    pub(crate) tpm_pcrs: Option<String>,

    /// Whether a key that the broker does not know is enrolled on the way (default auto).
    #[arg(long, global = true, value_enum)]
    pub(crate) tpm_enroll: Option<EnrollChoice>,
}

/// Kinds of attestation keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
pub(crate) enum AkChoice {
    /// ECDSA on P-256.
    #[value(name = "ecc-p256")]
    #[serde(rename = "ecc-p256")]
    EccP256,
    /// RSA of 2048 bits; a hardware TPM may need a minute to make it.
    #[value(name = "rsa-2048")]
    #[serde(rename = "rsa-2048")]
    Rsa2048,
}

/// When keys are enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EnrollChoice {
    /// When the broker does not know the key.
    #[default]
    Auto,
    /// By the command `enroll` only.
    Never,
}
