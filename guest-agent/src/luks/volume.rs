//! Names of volumes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use thiserror::Error;

/// Longest name: the device mapper has room for 127 bytes, the name of the secret for what stands before it.
const LONGEST: usize = 100;

/// Name of a volume, as in crypttab and `/dev/mapper`: 1 to 100 of `a-z A-Z 0-9 . _ -`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct VolumeName(String);

/// Not a name of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected a volume name of 1 to {LONGEST} characters a-z A-Z 0-9 . _ -, found {found:?}")]
pub struct NotAVolume {
    /// What was given.
    pub found: String,
}

impl VolumeName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = NotAVolume;

    fn from_str(text: &str) -> Result<Self, NotAVolume> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let good = text.len() <= LONGEST
            && text.bytes().all(allowed)
            && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        if good { Ok(Self(text.to_owned())) } else { Err(NotAVolume { found: text.chars().take(LONGEST).collect() }) }
    }
}

impl<'de> Deserialize<'de> for VolumeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["data", "a", "luks-5b0b7d1e", "my_disk.2", "0"] {
            assert!(good.parse::<VolumeName>().is_ok(), "{good}");
        }
        for bad in ["", "-data", ".data", "a/b", "a b", "a\0b", "ä", "..", &"x".repeat(101)] {
            assert!(bad.parse::<VolumeName>().is_err(), "{bad}");
        }
    }
}
