//! Who may renew a lease or give it back: the guest that can prove the lease key.

use axum::http::{HeaderMap, header};
use evidence_formats::{
    binding::Nonce,
    code::{Code, Coded},
};
use keys::lease::{LeaseAction, LeaseClaim, LeaseKey};
use thiserror::Error;
use verifier::Timestamp;

use crate::{
    broker::Broker,
    exchange,
    store::{StoreError, StoredGuest, StoredLease},
};

/// A request over a lease is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum LeaseError {
    /// No such lease, or no proof of it: a caller cannot find out which.
    #[error("expected the proof of a lease: Authorization: Lease NONCE.PROOF")]
    Proof,
    /// It ended.
    #[error("expected a lease that is open: attest again")]
    Ended,
    /// An exchange is not renewed: what it rested on has to be shown again.
    #[error("expected a lease that evidence renews: exchange for a new token")]
    Exchange,
    /// The fresh evidence is of another workload.
    #[error("expected evidence of the workload that the lease was given to")]
    Workload,
}

impl Coded for LeaseError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Proof => "release.lease.proof",
            Self::Ended => "release.lease.ended",
            Self::Exchange => "release.lease.exchange",
            Self::Workload => "release.lease.workload",
        })
    }
}

/// What a caller claims about a lease, unchecked: `Authorization: Lease NONCE.PROOF`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The lease.
    pub(crate) lease: String,
    /// The broker's nonce.
    pub(crate) nonce: Nonce,
    tag: String,
}

/// A lease whose holder proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Renewal {
    /// The lease; the guest's own when everything is renewed.
    pub(crate) lease: StoredLease,
    /// Its holder.
    pub(crate) guest: StoredGuest,
}

impl Proof {
    /// Reads the header.
    pub(crate) fn of(headers: &HeaderMap, lease: String) -> Result<Self, LeaseError> {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (nonce, tag) = value
            .and_then(|value| value.strip_prefix("Lease "))
            .and_then(|value| value.split_once('.'))
            .ok_or(LeaseError::Proof)?;
        let nonce = nonce.parse().map_err(|_not_a_nonce| LeaseError::Proof)?;
        Ok(Self { lease, nonce, tag: tag.to_owned() })
    }

    /// Finds the lease and checks the proof; the nonce is the caller's to check.
    pub(crate) async fn check(
        &self,
        broker: &Broker,
        action: LeaseAction,
        tee_key: &str,
        now: Timestamp,
    ) -> Result<Result<Renewal, LeaseError>, StoreError> {
        let Some(lease) = broker.store.lease(&broker.tenant, &self.lease).await? else {
            return Ok(Err(LeaseError::Proof));
        };
        let claim = LeaseClaim { action, lease: &self.lease, nonce: self.nonce.as_bytes(), tee_key };
        if !LeaseKey::derive(&broker.lease_key, &lease.guest).proves(&claim, &self.tag) {
            return Ok(Err(LeaseError::Proof));
        }
        if lease.ended_at.is_some() || lease.expires_at <= now {
            return Ok(Err(LeaseError::Ended));
        }
        if action == LeaseAction::Renew && lease.kind == exchange::KIND {
            return Ok(Err(LeaseError::Exchange));
        }
        Ok(match broker.store.guest(&broker.tenant, &lease.guest).await? {
            Some(guest) => Ok(Renewal { lease, guest }),
            None => Err(LeaseError::Ended),
        })
    }
}

impl Renewal {
    /// The open leases that the request is about: one, or, for the guest's own lease, all of them. The lease of the result
    /// is always renewed with them; what was exchanged for is not.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &StoredLease> {
        let all = self.lease.id == self.guest.id;
        let renewable = |lease: &StoredLease| lease.id != self.guest.id && lease.kind != exchange::KIND;
        self.guest.leases.iter().filter(move |lease| renewable(lease) && (all || lease.id == self.lease.id))
    }
}
