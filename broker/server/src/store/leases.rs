//! Leases, what they rest on, how they end, and who is told.

use evidence_formats::guest_report::GuestReport;
use serde::{Deserialize, Serialize};
use verifier::Timestamp;

use super::{IssuedCertificate, ReferenceKey, StoreError, StoreFuture, TenantId};

/// What an affirmed decision rested on, and what can be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GroundKind {
    /// The name of a workload.
    Workload,
    /// A launch digest or the value of a runtime register, lower-case hex.
    Measurement,
    /// The hardware's identity, lower-case hex.
    Chip,
    /// A reference set: `ID` for all its versions, `ID@VERSION` for one.
    ReferenceSet,
    /// A policy by name, such as `release-v3`.
    Policy,
}

impl GroundKind {
    /// As written in the store.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Measurement => "measurement",
            Self::Chip => "chip",
            Self::ReferenceSet => "reference-set",
            Self::Policy => "policy",
        }
    }

    /// Reads what [`GroundKind::as_str`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "workload" => Ok(Self::Workload),
            "measurement" => Ok(Self::Measurement),
            "chip" => Ok(Self::Chip),
            "reference-set" => Ok(Self::ReferenceSet),
            "policy" => Ok(Self::Policy),
            unknown => Err(StoreError::Unknown { what: "ground", found: unknown.to_owned() }),
        }
    }
}

/// One thing that an affirmed decision rested on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub(crate) struct Ground {
    /// What kind of thing.
    pub(crate) kind: GroundKind,
    /// Which one.
    pub(crate) value: String,
}

impl Ground {
    /// A ground.
    pub(crate) fn new(kind: GroundKind, value: impl Into<String>) -> Self {
        Self { kind, value: value.into() }
    }

    /// A reference set, all its versions or one.
    pub(crate) fn reference_set(id: &str, version: Option<u32>) -> Self {
        let value = version.map_or_else(|| id.to_owned(), |version| format!("{id}@{version}"));
        Self::new(GroundKind::ReferenceSet, value)
    }
}

/// Why a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EndCause {
    /// Its time was over.
    Expired,
    /// The guest gave it back.
    Released,
    /// An administrator ended it, or what it rested on was revoked.
    Revoked,
    /// Fresh evidence of the guest was worse.
    Evidence,
    /// Fresh evidence passed, and the release policy no longer allows it.
    Denied,
}

impl EndCause {
    /// As written in the store and in events.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Revoked => "revoked",
            Self::Evidence => "evidence",
            Self::Denied => "denied",
        }
    }
}

/// Which open leases end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseSelector<'a> {
    /// One.
    Lease(&'a str),
    /// Every lease of one running guest.
    Guest(&'a str),
    /// Every lease of one credential: kind of grant, name, and one version or all.
    Credential {
        /// The kind of grant.
        kind: &'a str,
        /// Its name.
        name: &'a str,
        /// One version.
        version: Option<u32>,
    },
    /// Every lease that a decision opened which rested on this.
    Ground(&'a Ground),
}

/// The right to hold one grant for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Names the lease.
    pub(crate) id: String,
    /// The kind of grant, for example `secret`.
    pub(crate) kind: &'static str,
    /// What was granted.
    pub(crate) name: String,
    /// Which version of it.
    pub(crate) version: u32,
    /// Its place in the status lists.
    pub(crate) status: u64,
    /// When it was given.
    pub(crate) issued_at: Timestamp,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
}

/// The guest that leases belong to, as its newest evidence shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestRecord {
    /// The id of its first attestation.
    pub(crate) id: String,
    /// The workloads that it matched, sorted.
    pub(crate) workloads: Vec<String>,
    /// Whose machine.
    pub(crate) platform: String,
    /// Hardware model.
    pub(crate) hwmodel: String,
    /// The vendor's judgement, where there is one.
    pub(crate) tcb_status: Option<String>,
    /// Launch digest, hex.
    pub(crate) measurement: Option<String>,
    /// Hardware identity, hex.
    pub(crate) chip: Option<String>,
    /// Thumbprint of the key of its newest attestation.
    pub(crate) tee_key: String,
    /// What it says of itself; what it said before stays when it says nothing.
    pub(crate) report: Option<GuestReport>,
}

/// What an affirmed attestation opens or continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The guest; inserted, or brought up to date when a lease is renewed.
    pub(crate) guest: GuestRecord,
    /// The reference sets that the evidence matched: they must still stand when this is stored.
    pub(crate) sets: Vec<ReferenceKey>,
    /// What the decision rests on; when one of them is revoked, the leases end.
    pub(crate) grounds: Vec<Ground>,
    /// The leases. One whose id is in the store already is renewed when it is still open.
    pub(crate) leases: Vec<Lease>,
    /// The X.509-SVIDs that leases among them stand for.
    pub(crate) certificates: Vec<IssuedCertificate>,
    /// The leases to renew. Each must be open, and each that is not among `leases` ends.
    pub(crate) renews: Vec<String>,
}

/// A lease as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct StoredLease {
    /// Names it.
    pub(crate) id: String,
    /// The guest that holds it.
    #[serde(skip)]
    pub(crate) guest: String,
    /// The kind of grant.
    pub(crate) kind: String,
    /// What was granted.
    pub(crate) name: String,
    /// Which version of it.
    pub(crate) version: u32,
    /// Its place in the status lists.
    pub(crate) status: u64,
    /// When it was given or last renewed.
    pub(crate) issued_at: Timestamp,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended_at: Option<Timestamp>,
}

