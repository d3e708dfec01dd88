//! Whether the lease of a token still holds (draft-ietf-oauth-status-list §8).

use serde::Deserialize;
use thiserror::Error;

use super::{RelyingError, Trust};
use crate::{
    sign::TokenType,
    status::{StatusList, StatusPlace},
    token::{Audience, Expected, verify_typed},
};

/// A verified status list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusListToken {
    list: StatusList,
    uri: String,
    /// `expires_at`, and as much later as clocks may differ.
    until: i64,
    /// When it must not be believed any more, seconds since the Unix epoch. The broker makes a new one every second.
    pub expires_at: i64,
    /// For how many seconds it may be kept without asking again.
    pub keep_for: u32,
}

/// Why a token's lease is not known to hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StatusError {
    /// It ended before its time: it was released, revoked, or fresh evidence was worse.
    #[error("expected a token whose lease holds")]
    Ended,
    /// The list is another one than the token names, or has no such place.
    #[error("expected the status list that the token names")]
    OtherList,
    /// The list is too old to say whether it does.
    #[error("expected a status list that is still valid")]
    Stale,
}

impl StatusError {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Ended => "authenticate.token.ended",
            Self::OtherList => "authenticate.token.status_list",
            Self::Stale => "authenticate.token.status_stale",
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    #[serde(default)]
    ttl: u32,
    status_list: StatusList,
}

impl StatusListToken {
    /// Verifies what the broker answers at the address that a token's `status` names. `trust.audience` is not used: a list is
    /// for everybody.
    ///
    /// # Errors
    /// When it is not a list of this issuer that is still valid.
    pub fn verify(token: &str, trust: &Trust<'_>) -> Result<Self, RelyingError> {
        let audience = Audience::Unchecked { reason: "a status list is for everybody" };
        let expected = Expected { audience, ..trust.expected() };
        let claims: Claims = verify_typed(token, TokenType::StatusList, trust.jwks, &expected)?;
        let until = claims.exp.saturating_add(i64::from(trust.leeway));
        Ok(Self { list: claims.status_list, uri: claims.sub, until, expires_at: claims.exp, keep_for: claims.ttl })
    }

    /// Says yes only when the lease at `place` holds, at `now` (seconds since the Unix epoch): a list that was kept says
    /// nothing any more when its own time is over.
    ///
    /// # Errors
    /// [`StatusError::Ended`] when it does not, [`StatusError::OtherList`] and [`StatusError::Stale`] when this list does not
    /// say.
    pub fn require_valid(&self, place: &StatusPlace, now: i64) -> Result<(), StatusError> {
        if now >= self.until {
            return Err(StatusError::Stale);
        }
        if place.uri != self.uri {
            return Err(StatusError::OtherList);
        }
        match self.list.is_valid(place.idx) {
            Some(true) => Ok(()),
            Some(false) => Err(StatusError::Ended),
            None => Err(StatusError::OtherList),
        }
    }
}
