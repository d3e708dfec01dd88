//! When the CA that issues SVIDs is succeeded, and by what.
//!
//! A successor is prepared long before the end of the one that signs: it is published, signs a few minutes later, and the
//! old one stays in the bundle until the last of its SVIDs is over. The decision follows from the stored keys and the
//! configuration alone, and the store takes one successor only, however many brokers there are.

use verifier::Timestamp;

use super::{Ca, TrustDomain, Upstream, UpstreamError};
use crate::config::Identity;

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;
/// Seconds before its end at which a CA is succeeded at the latest: longer than publishing ahead and an SVID together.
const LEAD: i64 = 3 * 60 * 60;

/// How CAs are made.
#[derive(Debug)]
pub(crate) struct AuthorityTerms {
    /// The trust domain, in the certificate of the CA.
    pub(crate) trust_domain: Option<TrustDomain>,
    /// What certifies the CA; without one it certifies itself.
    pub(crate) upstream: Option<Upstream>,
    /// Seconds that a CA lives.
    pub(crate) life: i64,
}

/// Why a CA is succeeded, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Succession {
    /// Nothing to do: it stands, or its successor is on its way.
    NotDue,
    /// A successor is published now and signs soon.
    Ahead(&'static str),
    /// The old one is of no use: the new one signs at once and alone.
    AtOnce(&'static str),
    /// It should be, and no successor would live longer: the upstream CA ends then.
    Impossible(Timestamp),
}

impl AuthorityTerms {
    /// The terms of a configuration; the files of an upstream are read and checked.
    pub(crate) fn read(identity: &Identity, now: Timestamp) -> Result<Self, UpstreamError> {
        let trust_domain = identity.trust_domain.clone();
        let files = identity.authority.upstream.as_ref();
        let upstream = files.map(|files| Upstream::read(files, trust_domain.as_ref(), now)).transpose()?;
        Ok(Self { trust_domain, upstream, life: i64::from(identity.authority.life_days).saturating_mul(DAY) })
    }

    /// When a CA that is made now ends.
    pub(crate) fn ends(&self, now: Timestamp) -> Timestamp {
        let ends = now.plus_seconds(self.life);
        self.upstream.as_ref().map_or(ends, |upstream| ends.min(upstream.ends()))
    }

    /// What is due about the newest CA, which signs from `active_at` on.
    pub(crate) fn succession(&self, newest: &Ca, active_at: Timestamp, now: Timestamp) -> Succession {
        if newest.trust_domain().is_some_and(|named| Some(named) != self.trust_domain.as_ref()) {
            return Succession::AtOnce("the trust domain is another one");
        }
        if active_at > now {
            return Succession::NotDue;
        }
        let upstream = self.upstream.as_ref().and_then(Upstream::certificate);
        if newest.certified_by() != upstream {
            return Succession::Ahead("the upstream CA is another one");
        }
        let ends = newest.validity().not_after;
        let lead = self.life.checked_div(6).unwrap_or(LEAD).max(LEAD);
        if ends.plus_seconds(lead.saturating_neg()) > now {
            return Succession::NotDue;
        }
        match self.ends(now) > ends {
            true => Succession::Ahead("its end is near"),
            false => Succession::Impossible(ends),
        }
    }
}
