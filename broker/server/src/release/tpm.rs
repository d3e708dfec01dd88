//! Sealing to the guest's TPM: under which key, and which PCR values it must show each time.
//!
//! The values are those of the reference set that the evidence matched, never those of the evidence: what the operator expects
//! is what opens the secret, now and at every later use.

use std::collections::BTreeMap;

use evidence_formats::{code::Code, digest::HashAlgorithm};
use keys::tpm::{PcrPolicy, TpmHash, TpmStorageKey};
use verifier::{Affirmed, reference::MatchedSet};

use super::Denied;
use crate::enrolment::storage_key;

/// What a grant is sealed to.
#[derive(Debug)]
pub(super) struct Target {
    /// The TPM's proven endorsement key.
    pub(super) key: TpmStorageKey,
    /// The PCR values that the TPM demands.
    pub(super) policy: PcrPolicy,
}

/// The TPM of affirmed evidence and the policy of the workload's reference set; of several sets that matched, the one that
/// pins most PCRs.
pub(super) fn target(affirmed: &Affirmed, workloads: &[String]) -> Result<Target, Denied> {
    let appraisal = affirmed.appraisal();
    let tpm = appraisal.claims().raw.tpm();
    let key = tpm.and_then(|tpm| tpm.endorsement_key.as_ref()).and_then(storage_key).ok_or_else(no_endorsement_key)?;
    let bank = tpm.and_then(|tpm| bank_of(tpm.bank)).ok_or_else(no_reference_pcrs)?;
    let matched = appraisal.reference_values().matched().iter();
    let of_workload = matched.filter(|set| workloads.iter().any(|workload| workload == set.workload.as_str()));
    let values = of_workload.map(|set| pcrs(set, bank)).max_by_key(BTreeMap::len).unwrap_or_default();
    let policy = PcrPolicy::new(bank, values).map_err(|_none| no_reference_pcrs())?;
    Ok(Target { key, policy })
}

const fn bank_of(bank: HashAlgorithm) -> Option<TpmHash> {
    match bank {
        HashAlgorithm::Sha1 => None,
        HashAlgorithm::Sha256 => Some(TpmHash::Sha256),
        HashAlgorithm::Sha384 => Some(TpmHash::Sha384),
        HashAlgorithm::Sha512 => Some(TpmHash::Sha512),
    }
}

/// The PCRs of the set. It matched, so their values are of the quoted bank; anything else would make no policy.
fn pcrs(set: &MatchedSet, bank: TpmHash) -> BTreeMap<u8, Vec<u8>> {
    let pcr = |name: &str| name.strip_prefix("pcr").and_then(|index| index.parse().ok());
    let registers = set.registers.iter().filter_map(|(name, value)| Some((pcr(name.as_str())?, value)));
    let bytes = registers.filter_map(|(pcr, value)| Some((pcr, hex::decode(value.as_str()).ok()?)));
    bytes.filter(|(_, value)| value.len() == bank.length()).collect()
}

fn no_endorsement_key() -> Denied {
    Denied {
        code: Code::new("release.tpm.no_endorsement_key"),
        reasons: vec!["the endorsement key of the guest's TPM is not proven: nothing can be sealed to it".to_owned()],
    }
}

fn no_reference_pcrs() -> Denied {
    Denied {
        code: Code::new("release.tpm.no_reference_pcrs"),
        reasons: vec!["the workload's reference set pins no PCR value: nothing can be sealed under it".to_owned()],
    }
}
