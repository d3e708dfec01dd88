//! Revocation lists (RFC 5280 §5) of X.509-SVIDs: what a lease stood for and would still verify after the lease's end.
//!
//! A list is made from the store when somebody asks and something ended since, or when the last one grows old. Its number is
//! the store's, so it never goes back: not over restarts, not over keys, not between brokers.

use std::{collections::BTreeMap, fmt, sync::Arc};

use anyhow::Result;
use arc_swap::ArcSwap;
use axum::body::Bytes;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber};
use tokio::sync::Semaphore;
use verifier::Timestamp;

use super::{
    Ca,
    ca::{BACKDATED, time},
};
use crate::store::{EndedCertificate, EndedCertificates, Store};

/// Seconds that a list may be believed. Short, because who can keep a relying party from the broker must not keep an ended
/// certificate alive.
const LIFE: i64 = 300;
/// Seconds after which a list is made again although nothing ended.
const FRESH: i64 = 60;
/// Seconds that a certificate stays listed after it expired (RFC 5280 §3.3: on one list beyond its end).
const BEYOND: i64 = 600;

/// The list of one CA as it was made.
struct Made {
    /// The newest event when it was made.
    event: u64,
    at: Timestamp,
    list: Bytes,
}

/// The newest list of each CA.
pub(crate) struct RevocationLists {
    made: ArcSwap<BTreeMap<String, Arc<Made>>>,
    /// One permit for whoever makes a list: everybody else who needs it waits for that one.
    making: Semaphore,
}

impl Default for RevocationLists {
    fn default() -> Self {
        Self { made: ArcSwap::default(), making: Semaphore::new(1) }
    }
}

impl fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevocationLists")
    }
}

impl RevocationLists {
    /// The list (DER) of the CA with the id `authority`, as new as the newest end in the store.
    pub(crate) async fn current(&self, store: &dyn Store, authority: &str, ca: &Ca, now: Timestamp) -> Result<Bytes> {
        if let Some(list) = self.kept(authority, store.newest_lease_event().await?, now) {
            return Ok(list);
        }
        let _turn = self.making.acquire().await?;
        // Before the ends are read: a list with this event has at least the ends up to it.
        let event = store.newest_lease_event().await?;
        if let Some(list) = self.kept(authority, event, now) {
            return Ok(list);
        }
        let ended = store.ended_certificates(authority, now.plus_seconds(-BEYOND)).await?;
        let list = Bytes::from(ca.revocation_list(&ended, now)?);
        let made = Arc::new(Made { event, at: now, list: list.clone() });
        self.made.rcu(|lists| {
            let mut lists = BTreeMap::clone(lists);
            // What grew old is of a CA that is no longer asked for.
            lists.retain(|_, made| is_fresh(made.at, now));
            lists.insert(authority.to_owned(), Arc::clone(&made));
            lists
        });
        Ok(list)
    }

    fn kept(&self, authority: &str, event: u64, now: Timestamp) -> Option<Bytes> {
        let lists = self.made.load();
        let made = lists.get(authority)?;
        (made.event == event && is_fresh(made.at, now)).then(|| made.list.clone())
    }
}

fn is_fresh(made_at: Timestamp, now: Timestamp) -> bool {
    (0..FRESH).contains(&now.as_unix().saturating_sub(made_at.as_unix()))
}

impl Ca {
    /// A list of what this CA issued, DER.
    fn revocation_list(&self, ended: &EndedCertificates, now: Timestamp) -> Result<Vec<u8>, rcgen::Error> {
        let params = CertificateRevocationListParams {
            this_update: time(now.plus_seconds(-BACKDATED)),
            next_update: time(now.plus_seconds(LIFE)),
            crl_number: SerialNumber::from(ended.number),
            issuing_distribution_point: None,
            revoked_certs: ended.ended.iter().map(revoked).collect(),
            // As in the CA's certificate.
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.der().to_vec())
    }
}

fn revoked(ended: &EndedCertificate) -> RevokedCertParams {
    let reason = match ended.released {
        true => RevocationReason::CessationOfOperation,
        false => RevocationReason::PrivilegeWithdrawn,
    };
    RevokedCertParams {
        serial_number: SerialNumber::from_slice(&ended.serial),
        revocation_time: time(ended.ended_at),
        reason_code: Some(reason),
        invalidity_date: None,
    }
}