/// A guest and its open leases: a line of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct StoredGuest {
    /// The id of its first attestation.
    pub(crate) id: String,
    /// The workloads that it matched.
    pub(crate) workloads: Vec<String>,
    /// Whose machine.
    pub(crate) platform: String,
    /// Hardware model.
    pub(crate) hwmodel: String,
    /// The vendor's judgement, where there is one.
    pub(crate) tcb_status: Option<String>,
    /// Launch digest, hex.
    pub(crate) measurement: Option<String>,
    /// Hardware identity, hex.
    pub(crate) chip: Option<String>,
    /// Its newest attestation.
    pub(crate) attestation_id: String,
    /// When it attested first.
    pub(crate) first_at: Timestamp,
    /// When it attested last.
    pub(crate) last_at: Timestamp,
    /// What it says of itself: bound to its evidence, and vouched for by no hardware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guest_reported: Option<GuestReported>,
    /// What it holds now.
    pub(crate) leases: Vec<StoredLease>,
}

/// What a guest said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct GuestReported {
    /// What.
    #[serde(flatten)]
    pub(crate) report: GuestReport,
    /// When.
    pub(crate) at: Timestamp,
}

/// All guests of one workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct WorkloadSummary {
    /// Its name.
    pub(crate) workload: String,
    /// How many guests attested as it.
    pub(crate) guests: u64,
    /// How many leases they hold now.
    pub(crate) leases: u64,
    /// When one of them attested last.
    pub(crate) last_at: Timestamp,
    /// What one of them said last of the static secrets in its image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guest_reported: Option<GuestReported>,
}

/// Which guests to list, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct GuestQuery {
    /// Only those that matched this workload.
    pub(crate) workload: Option<String>,
    /// Only those with an open lease.
    pub(crate) open_only: bool,
    /// At most so many.
    pub(crate) limit: u32,
}

/// A standing revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Revocation {
    /// Names it.
    pub(crate) id: String,
    /// What is revoked.
    #[serde(flatten)]
    pub(crate) ground: Ground,
    /// Why, for people.
    pub(crate) reason: String,
    /// Who did it.
    pub(crate) author: String,
    /// When.
    pub(crate) created_at: Timestamp,
}

/// One event, as subscribers see it: mostly the end of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LeaseEvent {
    /// Grows by one or more from event to event.
    #[serde(skip)]
    pub(crate) sequence: u64,
    /// When.
    pub(crate) at: Timestamp,
    /// Which lease.
    pub(crate) lease: String,
    /// Of which guest.
    pub(crate) guest: String,
    /// The kind of grant.
    pub(crate) kind: String,
    /// What was granted.
    pub(crate) name: String,
    /// Its place in the status lists.
    pub(crate) status: u64,
    /// Why it ended.
    pub(crate) cause: String,
    /// What kind of event.
    #[serde(skip)]
    pub(crate) event: String,
    /// The JSON of an event that is about no lease.
    #[serde(skip)]
    pub(crate) data: Option<String>,
}

/// Stores leases and their ends. Leases are opened by [`super::DecisionStore::settle`], with the decision.
pub(crate) trait LeaseStore {
    /// Ends the open leases that `selector` names and records one event for each, in one durable transaction; says how many
    /// ended. Doing it again ends nothing more.
    fn end_leases<'a>(
        &'a self,
        tenant: &'a TenantId,
        selector: LeaseSelector<'a>,
        cause: EndCause,
        now: Timestamp,
    ) -> StoreFuture<'a, u64>;

    /// Ends every lease whose time is over, of all tenants.
    fn end_expired(&self, now: Timestamp) -> StoreFuture<'_, u64>;

    /// One lease.
    fn lease<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> StoreFuture<'a, Option<StoredLease>>;

    /// One guest and its open leases.
    fn guest<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> StoreFuture<'a, Option<StoredGuest>>;

    /// Guests and their open leases.
    fn guests<'a>(&'a self, tenant: &'a TenantId, query: &'a GuestQuery) -> StoreFuture<'a, Vec<StoredGuest>>;

    /// Every workload of the inventory, by name.
    fn workload_summaries<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<WorkloadSummary>>;

    /// Stores a standing revocation and ends what rests on it, in one transaction; says how many leases ended.
    /// [`StoreError::Conflict`] when the same thing is revoked already.
    fn revoke<'a>(&'a self, tenant: &'a TenantId, revocation: &'a Revocation) -> StoreFuture<'a, u64>;

    /// Lifts a standing revocation; whether there was one. What ended stays ended.
    fn lift_revocation<'a>(&'a self, tenant: &'a TenantId, id: &'a str, now: Timestamp) -> StoreFuture<'a, bool>;

    /// Every standing revocation, newest first.
    fn revocations<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<Revocation>>;

    /// Events after `after`, oldest first, at most `limit`.
    fn lease_events<'a>(&'a self, tenant: &'a TenantId, after: u64, limit: u32) -> StoreFuture<'a, Vec<LeaseEvent>>;

    /// The sequence number of the newest event; 0 when there was none.
    fn newest_lease_event(&self) -> StoreFuture<'_, u64>;

    /// Takes `count` unused places of the status lists and returns the first: nobody else gets them.
    fn take_status_places(&self, count: u32) -> StoreFuture<'_, u64>;

    /// The first place that was not taken.
    fn next_status_place(&self) -> StoreFuture<'_, u64>;

    /// The places from `first` on, `count` at most, whose leases are of `tenant`, ended before their time and would still hold.
    fn ended_status_places<'a>(&'a self, tenant: &'a TenantId, first: u64, count: u32) -> StoreFuture<'a, Vec<u64>>;

    /// Drops ended leases, events and guests that nobody needs any more.
    fn sweep_leases(&self, now: Timestamp) -> StoreFuture<'_, ()>;
}
