//! Leases: what they rest on, who may renew or give them back, their places in the status lists, and their ends.
//!
//! A lease is opened in the transaction that stores the decision and ended in a transaction that also writes its event.
//! Whatever has to follow an end (status list, event stream, back ends) is read from the store afterwards, so a broker that
//! is killed between the two loses nothing: it, or another one, does it again.

mod proof;
mod status;

use evidence_formats::guest_report::GuestReport;
use keys::{secret::SecretArray, status::StatusPlace};
use verifier::{Appraisal, policy::ReleasePolicy};

use crate::store::{Ground, GroundKind, GuestRecord, ReferenceKey, StoredLease};

pub(crate) use proof::{LeaseError, Proof, Renewal};
pub(crate) use status::{LIST_LENGTH, Places, list_token};

/// The key that every guest's lease key is derived from.
pub(crate) type SharedLeaseKey = SecretArray<32>;

/// The kind of the lease that stands for the attestation result itself. Its id is the guest's id; it ends last.
pub(crate) const RESULT: &str = "attestation-result";

/// A place within its list, and the list's address.
pub(crate) fn status_place(issuer: &str, status: u64) -> (u64, String) {
    let length = u64::from(LIST_LENGTH);
    let (list, place) = (status.checked_div(length).unwrap_or(0), status.checked_rem(length).unwrap_or(0));
    (place, format!("{}/v1/status/{list}", issuer.trim_end_matches('/')))
}

/// The place in all lists together that a token of this issuer names; the inverse of [`status_place`].
pub(crate) fn status_of(issuer: &str, place: &StatusPlace) -> Option<u64> {
    let list: u64 = place.uri.strip_prefix(issuer.trim_end_matches('/'))?.strip_prefix("/v1/status/")?.parse().ok()?;
    let length = u64::from(LIST_LENGTH);
    (place.idx < length).then(|| list.checked_mul(length)?.checked_add(place.idx)).flatten()
}

/// A lease that is about to be opened or continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Its id.
    pub(crate) id: String,
    /// Its place in the status lists.
    pub(crate) status: u64,
}

impl Slot {
    /// The lease that stands already.
    pub(crate) fn of(lease: &StoredLease) -> Self {
        Self { id: lease.id.clone(), status: lease.status }
    }
}

/// Everything whose revocation ends what this appraisal opened.
pub(crate) fn grounds(appraisal: &Appraisal, release: &ReleasePolicy) -> Vec<Ground> {
    let claims = appraisal.claims();
    let references = appraisal.reference_values();
    let mut grounds = Vec::new();
    for set in references.matched() {
        grounds.push(Ground::new(GroundKind::Workload, set.workload.as_str()));
    }
    for set in sets(appraisal) {
        grounds.push(Ground::reference_set(&set.id, None));
        grounds.push(Ground::reference_set(&set.id, Some(set.version)));
    }
    let launch = claims.measurement.launch.as_ref().map(ToString::to_string);
    let registers = claims.measurement.runtime.values().map(|register| register.value.clone());
    // A register that nothing was measured into identifies nothing.
    let telling = |value: &String| value.bytes().any(|digit| digit != b'0');
    grounds.extend(
        launch.into_iter().chain(registers).filter(telling).map(|value| Ground::new(GroundKind::Measurement, value)),
    );
    grounds.extend(claims.instance.iter().map(|chip| Ground::new(GroundKind::Chip, chip)));
    let policies = appraisal.policy().into_iter().chain([release.id()]);
    grounds.extend(policies.map(|policy| Ground::new(GroundKind::Policy, policy.name())));
    grounds.sort_unstable();
    grounds.dedup();
    grounds
}

/// Every set that the evidence matched.
pub(crate) fn sets(appraisal: &Appraisal) -> Vec<ReferenceKey> {
    let references = appraisal.reference_values();
    let matched = references.matched().iter().chain(references.paravisor());
    matched.map(|set| ReferenceKey { id: set.id.to_string(), version: set.version }).collect()
}

/// The guest as this appraisal shows it.
pub(crate) fn guest(id: String, appraisal: &Appraisal, tee_key: String, report: Option<GuestReport>) -> GuestRecord {
    let claims = appraisal.claims();
    let matched = appraisal.reference_values().matched();
    let mut workloads: Vec<String> = matched.iter().map(|set| set.workload.to_string()).collect();
    workloads.sort_unstable();
    workloads.dedup();
    GuestRecord {
        id,
        workloads,
        platform: claims.platform.as_str().to_owned(),
        hwmodel: claims.hwmodel.to_owned(),
        tcb_status: claims.tcb.status.map(|status| format!("{status:?}")),
        measurement: claims.measurement.launch.as_ref().map(ToString::to_string),
        chip: claims.instance.clone(),
        tee_key,
        report,
    }
}
