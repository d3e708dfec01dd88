//! Revocation of AMD's CAs.
//!
//! The root issues the CRLs (AMD 57230). They name intermediate CAs and roots by serial number. Endorsement keys all have
//! serial number 0 and are never looked up: one entry with 0 would otherwise refuse every machine.

use std::sync::Arc;

use super::SnpError;
use crate::{
    Timestamp,
    x509::{Certificate, Crl, CrlNumber, CrlTimeError, KeyUsage},
};

/// What is known about the revocation of a chain's CAs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// A current CRL of the root lists none of them.
    Checked(CrlUsed),
    /// No list names any of them, but none is current: whether they were revoked lately is not known.
    NotCurrent(CrlTimeError, CrlUsed),
    /// No CRL of the root was given.
    Missing {
        /// Name of the root.
        issuer: String,
        /// Issuer of the CRL that was given instead, when there was exactly one.
        given: Option<String>,
    },
}

/// The CRL that a verification relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CrlUsed {
    pub(super) issuer: String,
    pub(super) number: CrlNumber,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
}

/// CRLs of one root whose signature is checked at most.
const MAX_CHECKED: usize = 16;

/// Judges the CAs with these serial numbers by the CRLs of `ark`.
///
/// A serial number that any list signed by the root names is revoked, whatever the list's dates: revocation that was seen
/// is never ignored. Only a current list says that nothing is revoked.
pub(super) fn judge(
    ark: &Certificate,
    serials: &[&[u8]],
    crls: &[&Arc<Crl>],
    now: Timestamp,
) -> Result<Standing, SnpError> {
    let issuer = ark.subject().to_string();
    let (own, others): (Vec<&Arc<Crl>>, Vec<&Arc<Crl>>) =
        crls.iter().copied().partition(|crl| crl.issuer().raw() == ark.subject().raw());
    if own.is_empty() {
        let given = match others.as_slice() {
            [only] => Some(only.issuer().to_string()),
            _ => None,
        };
        return Ok(Standing::Missing { issuer, given });
    }
    let signed = signed_by(ark, own);
    refuse_revoked(&signed, serials)?;
    // The newest list that is in force: a list from the future says nothing about now.
    let Some(newest) = signed.iter().find(|crl| crl.this_update() <= now).or(signed.first()) else {
        return Err(SnpError::CrlSignature { issuer });
    };
    let used = CrlUsed {
        issuer,
        number: newest.number(),
        this_update: newest.this_update(),
        next_update: newest.next_update(),
    };
    Ok(match newest.current_at(now) {
        Ok(()) => Standing::Checked(used),
        Err(error) => Standing::NotCurrent(error, used),
    })
}

/// Refuses when a CRL that `ark` signed names `serial`.
pub(super) fn refuse_listed(ark: &Certificate, serial: &[u8], crls: &[&Arc<Crl>]) -> Result<(), SnpError> {
    let own = crls.iter().copied().filter(|crl| crl.issuer().raw() == ark.subject().raw());
    refuse_revoked(&signed_by(ark, own.collect()), &[serial])
}

/// The lists that the root signed, newest number first.
fn signed_by<'a>(ark: &Certificate, mut crls: Vec<&'a Arc<Crl>>) -> Vec<&'a Crl> {
    if !ark.key_usage().is_none_or(KeyUsage::crl_sign) {
        return Vec::new();
    }
    crls.sort_by_key(|crl| std::cmp::Reverse(crl.number()));
    crls.truncate(MAX_CHECKED);
    crls.into_iter().filter(|crl| crl.verify_signed_by(ark.public_key()).is_ok()).map(Arc::as_ref).collect()
}

fn refuse_revoked(signed: &[&Crl], serials: &[&[u8]]) -> Result<(), SnpError> {
    match serials.iter().find(|serial| signed.iter().any(|crl| crl.revokes(serial))) {
        Some(serial) => Err(SnpError::Revoked { serial: hex::encode(serial) }),
        None => Ok(()),
    }
}
