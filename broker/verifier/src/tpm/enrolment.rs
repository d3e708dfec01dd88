//! Attestation keys that were enrolled: the record that proves them.

use evidence_formats::tpm::{AkPublic, TpmEvidence, TpmName, TpmPublic};
use serde::Serialize;

use super::{AkProvenance, ProvenAk, TpmAuthenticateError, brought_key};
use crate::Timestamp;

/// Who enrolled a key, and since when it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enrolment {
    /// Who answers for the machine.
    pub owner: String,
    /// When it was approved.
    pub enrolled_at: Timestamp,
}

/// How an enrolment proved its key. There is no value for a key that was only asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrolmentProof {
    /// The TPM of this certified endorsement key opened a credential for the key.
    EkActivated(Box<TpmPublic>),
    /// The TPM of this endorsement key, which the manifest of an SVSM named, opened a credential for the key.
    SvsmEk(Box<TpmPublic>),
    /// The operator's word.
    Pinned,
}

/// An attestation key that the operator's register vouches for: enrolled, approved, not revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledAk {
    /// Name of the key, which covers its attributes.
    pub name: TpmName,
    /// What proved it.
    pub proof: EnrolmentProof,
    /// Who enrolled it and when.
    pub enrolment: Enrolment,
}

impl EnrolledAk {
    /// What proved it.
    #[must_use]
    pub const fn provenance(&self) -> AkProvenance {
        match self.proof {
            EnrolmentProof::EkActivated(_) => AkProvenance::EkActivated,
            EnrolmentProof::SvsmEk(_) => AkProvenance::SvsmEk,
            EnrolmentProof::Pinned => AkProvenance::Pinned,
        }
    }

    /// The endorsement key that the enrolment proved.
    pub(crate) const fn endorsement_key(&self) -> Option<&TpmPublic> {
        match &self.proof {
            EnrolmentProof::EkActivated(key) | EnrolmentProof::SvsmEk(key) => Some(key),
            EnrolmentProof::Pinned => None,
        }
    }

    /// The proven key, when the evidence brings the public area that was enrolled.
    pub(crate) fn prove(&self, evidence: &TpmEvidence) -> Result<ProvenAk, TpmAuthenticateError> {
        let brought = evidence.ak_public.as_ref().ok_or(TpmAuthenticateError::AkNotPinned)?;
        match brought {
            AkPublic::Area(area) if area.name() == self.name => Ok(ProvenAk {
                enrolment: Some(self.enrolment.clone()),
                endorsement_key: self.endorsement_key().cloned(),
                ..ProvenAk::new(brought_key(brought)?, Some(area.clone()), true, self.provenance())
            }),
            AkPublic::Area(_) | AkPublic::Spki(_) => Err(TpmAuthenticateError::AkNotPinned),
        }
    }
}
