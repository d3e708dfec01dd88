//! Syntax of a collection: what JSON and CBOR have in common before names and limits are looked at.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
    ser::SerializeTuple,
};

use super::{
    Bundle, BundleError, BundleItem, COLLECTION_TYPE, COLLECTION_TYPE_LABEL, ITEMS_LIMIT, ItemName, MediaType,
};

/// A collection whose syntax was read and nothing else. Convert it with [`Bundle::try_from`].
///
/// It holds at most one label more than a bundle may have, so a hostile collection costs no more memory than its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct RawBundle {
    entries: Vec<(String, RawValue)>,
    /// How many labels there were, kept or not.
    found: usize,
}

/// Evidence is large and names its machine: only the size is shown.
impl fmt::Debug for RawBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawBundle").field("labels", &self.found).finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq)]
enum RawValue {
    /// Of the collection type's label.
    Text(String),
    /// `[media type, bytes, ?indicator]`.
    Record { media_type: String, bytes: RawBytes, indicator: Option<u32> },
}

#[derive(Clone, PartialEq, Eq)]
enum RawBytes {
    /// Of JSON.
    Base64(String),
    /// Of CBOR.
    Bytes(Vec<u8>),
}

impl RawBundle {
    pub(super) fn into_bundle(self) -> Result<Bundle, BundleError> {
        let types = self.entries.iter().filter(|(label, _)| label == COLLECTION_TYPE_LABEL).count();
        let actual = self.found.saturating_sub(types);
        if actual > ITEMS_LIMIT {
            return Err(BundleError::TooManyItems { actual });
        }
        let mut bundle = Bundle::new();
        for (label, value) in self.entries {
            if label == COLLECTION_TYPE_LABEL {
                if types > 1 || value != RawValue::Text(COLLECTION_TYPE.to_owned()) {
                    return Err(BundleError::CollectionType);
                }
                continue;
            }
            let Some(name) = ItemName::from_text(&label) else {
                return Err(BundleError::UnknownItem { name: excerpt(&label) });
            };
            bundle.insert(name, value.into_item(name)?)?;
        }
        if bundle.items.is_empty() { Err(BundleError::Empty) } else { Ok(bundle) }
    }
}

impl RawValue {
    fn into_item(self, name: ItemName) -> Result<BundleItem, BundleError> {
        let Self::Record { media_type, bytes, indicator } = self else {
            return Err(BundleError::UnknownMediaType { name, media_type: String::new() });
        };
        let Some(media_type) = MediaType::from_text(&media_type) else {
            return Err(BundleError::UnknownMediaType { name, media_type: excerpt(&media_type) });
        };
        // RFC 9999: bit 1 endorsements, bit 2 evidence; an indicator without a bit is malformed.
        match indicator {
            None | Some(2 | 4 | 6) => {}
            Some(indicator) => return Err(BundleError::Indicator { name, indicator }),
        }
        let bytes = match bytes {
            RawBytes::Base64(text) => super::decode_item(name, &text)?,
            RawBytes::Bytes(bytes) => bytes,
        };
        Ok(BundleItem { media_type, bytes })
    }
}

/// At most 64 characters of an untrusted text, for an error.
fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Where in `bytes` a JSON error points, and what it says without line and column.
pub(super) fn json_refusal(bytes: &[u8], error: &serde_json::Error) -> BundleError {
    let lines_before = error.line().saturating_sub(1);
    let line_start: usize =
        bytes.split_inclusive(|byte| *byte == b'\n').take(lines_before).map(<[u8]>::len).fold(0, usize::saturating_add);
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned();
    BundleError::Json { offset: line_start.saturating_add(error.column()), reason }
}

impl<'de> Deserialize<'de> for RawBundle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collection;
        impl<'de> Visitor<'de> for Collection {
            type Value = RawBundle;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a collection of [media type, bytes] records")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawBundle, A::Error> {
                let mut raw = RawBundle { entries: Vec::new(), found: 0 };
                // One more than allowed, and the collection type: enough to know that there are too many.
                while raw.entries.len() < ITEMS_LIMIT.saturating_add(2) {
                    let Some(entry) = map.next_entry()? else {
                        return Ok(raw);
                    };
                    raw.entries.push(entry);
                    raw.found = raw.found.saturating_add(1);
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    raw.found = raw.found.saturating_add(1);
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Collection)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Record;
        impl<'de> Visitor<'de> for Record {
            type Value = RawValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record [media type, bytes, ?indicator]")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawValue, E> {
                Ok(RawValue::Text(excerpt(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawValue, A::Error> {
                let media_type = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let bytes = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
                let indicator = seq.next_element()?;
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(de::Error::invalid_length(4, &self));
                }
                Ok(RawValue::Record { media_type, bytes, indicator })
            }
        }
        deserializer.deserialize_any(Record)
    }
}

impl<'de> Deserialize<'de> for RawBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = RawBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64url text in JSON, a byte string in CBOR")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawBytes, E> {
                Ok(RawBytes::Base64(text.to_owned()))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<RawBytes, E> {
                Ok(RawBytes::Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<RawBytes, E> {
                Ok(RawBytes::Bytes(bytes))
            }
        }
        // RFC 9999: text in a JSON record, bytes in a CBOR record; never the other.
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Bytes)
        } else {
            deserializer.deserialize_byte_buf(Bytes)
        }
    }
}

impl Serialize for BundleItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Raw<'a>(&'a [u8]);
        impl Serialize for Raw<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(self.0)
            }
        }
        let readable = serializer.is_human_readable();
        let mut record = serializer.serialize_tuple(2)?;
        record.serialize_element(&self.media_type)?;
        if readable {
            record.serialize_element(&BASE64_URL_SAFE_NO_PAD.encode(&self.bytes))?;
        } else {
            record.serialize_element(&Raw(&self.bytes))?;
        }
        record.end()
    }
}
