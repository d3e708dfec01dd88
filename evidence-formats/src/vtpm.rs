//! Composite evidence of hardware and a virtual TPM without a paravisor: a vTPM that the cloud hosts beside the guest
//! (Google Cloud), and one that an SVSM runs inside of it.

use crate::{
    evidence::{SnpEvidence, TdxEvidence},
    svsm::SvsmManifest,
    tpm::TpmEvidence,
};

/// Hardware evidence that commits to the guest's binding by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HardwareEvidence {
    /// AMD SEV-SNP.
    Snp(Box<SnpEvidence>),
    /// Intel TDX.
    Tdx(Box<TdxEvidence>),
}

/// A confidential VM whose host runs a vTPM for it. Hardware and quote each carry the guest's binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostedVtpmEvidence {
    /// The hardware's evidence.
    pub hardware: HardwareEvidence,
    /// The vTPM's evidence.
    pub tpm: TpmEvidence,
}

/// What an SVSM says of its vTPM: the report commits to the manifest, the manifest holds the endorsement key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvsmReport {
    /// The SNP report that the SVSM asked for, and what the host sent along.
    pub snp: SnpEvidence,
    /// The manifest.
    pub manifest: SvsmManifest,
}

/// A guest under an SVSM: its report, and the quote of the vTPM in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvsmEvidence {
    /// Report and manifest.
    pub report: SvsmReport,
    /// The vTPM's evidence.
    pub tpm: TpmEvidence,
}
