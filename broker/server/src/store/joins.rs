//! Join tokens: how the client of an exception brings its key, once.

use verifier::Timestamp;

use super::{StoreFuture, TenantId};

/// A join token that was just made. The token itself is nowhere but with whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinToken {
    /// SHA-256 of it.
    pub(crate) digest: [u8; 32],
    /// The id of the exception that it is for.
    pub(crate) exception: String,
    /// The pin of the only key that may use it; absent: the first that comes.
    pub(crate) pin: Option<String>,
    /// Which administrator made it.
    pub(crate) author: String,
    /// When.
    pub(crate) created_at: Timestamp,
    /// When it is over.
    pub(crate) expires_at: Timestamp,
}

/// A key that comes with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Joining<'a> {
    /// SHA-256 of the token.
    pub(crate) digest: [u8; 32],
    /// The id of the exception that is asked for.
    pub(crate) exception: &'a str,
    /// The pin of the key, which the connection proved.
    pub(crate) pin: &'a str,
    /// Where it comes from.
    pub(crate) source: &'a str,
}

/// Stores join tokens.
pub(crate) trait JoinStore {
    /// Stores a token and forgets the unused ones before it; `false` when the exception is over or takes none.
    fn add_join_token<'a>(&'a self, tenant: &'a TenantId, token: &'a JoinToken) -> StoreFuture<'a, bool>;

    /// Uses up the token and pins the key to the exception, in one durable transaction; `false`, and nothing is changed, when
    /// it is not a live, unused token of this live exception for this key.
    fn join<'a>(&'a self, tenant: &'a TenantId, joining: &'a Joining<'a>, now: Timestamp) -> StoreFuture<'a, bool>;

    /// Forgets tokens that were over before `before`.
    fn sweep_join_tokens(&self, before: Timestamp) -> StoreFuture<'_, ()>;
}
