//! Token status lists (draft-ietf-oauth-status-list): one bit for each token, set when its lease ended before its time.

use std::sync::{Mutex, PoisonError};

use keys::{
    sign::{SignError, Signer, TokenType, sign_jwt},
    status::StatusList,
};
use serde::Serialize;
use verifier::Timestamp;

use crate::store::{Store, StoreError};

/// Places of one list.
pub(crate) const LIST_LENGTH: u32 = 1 << 16;

/// Places that a broker takes from the store at once.
const BLOCK: u32 = 4096;

/// Seconds that a list may be kept, and seconds until it must not be believed any more.
const TTL: i64 = 1;
const LIFETIME: i64 = 300;

/// Unused places that belong to this broker. What is left of them when it ends stays unused.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<std::ops::Range<u64>>);

impl Places {
    /// Takes `count` places, which need not follow one another.
    pub(crate) async fn take(&self, store: &dyn Store, count: usize) -> Result<Vec<u64>, StoreError> {
        let mut taken: Vec<u64> = self.left().by_ref().take(count).collect();
        while taken.len() < count {
            let first = store.take_status_places(BLOCK).await?;
            let mut block = first..first.saturating_add(u64::from(BLOCK));
            taken.extend(block.by_ref().take(count.saturating_sub(taken.len())));
            *self.left() = block;
        }
        Ok(taken)
    }

    fn left(&self) -> std::sync::MutexGuard<'_, std::ops::Range<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The signed list `list` at the address `uri`.
pub(crate) fn list_token(
    signer: &dyn Signer,
    issuer: &str,
    uri: &str,
    ended: &StatusList,
    now: Timestamp,
) -> Result<String, SignError> {
    #[derive(Serialize)]
    struct Claims<'a> {
        iss: &'a str,
        sub: &'a str,
        iat: i64,
        exp: i64,
        ttl: i64,
        status_list: &'a StatusList,
    }
    let (iat, exp) = (now.as_unix(), now.plus_seconds(LIFETIME).as_unix());
    let claims = Claims { iss: issuer, sub: uri, iat, exp, ttl: TTL, status_list: ended };
    sign_jwt(signer, TokenType::StatusList, &claims)
}
