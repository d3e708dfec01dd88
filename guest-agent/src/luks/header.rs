//! What a LUKS2 header must be before a key is given to it.
//!
//! The host owns the disk, and with it the header's metadata, which nothing signs. A header whose key slot or data uses a
//! null cipher opens with any key, and what the guest writes is then plain text; a header in the middle of a re-encryption
//! can declare part of the disk plain. LUKS2 On-Disk Format Specification 1.1, section 3.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// Ciphers for data: XTS, and the authenticated ones of dm-integrity.
const DATA_CIPHERS: [&str; 6] = [
    "aes-xts-plain64",
    "aes-xts-random",
    "aes-gcm-random",
    "aegis128-random",
    "serpent-xts-plain64",
    "twofish-xts-plain64",
];
/// Ciphers for the volume key in a slot.
const SLOT_CIPHERS: [&str; 3] = ["aes-xts-plain64", "serpent-xts-plain64", "twofish-xts-plain64"];
/// The flag that lets the host know which blocks are free (section 3.6).
const DISCARDS: &str = "allow-discards";
/// Least bytes of a volume key or the key of a slot's area.
const LEAST_KEY: u32 = 16;

/// Why a header is not one that a key is given to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not the metadata of LUKS2.
    #[error("expected LUKS2 metadata")]
    Metadata,
    /// Something else than one whole encrypted segment.
    #[error("expected one encrypted segment, found {found}")]
    Segment {
        /// What is there.
        found: String,
    },
    /// A cipher that is none, or that is not known.
    #[error("expected a known cipher in {place}, found {found}")]
    Cipher {
        /// Where.
        place: String,
        /// Which.
        found: String,
    },
    /// A key that is too short to be one.
    #[error("expected a key of {LEAST_KEY} bytes or more in {place}, found {found}")]
    KeySize {
        /// Where.
        place: String,
        /// How many bytes.
        found: u32,
    },
    /// Free blocks would be told to the host, whatever the settings say: cryptsetup obeys flags that are kept in the header.
    #[error("expected a header without the flag {DISCARDS}, or settings that allow it")]
    Discards,
    /// A feature that changes what the header means.
    #[error("expected no unfinished re-encryption and no unknown feature, found {found}")]
    Requirement {
        /// Which.
        found: String,
    },
}

/// The metadata, as far as it is read here.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Metadata {
    keyslots: BTreeMap<String, KeySlot>,
    /// Every token as it is.
    #[serde(default)]
    pub(crate) tokens: BTreeMap<String, Value>,
    digests: BTreeMap<String, VolumeKey>,
    segments: BTreeMap<String, Segment>,
    config: Config,
}

/// What tells a volume key from another one, and says nothing about it (section 3.5).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct VolumeKey {
    r#type: String,
    hash: String,
    iterations: u64,
    salt: String,
    digest: String,
}

#[derive(Debug, Clone, Deserialize)]
struct KeySlot {
    r#type: String,
    key_size: u32,
    area: Area,
}

#[derive(Debug, Clone, Deserialize)]
struct Area {
    r#type: String,
    #[serde(default)]
    encryption: String,
    #[serde(default)]
    key_size: u32,
}

#[derive(Debug, Clone, Deserialize)]
struct Segment {
    r#type: String,
    #[serde(default)]
    encryption: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Config {
    #[serde(default)]
    requirements: Option<Value>,
    #[serde(default)]
    flags: Vec<String>,
}

impl Metadata {
    /// Reads what `cryptsetup luksDump --dump-json-metadata` wrote.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, HeaderError> {
        serde_json::from_slice(json).map_err(|_not_luks2| HeaderError::Metadata)
    }

