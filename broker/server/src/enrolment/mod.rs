//! The register of attestation keys: how a key gets in, and what it says when evidence brings one.
//!
//! A key gets in by proof. The guest sends the endorsement key of its TPM (with a certificate, or inside the report of an
//! SVSM) and the attestation key; the broker judges both and answers with a credential that only this TPM opens, and only
//! while that very key is loaded in it. The opened credential comes back, and the key stands in the register: enrolled, or
//! waiting for an administrator's approval. An administrator can also pin a key by name.

mod begin;
mod complete;
mod error;
pub(crate) mod wire;

use std::sync::Arc;

use evidence_formats::{
    evidence::Evidence,
    tpm::{TpmName, TpmPublic},
};
use keys::tpm::{TpmCipher, TpmHash, TpmStorageKey};
use verifier::{
    claimed_ak_name,
    tpm::{AkProvenance, EnrolledAk, Enrolment, EnrolmentProof, primary_qualified_names},
    x509::Certificate,
};

pub(crate) use begin::begin;
pub(crate) use complete::complete;
pub(crate) use error::{EnrolError, RegisterError};

use crate::{
    broker::Broker,
    config::Approval,
    store::{EnrolmentBounds, EnrolmentRecord, EnrolmentState, StoreError},
};

/// How enrolments are judged.
#[derive(Debug)]
pub(crate) struct EnrolmentTerms {
    /// The operator's endorsement key CAs.
    pub(crate) anchors: Vec<Arc<Certificate>>,
    /// The settings.
    pub(crate) settings: crate::config::Enrolment,
}

impl EnrolmentTerms {
    /// Bounds of the register.
    pub(crate) const fn bounds(&self) -> EnrolmentBounds {
        EnrolmentBounds {
            keys_per_ek: self.settings.keys_per_ek.value(),
            awaiting: self.settings.awaiting_approval.value(),
            records: self.settings.records.value(),
        }
    }

    fn automatic(&self) -> bool {
        self.settings.approval == Approval::Automatic
    }
}

/// What the register says of the attestation key that evidence brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing: certificate or paravisor must prove the key.
    Unknown,
    /// It is proven and waits for an administrator.
    AwaitingApproval,
    /// It counts.
    Enrolled(Box<EnrolledAk>),
    /// It must not be believed, whatever else proves it.
    Revoked,
}

/// Looks the key of `evidence` up: by the qualified name that the TPM signed, which nobody can leave out or change, whether
/// it was revoked; by its name, what proves it.
pub(crate) async fn look_up(broker: &Broker, evidence: &Evidence) -> Result<Standing, StoreError> {
    if let Some(tpm) = evidence.tpm()
        && broker.store.is_revoked_signer(&broker.tenant, &tpm.quote.qualified_signer.to_string()).await?
    {
        return Ok(Standing::Revoked);
    }
    let Some(name) = claimed_ak_name(evidence) else { return Ok(Standing::Unknown) };
    match broker.store.enrolment(&broker.tenant, &name.to_string()).await? {
        None => Ok(Standing::Unknown),
        Some(record) => standing(name, &record),
    }
}

/// The qualified names (hex) under which the key with this name (hex) may sign, when it is a primary key.
pub(crate) fn signers(ak_name: &str) -> Vec<String> {
    let name = hex::decode(ak_name).ok().and_then(|bytes| TpmName::parse(&bytes).ok());
    let names = name.map(|name| primary_qualified_names(&name)).unwrap_or_default();
    names.iter().map(TpmName::to_string).collect()
}

fn standing(name: TpmName, record: &EnrolmentRecord) -> Result<Standing, StoreError> {
    match (record.state, &record.approved) {
        (EnrolmentState::Revoked, _) => Ok(Standing::Revoked),
        (EnrolmentState::Enrolled, Some(approved)) => {
            let enrolment = Enrolment { owner: record.owner.clone(), enrolled_at: approved.at };
            Ok(Standing::Enrolled(Box::new(EnrolledAk { name, proof: proof(record)?, enrolment })))
        }
        (EnrolmentState::Enrolled | EnrolmentState::AwaitingApproval, _) => Ok(Standing::AwaitingApproval),
    }
}

fn proof(record: &EnrolmentRecord) -> Result<EnrolmentProof, StoreError> {
    let unknown = || StoreError::Unknown { what: "endorsement key of an enrolment", found: record.ak_name.clone() };
    let ek = || {
        let area = record.ek.as_ref().and_then(|ek| TpmPublic::parse(&ek.public).ok());
        area.map(Box::new).ok_or_else(unknown)
    };
    match record.provenance {
        AkProvenance::EkActivated => Ok(EnrolmentProof::EkActivated(ek()?)),
        AkProvenance::SvsmEk => Ok(EnrolmentProof::SvsmEk(ek()?)),
        AkProvenance::Pinned => Ok(EnrolmentProof::Pinned),
        AkProvenance::HclSnp
        | AkProvenance::HclTdx
        | AkProvenance::AkCertGcp
        | AkProvenance::AkCertAzure
        | AkProvenance::AkCertOperator => Err(unknown()),
    }
}

/// A judged endorsement key, to seal to.
pub(crate) fn storage_key(area: &TpmPublic) -> Option<TpmStorageKey> {
    use evidence_formats::{digest::HashAlgorithm, tpm::TpmKey};
    let hash = match area.name_algorithm {
        HashAlgorithm::Sha1 => return None,
        HashAlgorithm::Sha256 => TpmHash::Sha256,
        HashAlgorithm::Sha384 => TpmHash::Sha384,
        HashAlgorithm::Sha512 => TpmHash::Sha512,
    };
    let cipher = match area.symmetric?.key_bits {
        128 => TpmCipher::Aes128,
        256 => TpmCipher::Aes256,
        _ => return None,
    };
    match &area.key {
        TpmKey::Rsa { modulus, exponent: 65_537 } => TpmStorageKey::rsa(modulus, hash, cipher).ok(),
        TpmKey::Rsa { .. } => None,
        TpmKey::Ecc { x, y, .. } => TpmStorageKey::ecc(x, y, hash, cipher).ok(),
    }
}
