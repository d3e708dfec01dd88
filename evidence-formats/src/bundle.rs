//! The evidence bundle: a RATS conceptual message wrapper collection (CMW, RFC 9999) in JSON or CBOR.
//!
//! A collection maps item names to records `[media type, bytes, ?indicator]`; in JSON the bytes are base64url without
//! padding. It has no integrity of its own: every item must be bound to the same [`crate::binding::BindingDigest`] by
//! its own signature, which the verifier checks.
//!
//! Both encodings are read in two steps: syntax into a [`RawBundle`] of bounded size, then names, media types, limits and
//! base64 into a [`Bundle`]. A message that carries a bundle inside has a `RawBundle` member and converts it, so that a
//! refusal keeps its code.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Serialize, Serializer, ser::SerializeMap};
use thiserror::Error;

use crate::{
    cbor::{self, CborError},
    code::{Code, Coded},
};

mod item;
mod raw;

pub use item::{BundleItem, ItemName, MediaType};
pub use raw::RawBundle;

/// Most bytes of an encoded bundle: 4 MiB.
pub const BUNDLE_LIMIT: usize = 4 * 1024 * 1024;
/// Most items of a bundle.
pub const ITEMS_LIMIT: usize = 16;
/// `__cmwc_t` of our collections (RFC 9999: a URI that names the kind of collection).
pub const COLLECTION_TYPE: &str = "tag:countersign.example,2026:evidence";
/// The member that carries [`COLLECTION_TYPE`].
pub(crate) const COLLECTION_TYPE_LABEL: &str = "__cmwc_t";

/// Named items of evidence, each with its media type. At least one item, none twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bundle {
    items: BTreeMap<ItemName, BundleItem>,
}

impl Bundle {
    /// A bundle without items, to insert into.
    #[must_use]
    pub const fn new() -> Self {
        Self { items: BTreeMap::new() }
    }

    /// Parses a collection in either form: JSON when it begins with a brace, else CBOR (RFC 9999 section 3, demultiplexing).
    ///
    /// # Errors
    /// [`BundleError`] says which rule the bytes break, and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(&b'{') { Self::parse_json(bytes) } else { Self::parse_cbor(bytes) }
    }

    /// Parses a JSON collection (`application/cmw+json`) of at most [`BUNDLE_LIMIT`] bytes.
    ///
    /// # Errors
    /// [`BundleError`] says which rule the bytes break, and where.
    pub fn parse_json(bytes: &[u8]) -> Result<Self, BundleError> {
        within_bundle_limit(bytes)?;
        let raw: RawBundle = serde_json::from_slice(bytes).map_err(|error| raw::json_refusal(bytes, &error))?;
        raw.try_into()
    }

    /// Parses a CBOR collection (`application/cmw+cbor`) of at most [`BUNDLE_LIMIT`] bytes.
    ///
    /// # Errors
    /// [`BundleError`] says which rule the bytes break, and where.
    pub fn parse_cbor(bytes: &[u8]) -> Result<Self, BundleError> {
        within_bundle_limit(bytes)?;
        cbor::from_slice::<RawBundle>(bytes, BUNDLE_LIMIT)?.try_into()
    }

    /// The JSON collection.
    ///
    /// # Errors
    /// [`BundleError::Encoding`] when the serializer fails.
    pub fn to_json(&self) -> Result<Vec<u8>, BundleError> {
        serde_json::to_vec(self).map_err(|error| BundleError::Encoding { reason: error.to_string() })
    }

    /// The CBOR collection.
    ///
    /// # Errors
    /// [`BundleError::Cbor`] when the serializer fails.
    pub fn to_cbor(&self) -> Result<Vec<u8>, BundleError> {
        Ok(cbor::to_vec(self)?)
    }

    /// The item called `name`.
    #[must_use]
    pub fn item(&self, name: ItemName) -> Option<&BundleItem> {
        self.items.get(&name)
    }

    /// Every item, in the order of names.
    pub fn items(&self) -> impl Iterator<Item = (ItemName, &BundleItem)> {
        self.items.iter().map(|(name, item)| (*name, item))
    }

    /// Adds an item.
    ///
    /// # Errors
    /// When the name is taken, the media type does not belong to the name, or the bytes exceed the item's limit.
    pub fn insert(&mut self, name: ItemName, item: BundleItem) -> Result<(), BundleError> {
        if !name.admits(item.media_type) {
            return Err(BundleError::MediaTypeOfItem { name, media_type: item.media_type });
        }
        name.within_limit(item.bytes.len())?;
        if self.items.contains_key(&name) {
            return Err(BundleError::DuplicateItem { name });
        }
        self.items.insert(name, item);
        Ok(())
    }
}

impl TryFrom<RawBundle> for Bundle {
    type Error = BundleError;