    /// Numbers of the slots that hold a key.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.keyslots.keys().filter_map(|slot| slot.parse().ok())
    }

    /// The volume keys that its slots lead to.
    pub(crate) fn volume_keys(&self) -> Vec<&VolumeKey> {
        self.digests.values().collect()
    }

    /// That nothing in it tells the host which blocks are free.
    pub(crate) fn forbid_discards(&self) -> Result<(), HeaderError> {
        let told = self.config.flags.iter().any(|flag| flag == DISCARDS);
        if told { Err(HeaderError::Discards) } else { Ok(()) }
    }

    /// Whether a key may be given to it.
    pub(crate) fn examine(&self) -> Result<(), HeaderError> {
        if let Some(requirements) = &self.config.requirements {
            return Err(HeaderError::Requirement { found: requirements.to_string() });
        }
        let mut segments = self.segments.values();
        let (Some(segment), None) = (segments.next(), segments.next()) else {
            return Err(HeaderError::Segment { found: format!("{} segments", self.segments.len()) });
        };
        if segment.r#type != "crypt" {
            return Err(HeaderError::Segment { found: segment.r#type.clone() });
        }
        known(&DATA_CIPHERS, "the data", &segment.encryption)?;
        for (number, slot) in &self.keyslots {
            let place = format!("key slot {number}");
            if slot.r#type != "luks2" {
                return Err(HeaderError::Requirement { found: format!("a key slot of type {}", slot.r#type) });
            }
            if slot.area.r#type != "raw" {
                return Err(HeaderError::Requirement {
                    found: format!("a key slot's area of type {}", slot.area.r#type),
                });
            }
            known(&SLOT_CIPHERS, &place, &slot.area.encryption)?;
            for found in [slot.key_size, slot.area.key_size] {
                if found < LEAST_KEY {
                    return Err(HeaderError::KeySize { place, found });
                }
            }
        }
        Ok(())
    }
}

fn known(ciphers: &[&str], place: &str, found: &str) -> Result<(), HeaderError> {
    if ciphers.contains(&found) {
        return Ok(());
    }
    Err(HeaderError::Cipher { place: place.to_owned(), found: found.to_owned() })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn good() -> Value {
        let area = json!({"type": "raw", "offset": "32768", "size": "258048", "encryption": "aes-xts-plain64", "key_size": 64});
        json!({
            "keyslots": {"0": {"type": "luks2", "key_size": 64, "area": area, "kdf": {"type": "pbkdf2"}}},
            "tokens": {"3": {"type": "other", "keyslots": []}},
            "segments": {"0": {"type": "crypt", "offset": "16777216", "size": "dynamic", "encryption": "aes-xts-plain64"}},
            "digests": {},
            "config": {"json_size": "12288", "keyslots_size": "16744448"},
        })
    }

    fn examine(header: &Value) -> Result<(), HeaderError> {
        Metadata::parse(header.to_string().as_bytes())?.examine()
    }

    #[test]
    fn an_ordinary_header_is_taken() {
        assert_eq!(examine(&good()), Ok(()));
        assert_eq!(Metadata::parse(good().to_string().as_bytes()).unwrap().slots().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn headers_that_keep_nothing_secret_are_refused() {
        type Change = fn(&mut Value);
        let table: [(Change, &str); 10] = [
            (|header| header["segments"]["0"]["encryption"] = json!("cipher_null-ecb"), "cipher in the data"),
            (|header| header["segments"]["0"]["encryption"] = json!(""), "cipher in the data"),
            (|header| header["segments"]["0"]["type"] = json!("linear"), "found linear"),
            (|header| header["segments"]["1"] = json!({"type": "linear"}), "found 2 segments"),
            (|header| header["segments"] = json!({}), "found 0 segments"),
            (|header| header["keyslots"]["0"]["area"]["encryption"] = json!("cipher_null-ecb"), "cipher in key slot 0"),
            (|header| header["keyslots"]["0"]["key_size"] = json!(1), "in key slot 0, found 1"),
            (|header| header["keyslots"]["0"]["type"] = json!("reencrypt"), "type reencrypt"),
            (|header| header["keyslots"]["0"]["area"]["type"] = json!("journal"), "area of type journal"),
            (
                |header| header["config"]["requirements"] = json!({"mandatory": ["online-reencrypt-v2"]}),
                "online-reencrypt",
            ),
        ];
        for (change, words) in table {
            let mut header = good();
            change(&mut header);
            let refused = examine(&header).unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        }
        assert_eq!(examine(&json!({"keyslots": 1})), Err(HeaderError::Metadata));
    }

    #[test]
    fn a_header_does_not_decide_what_the_host_learns() {
        let mut header = good();
        let forbid = |header: &Value| Metadata::parse(header.to_string().as_bytes()).unwrap().forbid_discards();
        assert_eq!(forbid(&header), Ok(()));
        header["config"]["flags"] = json!(["high-priority"]);
        assert_eq!(forbid(&header), Ok(()));
        header["config"]["flags"] = json!(["high-priority", "allow-discards"]);
        assert_eq!(forbid(&header), Err(HeaderError::Discards));
    }
}
