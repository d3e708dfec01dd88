//! How an attestation key came to be believed.

use evidence_formats::tpm::{TpmName, TpmPublic};
use serde::{Deserialize, Serialize};

use super::{AkKey, Enrolment};

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
    /// Endorsement key in the manifest that an SVSM's report commits to, and a credential that its TPM opened.
    SvsmEk,
    /// Endorsement key with a certificate up to a pinned root, and a credential that its TPM opened.
    EkActivated,
    /// A key that the operator enrolled and approved.
    Pinned,
}

impl AkProvenance {
    /// Every value.
    pub const ALL: [Self; 8] = [
        Self::HclSnp,
        Self::HclTdx,
        Self::AkCertGcp,
        Self::AkCertAzure,
        Self::AkCertOperator,
        Self::SvsmEk,
        Self::EkActivated,
        Self::Pinned,
    ];

    /// As claims, configuration and the store write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HclSnp => "hcl-snp",
            Self::HclTdx => "hcl-tdx",
            Self::AkCertGcp => "ak-cert-gcp",
            Self::AkCertAzure => "ak-cert-azure",
            Self::AkCertOperator => "ak-cert-operator",
            Self::SvsmEk => "svsm-ek",
            Self::EkActivated => "ek-activated",
            Self::Pinned => "pinned",
        }
    }
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
    /// Who enrolled it, when it was enrolled.
    pub(crate) enrolment: Option<Enrolment>,
    /// The endorsement key of its TPM, where that is proven too.
    pub(crate) endorsement_key: Option<TpmPublic>,
}

impl ProvenAk {
    /// A key that is proven without an enrolment, and nothing about its TPM.
    pub(crate) const fn new(key: AkKey, area: Option<TpmPublic>, area_proven: bool, provenance: AkProvenance) -> Self {
        Self { key, area, area_proven, qualified_name: None, provenance, enrolment: None, endorsement_key: None }
    }
}

#[cfg(test)]
mod tests {
    use super::AkProvenance;

    #[test]
    fn names_are_those_of_the_claims() {
        for value in AkProvenance::ALL {
            assert_eq!(serde_json::to_string(&value).ok(), Some(format!("\"{}\"", value.as_str())));
        }
    }
}