    fn try_from(raw: RawBundle) -> Result<Self, BundleError> {
        raw.into_bundle()
    }
}

impl Serialize for Bundle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.items.len().saturating_add(1)))?;
        map.serialize_entry(COLLECTION_TYPE_LABEL, COLLECTION_TYPE)?;
        for (name, item) in &self.items {
            map.serialize_entry(name, item)?;
        }
        map.end()
    }
}

/// Why bytes are not an evidence bundle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// More bytes than a bundle may have.
    #[error("expected a bundle of at most {limit} bytes, found {actual}")]
    TooLarge {
        /// [`BUNDLE_LIMIT`].
        limit: usize,
        /// What was given, bytes.
        actual: usize,
    },
    /// Not a JSON collection.
    #[error("expected a JSON collection of [media type, base64url] records, refused after {offset} bytes: {reason}")]
    Json {
        /// How many bytes had been read when it was refused.
        offset: usize,
        /// What the parser said.
        reason: String,
    },
    /// Not a strict CBOR collection.
    #[error("expected a CBOR collection of [media type, bytes] records")]
    Cbor(#[from] CborError),
    /// The collection says that it is of another kind.
    #[error("expected a collection of type {COLLECTION_TYPE}")]
    CollectionType,
    /// The collection has no item.
    #[error("expected at least one item")]
    Empty,
    /// The collection has more items than a bundle may have.
    #[error("expected at most {ITEMS_LIMIT} items, found {actual}")]
    TooManyItems {
        /// How many there are.
        actual: usize,
    },
    /// An item of a name that no evidence has.
    #[error("expected an item name of the evidence bundle, found {name:?}")]
    UnknownItem {
        /// The name, cut to 64 characters.
        name: String,
    },
    /// The same name twice.
    #[error("expected item {name} once")]
    DuplicateItem {
        /// The name.
        name: ItemName,
    },
    /// A media type that no item has.
    #[error("expected a media type of item {name}, found {media_type:?}")]
    UnknownMediaType {
        /// The item.
        name: ItemName,
        /// The media type, cut to 64 characters.
        media_type: String,
    },
    /// A media type of another item.
    #[error("expected a media type of item {name}, found {media_type}")]
    MediaTypeOfItem {
        /// The item.
        name: ItemName,
        /// What it claims to be.
        media_type: MediaType,
    },
    /// An item larger than its kind may be.
    #[error("expected at most {limit} bytes in item {name}, found {actual}")]
    ItemTooLarge {
        /// The item.
        name: ItemName,
        /// The limit of its kind, bytes.
        limit: usize,
        /// Its size, bytes; for base64 text the size it decodes to.
        actual: usize,
    },
    /// An item of a JSON collection is not base64url without padding.
    #[error("expected base64url without padding in item {name}")]
    NotBase64 {
        /// The item.
        name: ItemName,
    },
    /// The record's indicator is not a set of conceptual message kinds, or not one that evidence has.
    #[error("expected an indicator of evidence or endorsements in item {name}, found {indicator}")]
    Indicator {
        /// The item.
        name: ItemName,
        /// The bits.
        indicator: u32,
    },
    /// The bundle could not be encoded.
    #[error("could not encode the bundle: {reason}")]
    Encoding {
        /// What the serializer said.
        reason: String,
    },
}

impl Coded for BundleError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::TooLarge { .. } => "parse.bundle.size",
            Self::Json { .. } | Self::Cbor(_) => "parse.bundle.syntax",
            Self::CollectionType => "parse.bundle.collection_type",
            Self::Empty => "parse.bundle.empty",
            Self::TooManyItems { .. } => "parse.bundle.items",
            Self::UnknownItem { .. } => "parse.bundle.item_name",
            Self::DuplicateItem { .. } => "parse.bundle.duplicate",
            Self::UnknownMediaType { .. } | Self::MediaTypeOfItem { .. } => "parse.bundle.media_type",
            Self::ItemTooLarge { .. } => "parse.bundle.item_size",
            Self::NotBase64 { .. } => "parse.bundle.base64",
            Self::Indicator { .. } => "parse.bundle.indicator",
            Self::Encoding { .. } => "parse.bundle.encoding",
        })
    }
}

const fn within_bundle_limit(bytes: &[u8]) -> Result<(), BundleError> {
    let (limit, actual) = (BUNDLE_LIMIT, bytes.len());
    if actual > limit { Err(BundleError::TooLarge { limit, actual }) } else { Ok(()) }
}

/// Refuses base64 text before it is decoded when it stands for more than the item may have.
pub(crate) fn decode_item(name: ItemName, text: &str) -> Result<Vec<u8>, BundleError> {
    // Four characters carry three bytes, without padding rounded down.
    name.within_limit(text.len().saturating_mul(3) / 4)?;
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_position| BundleError::NotBase64 { name })
}

#[cfg(test)]
mod tests;
