//! Digests whose length depends on the platform: SHA-256 or SHA-384.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A SHA-256 (32 bytes) or SHA-384 (48 bytes) digest, written as lower-case hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HexDigest(String);

impl HexDigest {
    /// Lower-case hex.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Length in bytes: 32 or 48.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.len().div_euclid(2)
    }
}

/// Text is not the hex of a SHA-256 or SHA-384 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected exactly 64 or 96 hex digits, found {found} characters")]
pub struct NotADigest {
    /// Characters found.
    pub found: usize,
}

impl FromStr for HexDigest {
    type Err = NotADigest;

    /// Hex digits of either case: never padded, never cut.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits || !matches!(text.len(), 64 | 96) {
            return Err(NotADigest { found: text.chars().count() });
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for HexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for HexDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HexDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Longest value of an event, in bytes: the longest kernel command line and some more.
const MAX_EVENT: usize = 4096;
/// From this many hex digits on, text is meant as a digest.
const SHORTEST_DIGEST: usize = 32;

/// What an event says: a digest in lower-case hex, or text such as a command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EventValue(String);

impl EventValue {
    /// The digest or text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventValue {
    type Err = NotADigest;

    /// Text is taken as it is; what looks like a digest must have the length of one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digest = text.len() >= SHORTEST_DIGEST && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digest {
            return text.parse().map(|HexDigest(text)| Self(text));
        }
        if text.is_empty() || text.len() > MAX_EVENT {
            return Err(NotADigest { found: text.chars().count() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for EventValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
