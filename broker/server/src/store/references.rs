//! Reference sets: their definitions, which never change, their life, and its history.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use verifier::{
    Timestamp,
    reference::{Change, ReferenceSet},
};

use super::{StoreError, StoreFuture, TenantId};

/// What a set was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReferenceSource {
    /// A JSON or TOML document; the administrator's certificate is all that vouches for it.
    Document,
    /// A signed CoRIM.
    Corim,
    /// A CoRIM without a signature, which the configuration allows by name.
    CorimUnsigned,
}

impl ReferenceSource {
    /// As written in the store.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Corim => "corim",
            Self::CorimUnsigned => "corim-unsigned",
        }
    }

    /// Reads what [`ReferenceSource::as_str`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        let known = [Self::Document, Self::Corim, Self::CorimUnsigned];
        let unknown = || StoreError::Unknown { what: "reference source", found: text.to_owned() };
        known.into_iter().find(|source| source.as_str() == text).ok_or_else(unknown)
    }
}

/// One version of a reference set as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredReferenceSet {
    /// The set's id.
    pub(crate) id: String,
    /// The set's own version.
    pub(crate) version: u32,
    /// The set as JSON, as it was added.
    pub(crate) definition: String,
    /// What it was read from.
    pub(crate) source: ReferenceSource,
    /// Whose signature vouched for it: name and key of a configured signer.
    pub(crate) signer: Option<String>,
    /// Who added it.
    pub(crate) author: String,
    /// When.
    pub(crate) created_at: Timestamp,
    /// When a proposed set was put in force.
    pub(crate) activated_at: Option<Timestamp>,
    /// From when on it no longer matches, when an administrator said so.
    pub(crate) retired_at: Option<Timestamp>,
    /// When it was revoked.
    pub(crate) revoked_at: Option<Timestamp>,
}

impl StoredReferenceSet {
    /// The set with what became of it since it was added. Nothing here can move an end later.
    pub(crate) fn to_set(&self) -> Result<ReferenceSet, serde_json::Error> {
        let mut set: ReferenceSet = serde_json::from_str(&self.definition)?;
        set.proposed = set.proposed && self.activated_at.is_none();
        set.retire_at = earliest(set.retire_at, self.retired_at);
        set.revoked_at = earliest(set.revoked_at, self.revoked_at);
        Ok(set)
    }

    /// SHA-256 of the definition, lower-case hex.
    pub(crate) fn digest(&self) -> String {
        hex::encode(digest(&SHA256, self.definition.as_bytes()))
    }
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// A change in the life of a set, and who makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReferenceChange {
    /// The set's id.
    pub(crate) id: String,
    /// This version only; absent: every version from which the change is possible.
    pub(crate) version: Option<u32>,
    /// What changes.
    pub(crate) change: Change,
    /// Who says so.
    pub(crate) author: String,
    /// Why, for people.
    pub(crate) reason: Option<String>,
    /// When it was said.
    pub(crate) now: Timestamp,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ReferenceEvent {
    pub(crate) id: String,
    pub(crate) version: u32,
    /// When it was said.
    pub(crate) changed_at: Timestamp,
    /// `added`, `proposed`, `activated`, `retired` or `revoked`.
    pub(crate) change: String,
    /// From when on it counts, where that is another time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) effective_at: Option<Timestamp>,
    pub(crate) author: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// SHA-256 of the definition.
    pub(crate) digest: String,
    /// How many leases ended with it.
    pub(crate) leases_ended: u32,
}

/// Names one version of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReferenceKey {
    /// The set's id.
    pub(crate) id: String,
    /// Its version.
    pub(crate) version: u32,
}

/// Stores reference sets.
pub(crate) trait ReferenceStore {
    /// Stores sets and the first line of their history, with a note for it, all or none. [`StoreError::Conflict`] when an
    /// id and version was used before.
    fn insert_reference_sets<'a>(
        &'a self,
        tenant: &'a TenantId,
        sets: &'a [StoredReferenceSet],
        note: Option<&'a str>,
    ) -> StoreFuture<'a, ()>;

    /// Every set, by id and version.
    fn reference_sets<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<StoredReferenceSet>>;

    /// Makes a change, writes it into the history, and, when sets are revoked, ends the leases that rest on them: one
    /// transaction. Says which versions changed; none when there is no such set.
    ///
    /// [`StoreError::Reference`] when the change is possible for none of them.
    fn change_reference_sets<'a>(
        &'a self,
        tenant: &'a TenantId,
        change: &'a ReferenceChange,
    ) -> StoreFuture<'a, Vec<ReferenceKey>>;

    /// The history of the set `id`, or of every set, oldest first, the newest `limit` lines.
    fn reference_history<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: Option<&'a str>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<ReferenceEvent>>;
}
