//! Many documents in one file, to be carried to a broker that has no network.
//!
//! One line `countersign.endorsements/1 SHA256`, then JSON. The digest covers everything after the line and the line has one
//! form, so that a bundle with any byte changed is no bundle. It protects against accidents of transport, not against
//! forgers: what a bundle holds is signed by vendors, and whoever imports it authenticates each document again.

use std::collections::HashSet;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use evidence_formats::{
    code::{Code, Coded},
    endorsement::EndorsementId,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::Document;

const FORMAT: &str = "countersign.endorsements/1";
/// `FORMAT`, a space, 64 digits, a line feed.
const HEAD: usize = FORMAT.len() + 1 + 64 + 1;

/// Documents to carry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The documents, each once.
    pub objects: Vec<BundleObject>,
}

/// One document of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleObject {
    /// Which.
    pub id: EndorsementId,
    /// As the service sent it.
    #[serde(with = "bytes")]
    pub body: Vec<u8>,
    /// The certificates above its signature, where the service sends them beside it.
    #[serde(default, with = "optional_bytes", skip_serializing_if = "Option::is_none")]
    pub issuer_chain: Option<Vec<u8>>,
}

impl From<BundleObject> for Document {
    fn from(object: BundleObject) -> Self {
        Self { body: object.body, issuer_chain: object.issuer_chain }
    }
}

/// Bytes are not a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// More bytes than any bundle has.
    #[error("expected at most {} bytes", Bundle::MAX_LENGTH)]
    TooLong,
    /// The first line is not that of a bundle.
    #[error("expected a file that starts with {FORMAT}")]
    Format,
    /// Something in it was changed.
    #[error("expected the content that the digest in the first line is of")]
    Digest,
    /// The content is not what a bundle holds.
    #[error("expected the documents of a bundle (line {line}, column {column})")]
    Content {
        /// Line of the content, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A document twice, or too many.
    #[error("expected at most {} documents, each once", Bundle::MAX_OBJECTS)]
    Objects,
}

impl Coded for BundleError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::TooLong => "parse.endorsement_bundle.length",
            Self::Format => "parse.endorsement_bundle.format",
            Self::Digest => "parse.endorsement_bundle.digest",
            Self::Content { .. } => "parse.endorsement_bundle.content",
            Self::Objects => "parse.endorsement_bundle.objects",
        })
    }
}

impl Bundle {
    /// Most bytes of a bundle.
    pub const MAX_LENGTH: usize = 64 * 1024 * 1024;
    /// Most documents of a bundle.
    pub const MAX_OBJECTS: usize = 32 * 1024;

    /// The file.
    ///
    /// # Errors
    /// [`BundleError::TooLong`] and [`BundleError::Objects`] when no broker would read it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        self.require_distinct()?;
        let content = serde_json::to_vec(self).map_err(|error| content(&error))?;
        let mut bytes = head(&content);
        bytes.extend(content);
        if bytes.len() > Self::MAX_LENGTH { Err(BundleError::TooLong) } else { Ok(bytes) }
    }

    /// Reads a file. Nothing about the documents is believed.
    ///
    /// # Errors
    /// [`BundleError`] when any byte is not as it was written.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > Self::MAX_LENGTH {
            return Err(BundleError::TooLong);
        }
        let (found, json) = bytes.split_at_checked(HEAD).ok_or(BundleError::Format)?;
        if !found.starts_with(FORMAT.as_bytes()) {
            return Err(BundleError::Format);
        }
        if found != head(json) {
            return Err(BundleError::Digest);
        }
        let bundle: Self = serde_json::from_slice(json).map_err(|error| content(&error))?;
        bundle.require_distinct()?;
        Ok(bundle)
    }

    fn require_distinct(&self) -> Result<(), BundleError> {
        let mut seen = HashSet::new();
        let distinct = self.objects.iter().all(|object| seen.insert(object.id));
        if distinct && self.objects.len() <= Self::MAX_OBJECTS { Ok(()) } else { Err(BundleError::Objects) }
    }
}

fn head(content: &[u8]) -> Vec<u8> {
    format!("{FORMAT} {}\n", hex::encode(digest(&SHA256, content))).into_bytes()
}

fn content(error: &serde_json::Error) -> BundleError {
    BundleError::Content { line: error.line(), column: error.column() }
}

mod bytes {
    use super::{Deserialize, Deserializer, Engine, STANDARD, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

mod optional_bytes {
    use super::{Deserializer, Serializer, bytes};

    pub(super) fn serialize<S: Serializer>(chain: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match chain {
            Some(chain) => bytes::serialize(chain, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        bytes::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn sample() -> Bundle {
        let object = |id: &str, issuer_chain: Option<&[u8]>| BundleObject {
            id: id.parse().unwrap(),
            body: vec![0x30, 0x82, 0xff],
            issuer_chain: issuer_chain.map(<[u8]>::to_vec),
        };
        Bundle {
            objects: vec![
                object("amd/crl/Milan/vcek", None),
                object("intel/qe-identity/standard", Some(b"-----BEGIN")),
            ],
        }
    }

    #[test]
    fn a_bundle_reads_back() {
        let bytes = sample().to_bytes().unwrap();
        assert_eq!(Bundle::parse(&bytes), Ok(sample()));
    }

    #[test]
    fn any_changed_added_or_missing_byte_is_refused() {
        let bytes = sample().to_bytes().unwrap();
        for at in 0..bytes.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                assert!(Bundle::parse(&changed).is_err(), "byte {at}");
            }
            assert!(Bundle::parse(&bytes[..at]).is_err(), "{at} bytes");
        }
        let mut longer = bytes;
        longer.push(b'\n');
        assert_eq!(Bundle::parse(&longer), Err(BundleError::Digest));
    }

    #[test]
    fn a_document_that_is_there_twice_is_refused() {
        let mut bundle = sample();
        bundle.objects.push(bundle.objects[0].clone());
        assert_eq!(bundle.to_bytes(), Err(BundleError::Objects));
    }
}
