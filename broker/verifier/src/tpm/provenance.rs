//! How an attestation key came to be believed.

use evidence_formats::tpm::{TpmName, TpmPublic};
use serde::{Deserialize, Serialize};

use super::AkKey;

/// What proved that the attestation key lives in a TPM that counts. There is no value for an unproven key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AkProvenance {
    /// Azure runtime claims bound by an authenticated SNP report.
    HclSnp,
    /// Azure runtime claims bound by an authenticated TD quote.
    HclTdx,
    /// Attestation key certificate of Google Cloud.
    AkCertGcp,
    /// Attestation key certificate of Azure.
    AkCertAzure,
    /// Attestation key certificate of the operator's own CA: simulated hardware.
    AkCertOperator,
    /// A key that the operator enrolled and approved.
    Pinned,
}

/// A proven attestation key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProvenAk {
    /// The key that must have signed.
    pub(crate) key: AkKey,
    /// Its public area, when the evidence brings one that has this key.
    pub(crate) area: Option<TpmPublic>,
    /// Whether the proof covers the public area (its name), and with it the attributes.
    pub(crate) area_proven: bool,
    /// Qualified name that the quote must carry, where the provenance fixes it.
    pub(crate) qualified_name: Option<TpmName>,
    /// What proved it.
    pub(crate) provenance: AkProvenance,
}
