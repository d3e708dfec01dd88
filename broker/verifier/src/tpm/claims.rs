//! What an authentic quote says.

use std::collections::BTreeMap;

use evidence_formats::{
    digest::{Digest, HashAlgorithm},
    tpm::{ClockInfo, TpmName, TpmPublic},
};
use serde::Serialize;

use super::{
    AkProvenance, Enrolment, GceInstance,
    boot::{BootClaims, ImaClaims, RESETTABLE},
};
use crate::RuntimeMeasurement;

/// Claims of an authentic quote and of the logs that replay to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TpmClaims {
    /// What proved the attestation key.
    pub ak_provenance: AkProvenance,
    /// SHA-256 of the attestation key's modulus or point in hex.
    pub ak_key: String,
    /// Who enrolled the attestation key and when, where that is what proves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Enrolment>,
    /// Name of the TPM's endorsement key in hex, where it is proven: what may be sealed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ek_name: Option<String>,
    /// The endorsement key itself.
    #[serde(skip)]
    pub endorsement_key: Option<TpmPublic>,
    /// Name of the attestation key in hex, when its public area is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ak_name: Option<String>,
    /// Hierarchy of the attestation key, when its public area is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ak_hierarchy: Option<AkHierarchy>,
    /// Bank of every PCR here.
    pub bank: HashAlgorithm,
    /// Quoted PCRs, in hex.
    pub pcrs: BTreeMap<u8, Digest>,
    /// Qualifying data in hex.
    pub extra_data: String,
    /// Clock and counters: a reset count that changed is a reboot, one that went back is a rollback or a clone.
    pub clock: ClockInfo,
    /// Firmware version of the TPM, 16 hex digits.
    pub firmware_version: String,
    /// What the event log proves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootClaims>,
    /// What the IMA list proves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ima: Option<ImaClaims>,
    /// Which instance Google's certificate names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gce_instance: Option<GceInstance>,
}

impl TpmClaims {
    /// The quoted PCRs for the normalised claims. PCR 16 and 23 can be reset by software and carry no policy, so they
    /// are not among them.
    pub(crate) fn runtime(&self) -> BTreeMap<String, RuntimeMeasurement> {
        let usable = self.pcrs.iter().filter(|(pcr, _)| !RESETTABLE.contains(pcr));
        let measurement = |pcr: u8, value: &Digest| RuntimeMeasurement {
            value: value.to_string(),
            events: self.boot.as_ref().map(|boot| boot.named_digests(pcr)).unwrap_or_default(),
        };
        usable.map(|(pcr, value)| (format!("pcr{pcr}"), measurement(*pcr, value))).collect()
    }
}

/// Where an attestation key hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AkHierarchy {
    /// A primary key of the endorsement hierarchy.
    Endorsement,
    /// A primary key of the owner (storage) hierarchy.
    Owner,
    /// A primary key of the platform hierarchy.
    Platform,
    /// Under a parent that the evidence does not tell.
    Child,
}

/// The qualified names of a primary key with this name, one for each hierarchy that survives a reset: a quote says one of
/// them in a field that the TPM signs, whatever public area or certificate comes with it.
#[must_use]
pub fn primary_qualified_names(name: &TpmName) -> Vec<TpmName> {
    let hierarchies = [AkHierarchy::Endorsement, AkHierarchy::Owner, AkHierarchy::Platform];
    let Some(hash) = name.hash() else { return Vec::new() };
    hierarchies.map(|hierarchy| name.qualified_under(hash, &hierarchy.handle().to_be_bytes())).to_vec()
}

impl AkHierarchy {
    pub(super) const NULL_HANDLE: u32 = 0x4000_0007;

    /// Handle of the hierarchy (TPM 2.0 part 2, section 7.4); a child key has none, which no qualified name hashes.
    pub(super) const fn handle(self) -> u32 {
        match self {
            Self::Endorsement => 0x4000_000B,
            Self::Owner => 0x4000_0001,
            Self::Platform => 0x4000_000C,
            Self::Child => 0,
        }
    }
}
